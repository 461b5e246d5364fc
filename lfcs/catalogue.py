"""What there is, a name and a line each: experiments, agents, environments and settings."""

from __future__ import annotations

import sys
from dataclasses import Field

from lfcs import config, envs, experiments
from lfcs.agents import AGENTS

Rows = list[tuple[str, str]]


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


def agents() -> Rows:
    """Return every learning rule with the first line of its file."""
    return [(name, _first_line(sys.modules[agent.__module__].__doc__)) for name, agent in AGENTS.items()]


def tasks() -> Rows:
    """Return every experiment with the environment that it is for and its steps."""
    found = experiments.literals("SETTINGS")
    return [(name, f"{of['env']}, {of['agent']}, {of['steps']:,} steps") for name, of in found.items()]


def environments() -> Rows:
    """Return the environments that come with lfcs; any other of gymnasium's works too."""
    rows = [(name, line) for name, line in envs.OURS.items()]
    return [*rows, ("any gymnasium id", "whose observations and actions are numbers, or your package.module:Id")]


def settings() -> Rows:
    """Return every setting with its default and meaning, those of each rule's own options too."""
    rows = [_setting(key, field) for key, field in config.settings().items()]
    for name, agent in AGENTS.items():
        own = {k: f for k, f in config.settings(agent.Options).items() if k.startswith("agent.")}
        rows += [_setting(key, field, f"{name}: ") for key, field in own.items() if key not in agent.fixed]
    return rows


def _setting(key: str, field: Field, of: str = "") -> tuple[str, str]:
    choices = field.metadata["choices"]
    one_of = f"; one of {', '.join(choices)}" if choices else ""
    return f"{key} ({field.default})", f"{of}{field.metadata['doc']}{one_of}"


LISTS = {"experiments": tasks, "agents": agents, "envs": environments}
