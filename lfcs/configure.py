"""From what is asked for to complete settings: defaults, the experiment's, what the agent stands for, the user's."""

from __future__ import annotations

from typing import Any

from lfcs.agent import Agent
from lfcs.agents import AGENTS
from lfcs.config import SECTIONS, Config, make_config, parse, settings
from lfcs.errors import UserError
from lfcs.names import lookup, name_of


def find_agent(name: str) -> type[Agent]:
    """Return the learning rule with a name, or ``package.module:Class``. Raises UserError on an unknown one."""
    found = lookup(name, AGENTS, "agent")
    if not (isinstance(found, type) and issubclass(found, Agent)):
        raise UserError(f"agent {name!r} is not a subclass of lfcs.Agent")
    return found


def build_config(
    env: str,
    agent: str | type[Agent] | None = None,
    steps: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    engine: str = "fused",
    overrides: dict[str, Any] | None = None,
    experiment: dict[str, Any] | None = None,
    env_kwargs: dict[str, Any] | None = None,
) -> Config:
    """Layer the settings: defaults, the experiment's, what the agent stands for, the user's.

    Raises UserError on an unknown agent or setting, or on one that contradicts the agent.
    """
    overrides, experiment = overrides or {}, experiment or {}
    agent = agent or experiment.get("agent", "lf-cs")
    rule = find_agent(agent) if isinstance(agent, str) else agent
    if not (isinstance(rule, type) and issubclass(rule, Agent)):
        raise UserError(f"agent wants a name or a subclass of lfcs.Agent, got {rule!r}; its options go to settings")
    name = agent if isinstance(agent, str) else name_of(agent, AGENTS)
    for key in overrides:
        if key.startswith("agent.") and key not in settings(rule.Options):
            own = ", ".join(k for k in settings(rule.Options) if k.startswith("agent.")) or "none"
            raise UserError(f"agent {name} does not read {key}; options of its own: {own}")
    flat = experiment.get("settings", {}) | experiment.get("agents", {}).get(name, {}) | overrides
    for key, value in rule.fixed.items():
        wanted = flat.get(value, settings()[value].default) if value in settings() else value
        if key in overrides and parse(key, overrides[key], rule.Options) != parse(key, wanted, rule.Options):
            raise UserError(f"agent {name} stands for {key}={wanted}; it cannot be {overrides[key]}")
        flat[key] = wanted
    flat |= _of_file(flat, overrides, rule.Options)
    steps = steps if steps is not None else experiment.get("steps", Config.steps)
    top = {"env": env, "agent": name, "steps": steps, "seed": seed, "device": device, "engine": engine}
    return make_config(top | {"env_kwargs": env_kwargs or {}}, flat, rule.Options)


def _of_file(flat: dict[str, Any], overrides: dict[str, Any], options: type) -> dict[str, Any]:
    """Return the settings that a run has by the NIR file it starts from, none where there is none.

    Raises UserError on one of the user's that contradicts the file.
    """
    path = flat.get("train.from_nir")
    if not path:
        return {}
    from lfcs.hardware.reading import settings_of

    found = settings_of(path)
    for key in overrides:
        if key in found and parse(key, overrides[key], options) != found[key]:
            raise UserError(f"{path} stands for {key}={found[key]}; it cannot be {overrides[key]}")
    return found


def flattened(sections: dict[str, Any]) -> dict[str, Any]:
    """Return ``{"rule": {"lam": 1}}`` as ``{"rule.lam": 1}``. Raises UserError on an unknown section."""
    for name, section in sections.items():
        if name not in SECTIONS or not isinstance(section, dict):
            raise UserError(f"unknown argument {name!r}; sections of settings are {', '.join(SECTIONS)}")
    return {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
