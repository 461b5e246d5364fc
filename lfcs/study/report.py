"""What a comparison says: ``report.md``, made from its plan and the rows of its results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lfcs.study.figures import FINALS
from lfcs.study.plan import Plan
from lfcs.study.results import Rows, along_capacity, curves_of, diverged, finals
from lfcs.study.schedule import Rates
from lfcs.study.stats import TOLD, TOLD_OF_IMPROVEMENT, iqm, probability_of_improvement
from lfcs.study.tables import better, by_replays, cell, costs, grid_scores, on_the_way, rates_used, steadiness

OF_PEERS = (
    "Peers have their library's network and the settings of `lfcs/study/peers.py`, which were not tuned here; they "
    "stand at R = 1, and at C = 1, whatever their number of epochs."
)
KEPT = (
    "C is `replay.capacity`, the windows kept: the first pass is over the current window, the others draw any of the "
    "last C; 0 and 1 are the current one alone."
)


@dataclass(frozen=True)
class Comparison:
    """What a finished comparison has to tell."""

    name: str
    command: str  # makes it again
    plan: Plan
    episodes: int  # of a final score
    rates: Rates  # that were picked
    grid: Rows  # of the runs from which they were picked
    rows: Rows


@dataclass(frozen=True)
class View:
    """What is told and drawn along one axis: R, the number of replays, or C, the windows kept, at one R."""

    rows: Rows
    axis: str = "R"
    at: str = ""  # what is held, in words, where there is more than one view
    suffix: str = ""  # of the names of its figures


def views_of(found: Comparison) -> list[View]:
    """Return the views of a comparison: along R, or, where there are several capacities, along C for each R."""
    plan = found.plan
    if len(plan.capacities) < 2:
        return [View(found.rows)]
    every = sorted({replays for label in plan.agents for replays in plan.replays_of(label)})
    several = len(every) > 1
    return [
        View(along_capacity(found.rows, r), "C", f", R = {r}" if several else "", f"_R{r}" if several else "")
        for r in every
    ]


def write_report(path: Path, found: Comparison) -> None:
    """Write the report."""
    lines = _head(found)
    for view in views_of(found):
        lines += [*_scores(view, found.plan.baseline), *_course(view)]
    path.write_text("\n".join([*lines, *_rates(found)]) + "\n", encoding="utf-8")


def _head(found: Comparison) -> list[str]:
    """Return what was compared and what was found."""
    plan = found.plan
    task = (
        f"experiment {plan.experiment} ({plan.env})" if plan.experiment else f"{plan.env}, which has no tuned settings"
    )
    peers = set(plan.peers) & set(finals(found.rows))
    return [
        f"# Comparison: {found.name}",
        "",
        f"    {found.command}",
        "",
        f"Task: {task}; {plan.steps:,} environment steps a run, seeds {', '.join(map(str, plan.seeds))}. Scores are of "
        f"the final policy over {found.episodes} fresh episodes with sampled actions: interquartile mean over seeds "
        f"and its {TOLD}. Every learning rule has the same network, experience and number of "
        "environment steps. A run has diverged as defined in `lfcs/verdict.py`.",
        *([OF_PEERS] if peers else []),
        *([KEPT] if plan.capacities else []),
        *([plan.note] if plan.note else []),
        "",
        "## What was found",
        "",
        *_found(found),
    ]


def _found(found: Comparison) -> list[str]:
    """Return the findings of every view."""
    lines = []
    for view in views_of(found):
        lines += [f"{view.at.removeprefix(', ')}:", ""] if view.at else []
        lines += [*findings(view.rows, found.plan.baseline, view.axis)]
        lines += [*against_peers(view.rows, found.plan, view.axis), ""]
    return lines


def _scores(view: View, baseline: str) -> list[str]:
    """Return how the runs ended."""
    rows, axis, at, suffix = view.rows, view.axis, view.at, view.suffix
    sampled, greedy, bad = finals(rows), finals(rows, "greedy_return"), diverged(rows)
    lines = [f"## Final return{at}", "", *by_replays(rows, lambda label, r: cell(sampled[label][r]), axis), ""]
    lines += [f"![final return against {FINALS[axis]}]({FINALS[axis]}{suffix}.png)", "", "With greedy actions:", ""]
    lines += [*by_replays(rows, lambda label, r: cell(greedy[label][r]), axis), "", f"## Runs that diverged{at}", ""]
    lines += by_replays(rows, lambda label, r: "{} of {}".format(*bad[label][r]) if label in bad else "", axis)
    lines += ["", f"![divergence against {FINALS[axis]}](divergence{suffix}.png)", ""]
    lines += [
        f"## How far from the reference{at}",
        "",
        "In the last pass over a window; medians over windows and seeds.",
        "",
    ]
    lines += [*steadiness(rows, axis), ""]
    if len(sampled) > 1:
        lines += [
            f"## Probability that {baseline} ends higher, at the same {axis}{at}",
            "",
            f"With its {TOLD_OF_IMPROVEMENT}:",
            "",
        ]
        lines += [*by_replays(rows, better(rows, baseline), axis), ""]
    return lines


def _course(view: View) -> list[str]:
    """Return how the runs went and what they cost."""
    rows, axis, suffix = view.rows, view.axis, view.suffix
    lines = [f"## On the way{view.at}", "", "Mean over seeds at each evaluation, sampled actions:", ""]
    lines += [*on_the_way(rows, "sampled_return", axis), "", "Greedy actions:", ""]
    lines += [*on_the_way(rows, "greedy_return", axis), "", f"![learning curves](curves{suffix}.png)", ""]
    return [*lines, f"## What it costs{view.at}", "", *costs(rows, axis), "", f"![cost](cost{suffix}.png)", ""]


def _rates(found: Comparison) -> list[str]:
    """Return which learning rates there were, and why."""
    plan = found.plan
    if plan.has_grid:
        seeds = ", ".join(map(str, plan.grid_seeds))
        how = f"Picked after {plan.grid_steps:,} steps on seeds {seeds}; every R has the rate of the nearest R below."
        how += f" All were picked at C = {plan.capacities[0]}." if plan.capacities else ""
        return ["## Learning rates", "", how, "", *grid_scores(plan, found.rates, found.grid)]
    how = "The same for every agent." if plan.rates else "Every agent's own, tuned where the task has an experiment."
    return ["## Learning rates", "", how, "", *rates_used(found.rows)]


def findings(rows: Rows, baseline: str, axis: str = "R") -> list[str]:
    """Return what the numbers say of the claim that replay helps a rule and does not make it diverge."""
    sampled = finals(rows)
    out = [_finding(rows, label, axis) for label in sampled]
    for r in sorted(sampled.get(baseline, {})):
        here = {label: float(iqm(by_r[r])) for label, by_r in sampled.items() if r in by_r}
        for label, mean in here.items():
            if mean > here[baseline]:
                value, low, high = probability_of_improvement(sampled[baseline][r], sampled[label][r])
                out.append(
                    f"- At {axis} = {r}, {label} ends higher than {baseline}, {mean:.3g} against {here[baseline]:.3g}; "
                    f"probability that {baseline} ends higher: {value:.2f} [{low:.2f}, {high:.2f}]."
                )
    return out


def _finding(rows: Rows, label: str, axis: str) -> str:
    """Return what the numbers say of a label: its best, what it has lost at the most, and its medians."""
    by_r, greedy, bad = finals(rows)[label], finals(rows, "greedy_return")[label], diverged(rows).get(label, {})
    means = {r: float(iqm(scores)) for r, scores in by_r.items()}
    best, most = max(means, key=lambda r: means[r]), max(means)
    text = f"- **{label}**: best at {axis} = {best} ({means[best]:.3g}); "
    if len(means) == 1:
        text = f"- **{label}**: {means[best]:.3g} at {axis} = {best}; "
    elif most != best:
        lost = means[best] - means[most]
        share = f" ({100 * lost / means[best]:.1f} %)" if 0 < lost <= means[best] else ""
        text += f"at {axis} = {most} {means[most]:.3g}, {lost:.3g}{share} below its best; "
    counts = f"{sum(b for b, _ in bad.values())} of {sum(n for _, n in bad.values())} runs" if bad else "not judged"
    medians = ", ".join(
        f"{np.median(by_r[r]):.3g} sampled and {np.median(greedy[r]):.3g} greedy at {axis} = {r}" for r in sorted(by_r)
    )
    return text + f"diverged: {counts}; medians: {medians}."


def against_peers(rows: Rows, plan: Plan, axis: str = "R") -> list[str]:
    """Return at how many of its evaluations the baseline is above each peer, as means over seeds, actions sampled.

    A peer's return between its own evaluations is interpolated, and before its first taken as that.
    """
    out = []
    for peer in plan.peers:
        at, theirs = curves_of(rows, peer, 1)
        for r in sorted(finals(rows).get(plan.baseline, {})) if len(at) else []:
            steps, ours = curves_of(rows, plan.baseline, r)
            ahead = ours.mean(axis=0) > np.interp(steps, at, theirs.mean(axis=0))
            count = f"{ahead.sum()} of {len(steps)} evaluations (means over seeds)"
            behind = ", ".join(f"{step:,.0f}" for step in steps[~ahead])
            text = f"- {plan.baseline} at {axis} = {r} is ahead of {peer} at {count}"
            out.append(text + (f", not at {behind}." if behind else "."))
    return out
