"""The drawings of a page: curves of one run and of several, what the trust region does, how the neurons fire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lfcs.pictures import style
from lfcs.report.facts import Facts
from lfcs.study.figures import colours_of
from lfcs.study.stats import interval, iqm

WIDE = 7.0  # inches of a page


def column(facts: Facts, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps [n] and values [n] of a metric, where it was measured."""
    rows = [(row["step"], row[key]) for row in facts.metrics if key in row]
    steps, values = np.array(rows, dtype=float).reshape(-1, 2).T
    known = np.isfinite(values)
    return steps[known], values[known]


def smooth(steps: np.ndarray, values: np.ndarray, most: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Return means over stretches of windows, at most so many points: a page is not a log."""
    if len(steps) <= most:
        return steps, values
    parts = np.array_split(np.arange(len(steps)), most)
    return np.array([steps[p].mean() for p in parts]), np.array([values[p].mean() for p in parts])


def _steps(axis: Any) -> None:
    """Label an axis of environment steps, in thousands or millions by their number."""
    from matplotlib.ticker import EngFormatter

    axis.set_xlabel("environment steps")
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.locator_params(axis="x", nbins=5)
    axis.set_xlim(left=0)


def learning(facts: Facts) -> Any:
    """Draw the returns of a run: of training, and of evaluations with their standard deviation over episodes."""
    figure = style.figure(WIDE, 2.6)
    axis = figure.subplots()
    colour = colours_of([facts.config.agent])[facts.config.agent]
    steps, values = smooth(*column(facts, "rollout/ep_rew_mean"))
    axis.plot(steps, values, color=style.GREY, linewidth=1, label="training, mean of the last 100 episodes")
    for key, name, line in (("", "greedy", "o-"), ("_sampled", "sampled", "s--")):
        steps, values = column(facts, f"eval/mean_reward{key}")
        _, spread = column(facts, f"eval/std_reward{key}")
        if facts.summary:
            steps = np.append(steps, facts.summary["env_steps"])
            values = np.append(values, facts.summary[f"mean_return{key}"])
            spread = np.append(spread, facts.summary[f"std_return{key}"])
        label = f"evaluation, {name} actions"
        axis.plot(steps, values, line, color=colour, markersize=3, linewidth=1, label=label, alpha=0.6 if key else 1.0)
        if not key:
            axis.fill_between(steps, values - spread, values + spread, color=colour, alpha=0.15, linewidth=0)
    _steps(axis)
    axis.set_ylabel("return of an episode")
    _beside(figure)
    style.dress(figure)
    return figure


def _beside(figure: Any) -> None:
    """Put one legend of all axes above them."""
    named = {name: line for a in figure.axes for line, name in zip(*a.get_legend_handles_labels(), strict=True)}
    figure.legend(
        named.values(), named.keys(), loc="outside upper center", ncols=3, frameon=False, fontsize=style.SMALL
    )


def divergence(facts: Facts) -> Any:
    """Draw how far the new policy goes from the reference: its ratio, KL, total variation, and what it costs."""
    figure = style.figure(WIDE, 4.2)
    axes = figure.subplots(2, 2, sharex=True).ravel()
    colour = colours_of([facts.config.agent])[facts.config.agent]
    _ratio(axes[0], facts, colour)
    passes = (("train/approx_kl_max", "largest of the passes", ":"), ("train/approx_kl", "last pass", "-"))
    for key, name, line in passes:
        steps, values = smooth(*column(facts, key))
        axes[1].plot(steps, values, line, color=colour, linewidth=1, label=name)
    axes[1].set(ylabel="KL(reference || new), nats", ylim=(0, None))
    axes[1].legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    steps, values = smooth(*column(facts, "train/total_variation"))
    axes[2].plot(steps, values, color=colour, linewidth=1)
    if facts.config.rule.distance:
        axes[2].axhline(facts.config.rule.distance, color=style.BLACK, linewidth=0.6, linestyle="--")
    axes[2].set(ylabel="total variation to reference", ylim=(0, None))
    shares = (("train/ess", "effective sample size", "-"), ("train/clip_fraction", "masked by the trust region", ":"))
    for key, name, line in shares:
        steps, values = smooth(*column(facts, key))
        if len(steps):
            axes[3].plot(steps, values, line, color=colour, linewidth=1, label=name)
    axes[3].set(ylabel="share of steps", ylim=(-0.03, 1.03))
    axes[3].legend(frameon=False, loc="center right")
    for axis in axes[2:]:
        _steps(axis)
    style.dress(figure)
    return figure


def _ratio(axis: Any, facts: Facts, colour: Any) -> None:
    """Draw the spread of the ratio of new to reference policy, on the band that the trust region leaves it."""
    eps = getattr(facts.config.options, "eps", None)
    if eps is not None:
        axis.axhspan(1 - eps, 1 + eps, color=style.GREY, alpha=0.2, linewidth=0, label=f"trust region, 1 ± {eps:g}")
    low, high = (smooth(*column(facts, f"train/ratio_{key}")) for key in ("p05", "p95"))
    axis.fill_between(low[0], low[1], high[1], color=colour, alpha=0.35, linewidth=0, label="5 % to 95 % of steps")
    axis.plot(*smooth(*column(facts, "train/ratio_mean")), color=colour, linewidth=1, label="mean")
    axis.set(ylabel="ratio, new to reference")
    axis.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, columnspacing=1, handlelength=1.2)


def firing(facts: Facts) -> Any:
    """Draw firing rates beside what homeostasis aims at, and the share of neurons that never fire."""
    figure = style.figure(WIDE, 1.9)
    left, right = figure.subplots(1, 2)
    left.plot(*smooth(*column(facts, "spikes/rate_mean")), color=style.GREEN, linewidth=1, label="mean of all neurons")
    rule = facts.config.rule
    if rule.homeostasis:
        label = f"aim of homeostasis, {rule.target_rate:g}"
        left.axhline(rule.target_rate, color=style.BLACK, linewidth=0.8, linestyle="--", label=label)
    left.set(ylabel="spikes per tick", ylim=(0, None))
    left.legend(frameon=False)
    right.plot(*smooth(*column(facts, "spikes/dead_fraction")), color=style.GREEN, linewidth=1)
    right.set(ylabel="share of silent neurons", ylim=(-0.03, 1.03))
    for axis in (left, right):
        _steps(axis)
    style.dress(figure)
    return figure


def comparison(runs: Sequence[Facts], key: str = "mean_reward_sampled") -> Any:
    """Draw the evaluations of several runs, a panel a task: seeds as thin lines, IQM and 95 % interval by agent."""
    tasks = list(dict.fromkeys(facts.config.env for facts in runs))
    labels = [facts.config.agent for facts in runs]
    colours = colours_of(dict.fromkeys(labels))
    figure = style.figure(WIDE, 2.7 * len(tasks))
    for axis, task in zip(figure.subplots(len(tasks), squeeze=False)[:, 0], tasks, strict=True):
        for label, colour in colours.items():
            own = [facts for facts in runs if (facts.config.env, facts.config.agent) == (task, label)]
            if own:
                _group(axis, own, label, colour, key)
        axis.set_title(task)
        axis.set_ylabel(f"return, {'sampled' if key.endswith('sampled') else 'greedy'} actions")
        _steps(axis)
        axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    style.dress(figure)
    return figure


def curve(facts: Facts, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and returns of a run's evaluations, the final one at its end where there is one."""
    steps, values = column(facts, f"eval/{key}")
    if facts.summary is None:
        return steps, values
    before = steps < facts.summary["env_steps"]
    final = facts.summary[f"mean_return{'_sampled' if key.endswith('sampled') else ''}"]
    return np.append(steps[before], facts.summary["env_steps"]), np.append(values[before], final)


def _group(axis: Any, own: Sequence[Facts], label: str, colour: Any, key: str) -> None:
    """Draw the runs of one agent on one task."""
    curves = [found for found in (curve(facts, key) for facts in own) if len(found[0])]
    if not curves:
        return
    for steps, values in curves:
        axis.plot(steps, values, color=colour, linewidth=0.5, alpha=0.5 if len(curves) > 1 else 1.0)
    count = f"{len(curves)} run{'s' * (len(curves) > 1)}"
    steps, values = common(curves)
    axis.plot(steps, iqm(values.T), "o-", color=colour, linewidth=1.5, markersize=2.5, label=f"{label} ({count})")
    if len(curves) > 1:
        bounds = np.array([interval(at, rounds=1000) for at in values.T])
        axis.fill_between(steps, *bounds.T, color=colour, alpha=0.15, linewidth=0)


def common(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return steps [n] up to where the shortest curve ends, and every curve there [runs, n], linear in between."""
    last, first = min(steps[-1] for steps, _ in curves), max(steps[0] for steps, _ in curves)
    every = np.unique(np.concatenate([steps for steps, _ in curves]))
    at = every[(every >= first) & (every <= last)] if first <= last else np.array([last])
    return at, np.array([np.interp(at, steps, values) for steps, values in curves])


def finals(runs: Sequence[Facts]) -> Mapping[tuple[str, str], list[Facts]]:
    """Return the finished runs by task and agent."""
    out: dict[tuple[str, str], list[Facts]] = {}
    for facts in runs:
        if facts.summary is not None:
            out.setdefault((facts.config.env, facts.config.agent), []).append(facts)
    return out
