"""The tables of a report, as lines of Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lfcs.study.plan import Plan
from lfcs.study.results import Rows, curves_of, finals, last_rows, median
from lfcs.study.schedule import Rates
from lfcs.study.stats import in_words, iqm, probability_of_improvement

Fill = Callable[[str, int], str]  # a cell of a label at a number of replays


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def cell(scores: np.ndarray) -> str:
    """Return an interquartile mean with its interval."""
    return in_words(scores, ".3g")


def by_replays(rows: Rows, fill: Fill, axis: str = "R") -> list[str]:
    """Return a table with a row per label and a column per number of replays, or what stands in its place."""
    found = finals(rows)
    columns = sorted({r for by_r in found.values() for r in by_r})
    body = [[label, *(fill(label, r) if r in by_r else "" for r in columns)] for label, by_r in found.items()]
    return markdown(["agent", *(f"{axis} = {r}" for r in columns)], body)


def better(rows: Rows, baseline: str) -> Fill:
    """Return what fills a table of probabilities that the baseline ends higher than a label at the same R."""
    found = finals(rows)

    def fill(label: str, r: int) -> str:
        if label == baseline or r not in found[baseline]:
            return ""
        value, low, high = probability_of_improvement(found[baseline][r], found[label][r])
        return f"{value:.2f} [{low:.2f}, {high:.2f}]"

    return fill


def on_the_way(rows: Rows, key: str, axis: str = "R") -> list[str]:
    """Return a table of the mean over seeds on the way, with a row per label and number of replays.

    The columns are the evaluations of the first label; others are interpolated between theirs, and have no entry
    before their first.
    """
    pairs = list(dict.fromkeys((row.label, row.replays) for row in rows))
    steps, _ = curves_of(rows, *pairs[0])
    body = []
    for label, r in pairs:
        at, curves = curves_of(rows, label, r, key)
        means = np.interp(steps, at, curves.mean(axis=0), left=np.nan)
        body.append([label, str(r), *("" if np.isnan(mean) else f"{mean:.3g}" for mean in means)])
    return markdown(["agent", axis, *(f"{step:,.0f}" for step in steps)], body)


def steadiness(rows: Rows, axis: str = "R") -> list[str]:
    """Return how far the new policy is from the reference in the last pass; medians over windows and seeds."""
    body = [
        [label, str(r), *(f"{median(runs, key):.2g}" for key in ("kl", "ess", "entropy"))]
        for (label, r), runs in last_rows(rows).items()
        if all(row.kl is not None for row in runs)
    ]
    return markdown(["agent", axis, "KL(reference, new), nats", "effective sample size", "entropy, nats"], body)


def costs(rows: Rows, axis: str = "R") -> list[str]:
    """Return what a run cost each agent: time per environment step, updates, and the return it ended with."""
    body = []
    for (label, r), runs in last_rows(rows).items():
        spent = 1e6 * float(np.median([row.seconds / row.step for row in runs]))
        score = float(iqm(np.array([row.sampled_return for row in runs])))
        each = f"{spent / score:.3g}" if score > 0 else ""
        body.append([label, str(r), f"{spent:.0f}", f"{runs[0].weight_updates:,}", f"{score:.3g}", each])
    header = ["agent", axis, "us per environment step", "weight updates", "final return"]
    return markdown([*header, "us per step and point of return"], body)


def grid_scores(plan: Plan, rates: Rates, grid: Rows) -> list[str]:
    """Return what each learning rate scored on the grid, and which was picked."""
    scores: dict[tuple[str, int, float | None], list[float]] = {}
    for row in grid:
        if row.diverged:
            scores.setdefault((row.label, row.replays, row.learning_rate), []).append(row.sampled_return)
    body = []
    for (label, replays), picked in rates.items():
        cells = [f"{float(iqm(np.array(scores[label, replays, rate]))):.3g}" for rate in plan.rates]
        edge = ", at the edge" if picked in (min(plan.rates), max(plan.rates)) else ""
        body.append([label, str(replays), *cells, f"{picked:g}{edge}"])
    return markdown(["agent", "R", *(f"{rate:g}" for rate in plan.rates), "picked"], body)


def rates_used(rows: Rows) -> list[str]:
    """Return the learning rate that each label had; a peer's is its library's."""
    body = [
        [label, str(r), f"{runs[0].learning_rate:g}"]
        for (label, r), runs in last_rows(rows).items()
        if runs[0].learning_rate is not None
    ]
    return markdown(["agent", "R", "learning rate of the readout"], body)
