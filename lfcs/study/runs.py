"""Run directories as they are found: their settings and curves, grouped by agent and task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lfcs.directory import NOTES, read_settings, read_summary
from lfcs.errors import UserError
from lfcs.monitor import read_metrics
from lfcs.study.stats import interval, iqm

FINAL = {"eval/mean_reward": "mean_return", "eval/mean_reward_sampled": "mean_return_sampled"}
ASIDE = ("seed", "steps", "device", "engine", "train.env_workers", "train.threads")  # do not make a group of their own
POINTS = 100  # of an aggregate, where seeds were told of at other steps


@dataclass(frozen=True)
class Found:
    """A run directory with what ``config.json`` says."""

    path: Path
    config: dict[str, Any]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.csv."""
        return read_metrics(self.path)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All settings, by ``section.key``; those of the rule's own are ``agent.key``."""
        flat: dict[str, Any] = {}
        for key, value in self.config.items():
            if key in NOTES:
                continue
            section = "agent" if key == "options" else key
            flat |= {f"{section}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
        return flat

    def series(self, key: str) -> np.ndarray:
        """Return steps and values [2, n] of a metric where there are any; of an evaluation with the final one."""
        points = {row["step"]: row[key] for row in self.rows if np.isfinite(row.get(key, np.nan))}
        if key in FINAL and (self.path / "summary.json").exists():
            summary = read_summary(self.path)
            points |= {summary["env_steps"]: summary[FINAL[key]]}
        return np.array(sorted(points.items()), dtype=np.float64).reshape(-1, 2).T


class Group(NamedTuple):
    """Runs that differ in nothing but their seed, as far as can be seen."""

    label: str
    env: str
    runs: list[Found]


class Aggregate(NamedTuple):
    """Interquartile mean and 95 % interval over seeds, as far as all of them have come."""

    steps: np.ndarray  # [P]
    mean: np.ndarray  # [P]
    bounds: np.ndarray  # [P, 2]


def find(paths: Iterable[Path]) -> list[Found]:
    """Return the runs in directories, which are runs or hold some, however deep; each once.

    Raises UserError where there is none, or a ``config.json`` is damaged.
    """
    found: dict[Path, Found] = {}
    for path in paths:
        below = sorted(
            config.parent for config in path.rglob("config.json") if (config.parent / "metrics.csv").exists()
        )
        if not below:
            raise UserError(f"{path} holds no run: nothing there has a config.json and a metrics.csv")
        found |= {run.resolve(): Found(run, read_settings(run)) for run in below}
    return list(found.values())


def grouped(runs: Sequence[Found]) -> list[Group]:
    """Return runs by task, then by agent and by what else differs in their settings but the seed, which labels them."""
    together: dict[tuple[str, str], list[Found]] = {}
    for run in runs:
        together.setdefault((run.config["env"], run.config["agent"]), []).append(run)
    groups: dict[tuple[str, str], Group] = {}
    for (env, agent), own in together.items():
        keys = [k for k in own[0].settings if k not in ASIDE and len({str(r.settings.get(k)) for r in own}) > 1]
        for run in own:
            label = " ".join([agent, *(f"{key.split('.')[-1]}={run.settings.get(key)}" for key in keys)])
            groups.setdefault((env, label), Group(label, env, [])).runs.append(run)
    return sorted(groups.values(), key=lambda group: group.env)


def aggregate(series: Sequence[np.ndarray]) -> Aggregate | None:
    """Return the aggregate of the curves of some seeds, each steps and values [2, n]; None where one has no point.

    Between its points a curve is straight.
    """
    if any(not one.shape[1] for one in series):
        return None
    first, last = max(one[0, 0] for one in series), min(one[0, -1] for one in series)
    steps = np.unique(np.concatenate([one[0] for one in series]))
    steps = steps[(steps >= first) & (steps <= last)]
    if not len(steps):
        return None
    if len(steps) > POINTS:
        steps = np.linspace(first, last, POINTS)
    values = np.array([np.interp(steps, *one) for one in series])
    bounds = [interval(column, rounds=1000) for column in values.T]
    return Aggregate(steps, iqm(values.T), np.array(bounds))
