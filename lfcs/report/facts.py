"""What a page tells of a run: settings and what differs from the defaults, scores, the command that makes it again."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lfcs.checkpoint import steps_taken
from lfcs.config import SECTIONS, Config, settings
from lfcs.configure import find_agent
from lfcs.directory import read_settings, read_summary
from lfcs.monitor import read_metrics
from lfcs.run import load_config


@dataclass(frozen=True)
class Facts:
    """A run as its directory has it, finished or not."""

    path: Path
    config: Config
    told: dict[str, Any]  # config.json, with what stands beside the settings
    summary: dict[str, Any] | None

    @classmethod
    def read(cls, path: Path) -> Facts:
        """Return the facts of a run. Raises UserError where there is none, or it is damaged."""
        config = load_config(path)
        summary = read_summary(path) if (path / "summary.json").exists() else None
        return cls(path, config, read_settings(path), summary)

    @property
    def name(self) -> str:
        """The run's own name: that of its directory."""
        return self.path.resolve().name

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.csv, a window each; none before the run has begun. Raises UserError on damaged ones."""
        begun = self.summary is not None or (self.path / "metrics.csv").exists()
        return read_metrics(self.path) if begun else []

    @cached_property
    def flat(self) -> dict[str, Any]:
        """Every setting ``section.key``, the rule's own first."""
        data = self.config.to_dict()
        order = {"agent": data["options"], "rule": data["rule"]} | {name: data[name] for name in SECTIONS}
        return {f"{section}.{key}": value for section, group in order.items() for key, value in group.items()}

    @cached_property
    def known(self) -> dict[str, Any]:
        """The field of every setting of the run's rule."""
        return settings(find_agent(self.config.agent).Options)

    @cached_property
    def different(self) -> dict[str, Any]:
        """The settings that are not the defaults."""
        return {key: value for key, value in self.flat.items() if value != self.known[key].default}

    @property
    def steps(self) -> int:
        """Environment steps taken."""
        return self.summary["env_steps"] if self.summary else steps_taken(self.path / "checkpoints")

    def command(self) -> str:
        """Return the command that makes the run again, with every setting that is not a default."""
        config = self.config
        parts = ["lfcs", "train", config.env, "--no-tuned", "--agent", config.agent]
        parts += ["--steps", str(config.steps), "--seed", str(config.seed)]
        parts += ["--device", config.device] if config.device != Config.device else []
        parts += ["--engine", config.engine] if config.engine != Config.engine else []
        if config.env_kwargs:
            parts += ["--env-kwargs", *(f"{key}={value!r}" for key, value in config.env_kwargs.items())]
        fixed = find_agent(config.agent).fixed
        # on the command line workers are chosen by themselves, so that their number is always said
        changed = self.different | {"train.env_workers": config.train.env_workers}
        parts += ["--set", *(f"{key}={_text(value)}" for key, value in changed.items() if key not in fixed)]
        return shlex.join(parts)

    def again(self) -> list[str]:
        """Return the commands that make the run again: more than one where it went on beyond its end."""
        before = self.told.get("steps_before", [])
        if not before:
            return [self.command()]
        first, last = int(before[0]), self.config.steps
        made = self.command().replace(f"--steps {last} ", f"--steps {first} --run-dir again ")
        return [made, *(f"lfcs resume again --steps {steps}" for steps in [*before[1:], last])]


def _text(value: Any) -> str:
    """Return a setting as the command line takes it."""
    return str(value).lower() if isinstance(value, bool) else f"{value!r}" if isinstance(value, float) else str(value)


def shown(value: Any) -> str:
    """Return a setting as a page shows it."""
    if isinstance(value, bool | dict | list):
        return json.dumps(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
