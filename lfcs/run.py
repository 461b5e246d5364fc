"""A run: settings -> trainer -> run directory."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from lfcs import envs
from lfcs.agents import AGENTS
from lfcs.config import Config, make_config, settings
from lfcs.errors import UserError, nearest
from lfcs.trainer import Trainer


def build_config(
    env: str,
    agent: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    engine: str = "fused",
    overrides: dict[str, Any] | None = None,
    experiment: dict[str, Any] | None = None,
) -> Config:
    """Layer the settings: defaults, the experiment's, what the agent stands for, the user's.

    Raises UserError on an unknown agent or setting, or on one that contradicts the agent.
    """
    overrides = overrides or {}
    experiment = experiment or {}
    agent = agent or experiment.get("agent", "lf-cs")
    if agent not in AGENTS:
        raise UserError(f"unknown agent {agent!r}{nearest(agent, AGENTS)}; known: {', '.join(AGENTS)}")
    flat = experiment.get("settings", {}) | experiment.get("agents", {}).get(agent, {}) | overrides
    top = {"env": env, "agent": agent, "seed": seed, "device": device, "engine": engine}
    top["steps"] = steps if steps is not None else experiment.get("steps", Config.steps)
    for key, value in AGENTS[agent].fixed.items():
        wanted = flat.get(value, settings()[value].default) if value in settings() else value
        if key in overrides and str(overrides[key]) != str(wanted):
            raise UserError(f"agent {agent} stands for {key}={wanted}; it cannot be {overrides[key]}")
        flat[key] = wanted
    return make_config(top, flat)


def make_trainer(config: Config) -> Trainer:
    """Return the trainer of a run, with environments, encoder and agent by name. Raises UserError on bad settings."""
    return Trainer(
        config,
        make_vec=lambda count: envs.make_vec(config.env, count, config.train.env_workers),
        make_encoder=lambda space: envs.make_encoder(space, config.encoder),
        make_agent=AGENTS[config.agent],
    )


def new_run_dir(config: Config) -> Path:
    """Return a fresh directory name below ``runs/``."""
    env = config.env.replace("/", "-").replace(":", "-")
    return Path("runs") / f"{env}_{config.agent}_seed{config.seed}_{time.strftime('%Y%m%d-%H%M%S')}"


def train(config: Config, run_dir: Path) -> dict[str, Any]:
    """Train one run from its start; return its summary."""
    if (run_dir / "config.json").exists():  # before anything slow
        raise UserError(f"{run_dir} already holds a run: resume it or choose another --run-dir")
    trainer = make_trainer(config)
    trainer.start(run_dir)
    return trainer.train(run_dir)


def load_config(run_dir: Path) -> Config:
    """Read the settings of a run. Raises UserError if the directory holds none."""
    try:
        data = json.loads((run_dir / "config.json").read_text())
    except FileNotFoundError:
        raise UserError(f"{run_dir} holds no run: config.json is missing") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise UserError(f"{run_dir / 'config.json'} is damaged") from None
    try:
        return Config.from_dict({key: value for key, value in data.items() if key != "versions"})
    except (AttributeError, TypeError):
        raise UserError(f"{run_dir / 'config.json'} is not the settings of a run") from None
