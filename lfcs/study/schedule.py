"""Which runs a plan asks for: those from which learning rates are picked, and those that are reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lfcs.config import Config
from lfcs.configure import build_config
from lfcs.study.jobs import Job
from lfcs.study.plan import Plan
from lfcs.study.stats import iqm
from lfcs.study.values import number_name

Rates = Mapping[tuple[str, int], float]  # by label and number of replays of the grid


def make_job(
    plan: Plan,
    root: Path,
    label: str,
    replays: int,
    seed: int,
    steps: int,
    rate: float | None,
    capacity: int | None = None,
) -> Job:
    """Return a run of a comparison; a ``rate`` or ``capacity`` of None is that of the agent's settings.

    Raises UserError on settings that do not fit.
    """
    entry = plan.agents[label]
    # runs side by side share the cores already; results do not depend on workers
    overrides = (
        {"train.env_workers": "0", "train.watch": "scalars", "rule.replays": replays} | plan.settings | entry.settings
    )
    overrides |= {} if capacity is None else {"replay.capacity": capacity}

    def build(more: dict[str, Any]) -> Config:
        return build_config(plan.env, entry.agent, steps, seed, overrides=overrides | more, experiment=plan.tuned)

    config, name = build({}), f"{plan.names[label]}_R{replays}" + ("" if capacity is None else f"_C{capacity}")
    if rate is not None:
        share = config.rule.lr_hidden / config.rule.lr_readout
        config = build({"rule.lr_readout": rate, "rule.lr_hidden": rate * share})
        name += f"_lr{number_name(rate)}"
    return Job(label, replays, seed, config, root / "runs" / f"{name}_seed{seed}")


def grid(plan: Plan, root: Path) -> list[Job]:
    """Return the runs from which learning rates are picked, none where there is nothing to pick."""
    if not plan.has_grid:
        return []
    return [
        make_job(plan, root, label, replays, seed, plan.grid_steps, rate, plan.held[0])
        for label, entry in plan.agents.items()
        if entry.has_rate
        for replays in sorted({plan.tuned_at(label, r) for r in plan.replays_of(label)})
        for rate in plan.rates
        for seed in plan.grid_seeds
    ]


def only_rate(plan: Plan) -> dict[tuple[str, int], float]:
    """Return the first rate of the plan for every label that can have one; nothing where the plan has no rates."""
    return {
        (label, plan.tuned_at(label, replays)): plan.rates[0]
        for label, entry in plan.agents.items()
        if plan.rates and entry.has_rate
        for replays in plan.replays_of(label)
    }


def pick(jobs: Sequence[Job], summaries: Sequence[dict[str, Any]]) -> dict[tuple[str, int], float]:
    """Return the learning rate of each label and number of replays of the grid.

    It is the one with the highest interquartile mean of the final sampled return.
    """
    scores: dict[tuple[str, int], dict[float, list[float]]] = {}
    for job, summary in zip(jobs, summaries, strict=True):
        of_rate = scores.setdefault((job.label, job.replays), {})
        of_rate.setdefault(job.config.rule.lr_readout, []).append(summary["mean_return_sampled"])
    return {key: max(of, key=lambda rate: float(iqm(np.array(of[rate])))) for key, of in scores.items()}


def reported(plan: Plan, root: Path, rates: Rates) -> list[Job]:
    """Return the runs that are reported; a label without a rate keeps its own."""
    return [
        make_job(
            plan, root, label, replays, seed, plan.steps, rates.get((label, plan.tuned_at(label, replays))), capacity
        )
        for seed in plan.seeds  # the outer loop, so that what is cut short holds whole seeds
        for label in plan.agents
        for replays in plan.replays_of(label)
        for capacity in plan.held
    ]
