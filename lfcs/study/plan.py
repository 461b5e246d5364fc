"""What a comparison is asked to do: a plan, built in or from a JSON file, and whether it can be done."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from lfcs.errors import UserError, nearest
from lfcs.experiments.compare_replay import COMPARISONS

KINDS = {
    "experiment": str, "steps": int, "replays": list, "seeds": list, "grid_seeds": list, "grid_replays": list,
    "grid_steps": int, "rates": list, "agents": dict, "settings": dict, "peers": list, "note": str,
}  # fmt: skip
OWN = {"rule.replays", "rule.lr_readout", "rule.lr_hidden"}  # what a comparison sets itself


def load(name: str) -> tuple[str, dict[str, Any]]:
    """Return the name and settings of a comparison, built in or from a JSON file. Raises UserError on a bad one."""
    if name in COMPARISONS:
        return name, COMPARISONS[name]
    path = Path(name)
    if path.suffix != ".json":
        raise UserError(f"unknown comparison {name!r}{nearest(name, COMPARISONS)}; known: {', '.join(COMPARISONS)}")
    try:
        plan = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise UserError(f"{path} is not JSON") from None
    try:
        check(plan)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return path.stem, plan


def check(plan: Any) -> None:
    """Raise UserError on a plan that cannot be run as it stands."""
    if not isinstance(plan, dict) or set(plan) != set(KINDS):
        raise UserError(f"must have exactly the keys {', '.join(sorted(KINDS))}")
    for key, kind in KINDS.items():
        if not isinstance(plan[key], kind):
            raise UserError(f"{key} wants a {kind.__name__}, got {plan[key]!r}")
    for key in ("replays", "grid_replays"):
        _numbers(key, plan[key], low=1)
    for key in ("seeds", "grid_seeds"):
        _numbers(key, plan[key], low=0)
    _numbers("rates", plan["rates"], low=0, whole=False)
    if not all(isinstance(peer, str) for peer in plan["peers"]):
        raise UserError(f"peers wants a list of names, got {plan['peers']!r}")
    if set(plan["seeds"]) & set(plan["grid_seeds"]):
        raise UserError("seeds and grid_seeds must not share a seed")
    if not plan["agents"]:
        raise UserError("agents must not be empty")
    for label, of_label in plan["agents"].items():
        _agent(label, of_label)
        _numbers(f"replays of {label}", numbers_of_replays(plan, label), low=1)
        if taken := sorted(OWN & (set(of_label.get("settings", {})) | set(plan["settings"]))):
            raise UserError(f"settings cannot have {', '.join(taken)}: replays and rates are the comparison's own")


def _agent(label: str, of_label: Any) -> None:
    """Raise UserError on a bad entry of ``agents``."""
    if not isinstance(of_label, dict) or not isinstance(of_label.get("agent"), str):
        raise UserError(f"{label} must name its agent")
    if unknown := sorted(set(of_label) - {"agent", "settings", "replays"}):
        raise UserError(f"{label} has unknown keys: {', '.join(unknown)}")
    if not isinstance(of_label.get("settings", {}), dict):
        raise UserError(f"settings of {label} wants a dict, got {of_label['settings']!r}")


def _numbers(key: str, values: Any, low: int, whole: bool = True) -> None:
    """Raise UserError unless ``values`` is a list of different numbers from ``low``, and has one."""
    kinds = (int,) if whole else (int, float)
    good = isinstance(values, list) and values and all(type(value) in kinds and value >= low for value in values)
    if not good or len(set(values)) < len(values):
        raise UserError(f"{key} wants a list of different {'whole ' * whole}numbers from {low}, got {values!r}")


def tuned_at(plan: dict[str, Any], replays: int) -> int:
    """Return the number of replays whose learning rate holds at ``replays``: the nearest of the grid's, as a ratio."""
    return min(plan["grid_replays"], key=lambda at: abs(math.log(at / replays)))


def numbers_of_replays(plan: dict[str, Any], label: str) -> list[int]:
    """Return the numbers of replays at which a label is reported."""
    return plan["agents"][label].get("replays", plan["replays"])
