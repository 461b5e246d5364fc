"""Where a plan comes from: built in, a JSON file, or the id of an environment, with the flags of the command line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium

import lfcs.envs  # noqa: F401  it registers our own environments
from lfcs import experiments
from lfcs.errors import UserError, nearest
from lfcs.study import values
from lfcs.study.plan import Plan


def builtin() -> dict[str, dict[str, Any]]:
    """Return the built-in plans by name: that of ``experiments/compare_cartpole_parts.py`` is ``cartpole-parts``."""
    found = experiments.literals("PLAN")
    return {stem.removeprefix("compare_").replace("_", "-"): plan for stem, plan in found.items()}


def load(name: str, flags: Mapping[str, Any] | None = None) -> Plan:
    """Return the plan of that name, JSON file or environment; ``flags`` override its fields.

    Names of agents among the flags that are labels of the plan keep what they stand for. Raises UserError on a plan
    that is not there or cannot be run, OSError on a file that cannot be read.
    """
    flags = dict(flags or {})
    given = _given(name)
    try:
        agents = given.get("agents", {})
        if "agents" in flags and isinstance(agents, dict):
            flags["agents"] = {label: agents.get(label, {}) for label in flags["agents"]}
        if "steps" in flags and "grid_steps" in given:  # a short try has a short grid
            given = given | {"grid_steps": min(values.whole("grid_steps", given["grid_steps"], low=1), flags["steps"])}
        return Plan.from_dict(given | flags)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def _given(name: str) -> dict[str, Any]:
    """Return what a plan says beyond the defaults."""
    plans = builtin()
    if name in plans:
        return plans[name]
    if name.endswith(".json"):
        try:
            data = json.loads(Path(name).read_text(encoding="utf-8"))
        except (ValueError, RecursionError):  # a number of 5,000 digits, lists in lists in lists
            raise UserError(f"{name} is not JSON") from None
        if not isinstance(data, dict):
            raise UserError(f"{name}: a plan wants a dictionary, got {data!r}")
        return data
    elsewhere = ":" in name or "/" in name  # a module or an extra registers it
    if not (elsewhere or name in gymnasium.registry or experiments.find(name)):
        hint = nearest(name, [*gymnasium.registry, *plans])
        raise UserError(
            f"unknown comparison or environment {name!r}{hint}; comparisons: {', '.join(plans)}, or a JSON file"
        )
    return {"env": name}


def command_line(name: str, flags: Mapping[str, Any], peers: bool) -> str:
    """Return the command that makes a comparison again."""
    words = ["lfcs", "compare", name]
    for key, value in flags.items():
        words += [f"--{key}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join([*words, "--peers"] if peers else words)
