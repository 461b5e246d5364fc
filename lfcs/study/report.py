"""What a comparison says: ``report.md``, made from its plan, its grid's rows and the rows of ``results.csv``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lfcs.study.stats import bootstrap_interval, iqm, probability_of_improvement

Rows = list[dict[str, Any]]


def finals(rows: Rows, key: str = "sampled_return") -> dict[str, dict[int, np.ndarray]]:
    """Return the final scores over seeds, by label and number of replays."""
    out: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        if row["diverged"]:
            out.setdefault(row["label"], {}).setdefault(row["replays"], []).append(row[key])
    return {label: {r: np.array(s) for r, s in by_r.items()} for label, by_r in out.items()}


def diverged(rows: Rows) -> dict[str, dict[int, tuple[int, int]]]:
    """Return how many runs diverged, of how many, by label and number of replays; peers are not judged."""
    out: dict[str, dict[int, tuple[int, int]]] = {}
    for row in rows:
        if row["diverged"] not in ("", "not judged"):
            bad, all_ = out.setdefault(row["label"], {}).get(row["replays"], (0, 0))
            out[row["label"]][row["replays"]] = bad + (row["diverged"] != "no"), all_ + 1
    return out


def cell(scores: np.ndarray) -> str:
    """Return an interquartile mean with its interval."""
    low, high = bootstrap_interval(scores)
    return f"{float(iqm(scores)):.3g} [{low:.3g}, {high:.3g}]"


def by_replays(rows: Rows, fill: Callable[[str, int], str]) -> list[str]:
    """Return a table with a row per label and a column per number of replays."""
    found = finals(rows)
    columns = sorted({r for by_r in found.values() for r in by_r})
    lines = ["| agent | " + " | ".join(f"R = {r}" for r in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for label, by_r in found.items():
        lines.append(f"| {label} | " + " | ".join(fill(label, r) if r in by_r else "" for r in columns) + " |")
    return lines


def on_the_way(rows: Rows, key: str) -> list[str]:
    """Return a table of the mean over seeds on the way, with a row per label and number of replays.

    The columns are the evaluations of the first label; others are interpolated between theirs, and have no entry
    before their first.
    """
    pairs = list(dict.fromkeys((row["label"], row["replays"]) for row in rows))
    steps, _ = curves_of(rows, *pairs[0])
    lines = ["| agent | R | " + " | ".join(f"{step:,.0f}" for step in steps) + " |", "|---" * (len(steps) + 2) + "|"]
    for label, r in pairs:
        at, curves = curves_of(rows, label, r, key)
        means = np.interp(steps, at, curves.mean(axis=0), left=np.nan)
        cells = ["" if np.isnan(mean) else f"{mean:.3g}" for mean in means]
        lines.append(f"| {label} | {r} | " + " | ".join(cells) + " |")
    return lines


def findings(rows: Rows) -> list[str]:
    """Return what the numbers say of the claim that replay helps lf-cs and does not make it diverge."""
    found, greedy, bad = finals(rows), finals(rows, "greedy_return"), diverged(rows)
    out = []
    for label, by_r in found.items():
        means = {r: float(iqm(scores)) for r, scores in by_r.items()}
        best = max(means, key=lambda r: means[r])
        most = max((r for r in means if r <= 16), default=min(means))
        lost = means[best] - means[most]
        share = f" ({100 * lost / means[best]:.1f} %)" if 0 < lost <= means[best] else ""
        medians = ", ".join(
            f"{np.median(by_r[r]):.3g} sampled and {np.median(greedy[label][r]):.3g} greedy at R = {r}"
            for r in sorted(by_r)
        )
        judged = [bad[label][r] for r in by_r if r <= 16 and r in bad.get(label, {})]
        runs = f"{sum(b for b, _ in judged)} of {sum(n for _, n in judged)} runs" if judged else "not judged"
        text = f"- **{label}**: best at R = {best} ({means[best]:.3g}); "
        if most != best:
            text += f"at R = {most} {means[most]:.3g}, {lost:.3g}{share} below its best; "
        out.append(text + f"diverged up to R = 16: {runs}; medians: {medians}.")
    for r in sorted(found.get("lf-cs", {})):
        here = {label: float(iqm(by_r[r])) for label, by_r in found.items() if r in by_r}
        for label, mean in here.items():
            if mean > here["lf-cs"]:
                value, low, high = probability_of_improvement(found["lf-cs"][r], found[label][r])
                out.append(
                    f"- At R = {r}, {label} ends higher than lf-cs, {mean:.3g} against {here['lf-cs']:.3g}; "
                    f"probability that lf-cs ends higher: {value:.2f} [{low:.2f}, {high:.2f}]."
                )
    return out


def steadiness(rows: Rows) -> list[str]:
    """Return how far the new policy is from the reference in the last pass; medians over windows and seeds."""
    last = [row for row in rows if row["diverged"] and "kl" in row]
    lines = [
        "| agent | R | KL(reference, new), nats | effective sample size | entropy, nats |",
        "|---|---|---|---|---|",
    ]
    for label, r in dict.fromkeys((row["label"], row["replays"]) for row in last):
        runs = [row for row in last if (row["label"], row["replays"]) == (label, r)]
        cells = [f"{float(np.median([row[key] for row in runs])):.2g}" for key in ("kl", "ess", "entropy")]
        lines.append(f"| {label} | {r} | " + " | ".join(cells) + " |")
    return lines


def against_peers(rows: Rows, peers: list[str]) -> list[str]:
    """Return at how many of its evaluations lf-cs is above each peer, as means over seeds with sampled actions.

    A peer's return between its own evaluations is interpolated, and before its first taken as that.
    """
    out = []
    for peer in peers:
        at, theirs = curves_of(rows, peer, 1)
        for r in sorted(finals(rows).get("lf-cs", {})) if len(at) else []:
            steps, ours = curves_of(rows, "lf-cs", r)
            ahead = ours.mean(axis=0) > np.interp(steps, at, theirs.mean(axis=0))
            text = (
                f"- lf-cs at R = {r} is ahead of {peer} at {ahead.sum()} of {len(steps)} evaluations (means over seeds)"
            )
            behind = ", ".join(f"{step:,.0f}" for step in steps[~ahead])
            out.append(text + (f", not at {behind}." if behind else "."))
    return out


def costs(rows: Rows) -> list[str]:
    """Return what a run cost each agent: time per environment step, updates, and the return it ended with."""
    lines = [
        "| agent | R | us per environment step | weight updates | final return | us per step and point of return |",
        "|---|---|---|---|---|---|",
    ]
    last = [row for row in rows if row["diverged"]]
    for label, r in dict.fromkeys((row["label"], row["replays"]) for row in last):
        runs = [row for row in last if (row["label"], row["replays"]) == (label, r)]
        spent = 1e6 * float(np.median([row["seconds"] / row["step"] for row in runs]))
        score = float(iqm(np.array([row["sampled_return"] for row in runs])))
        each = f"{spent / score:.3g}" if score > 0 else ""
        lines.append(f"| {label} | {r} | {spent:.0f} | {runs[0]['weight_updates']:,.0f} | {score:.3g} | {each} |")
    return lines


def learning_rates(plan: dict[str, Any], rates: dict[tuple[str, int], float], grid: Rows) -> list[str]:
    """Return what each learning rate scored on the grid, and which was picked."""
    scores: dict[tuple[str, int, float], list[float]] = {}
    for row in grid:
        if row["diverged"]:
            key = row["label"], row["replays"], row["learning_rate"]
            scores.setdefault(key, []).append(row["sampled_return"])
    lines = ["| agent | R | " + " | ".join(f"{rate:g}" for rate in plan["rates"]) + " | picked |"]
    lines.append("|---" * (len(plan["rates"]) + 3) + "|")
    for (label, replays), picked in rates.items():
        cells = [f"{float(iqm(np.array(scores[label, replays, rate]))):.3g}" for rate in plan["rates"]]
        edge = len(plan["rates"]) > 1 and picked in (min(plan["rates"]), max(plan["rates"]))
        lines.append(f"| {label} | {replays} | " + " | ".join(cells) + f" | {picked:g}{', at the edge' * edge} |")
    return lines


def write_report(
    path: Path,
    name: str,
    plan: dict[str, Any],
    episodes: int,
    rates: dict[tuple[str, int], float],
    grid: Rows,
    rows: Rows,
) -> None:
    """Write the report.

    A final score is over ``episodes``; ``grid`` are the rows of the runs from which learning rates were picked.
    """
    found, bad = finals(rows), diverged(rows)
    of_peers = (
        "Peers have their library's network and the settings of `lfcs/study/peers.py`, which were not tuned here; "
        "they stand at R = 1 whatever their number of epochs."
    )
    met = bool(set(plan["peers"]) & set(found))
    text = [
        f"# Comparison: {name}",
        "",
        f"    lfcs compare {name}" + " --peers" * met,
        "",
        f"Experiment {plan['experiment']}, {plan['steps']:,} environment steps a run, seeds "
        f"{', '.join(map(str, plan['seeds']))}. Scores are of the final policy over {episodes} fresh episodes with "
        "sampled actions: interquartile mean over seeds and its 95 % bootstrap interval. Every learning rule has the "
        "same network, experience and number of environment steps. A run has diverged as defined in "
        "`lfcs/verdict.py`.",
        of_peers * met,
        plan["note"],
        "",
        "## What was found",
        "",
        *findings(rows),
        *against_peers(rows, plan["peers"]),
        "",
        "## Final return",
        "",
        *by_replays(rows, lambda label, r: cell(found[label][r])),
        "",
        "![final return against replays](replays.png)",
        "",
        "With greedy actions:",
        "",
        *by_replays(rows, lambda label, r: cell(finals(rows, "greedy_return")[label][r])),
        "",
        "## Runs that diverged",
        "",
        *by_replays(rows, lambda label, r: "{} of {}".format(*bad[label][r]) if label in bad else ""),
        "",
        "![divergence against replays](divergence.png)",
        "",
    ]
    text += ["## How far from the reference", "", "In the last pass over a window; medians over windows and seeds.", ""]
    text += [*steadiness(rows), ""]
    if "lf-cs" in found:
        text += ["## Probability that lf-cs ends higher, at the same R", "", *by_replays(rows, better(found)), ""]
    text += ["## On the way", "", "Mean over seeds at each evaluation, sampled actions:", ""]
    text += [*on_the_way(rows, "sampled_return"), "", "Greedy actions:", "", *on_the_way(rows, "greedy_return"), ""]
    text += ["![learning curves](curves.png)", "", "## What it costs", "", *costs(rows), "", "![cost](cost.png)", ""]
    seeds = ", ".join(map(str, plan["grid_seeds"]))
    how = f"Picked after {plan['grid_steps']:,} steps on seeds {seeds}; every R has the rate of the nearest R below."
    text += ["## Learning rates", "", how, "", *learning_rates(plan, rates, grid)]
    path.write_text("\n".join(text) + "\n")


def better(found: dict[str, dict[int, np.ndarray]]) -> Callable[[str, int], str]:
    """Return what fills the table of probabilities that lf-cs ends higher than an agent at the same R."""

    def fill(label: str, r: int) -> str:
        if label == "lf-cs" or r not in found["lf-cs"]:
            return ""
        value, low, high = probability_of_improvement(found["lf-cs"][r], found[label][r])
        return f"{value:.2f} [{low:.2f}, {high:.2f}]"

    return fill


def curves_of(rows: Rows, label: str, replays: int, key: str = "sampled_return") -> tuple[np.ndarray, np.ndarray]:
    """Return evaluation points and returns [seeds, points]; a run that stopped early keeps its last return."""
    runs: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        if (row["label"], row["replays"]) == (label, replays):
            runs.setdefault(row["seed"], []).append((row["step"], row[key]))
    if not runs:
        return np.empty(0), np.empty((0, 0))
    longest = max(runs.values(), key=len)
    returns = [[y for _, y in run] + [run[-1][1]] * (len(longest) - len(run)) for run in runs.values()]
    return np.array([x for x, _ in longest]), np.array(returns)
