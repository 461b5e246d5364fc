"""Pictures of run directories: learning curves, and how far the new policy went from the reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lfcs.errors import UserError
from lfcs.pictures import style
from lfcs.study.figures import colours_of
from lfcs.study.runs import Aggregate, Found, Group, aggregate, find, grouped

RETURNS = {
    "rollout/ep_rew_mean": "training return",
    "eval/mean_reward": "greedy return",
    "eval/mean_reward_sampled": "sampled return",
}
RATIO = "train/ratio_mean", "train/ratio_p05", "train/ratio_p95"


class Instrument(NamedTuple):
    """What a panel of the divergence shows."""

    key: str
    label: str
    low: float | None = 0.0  # of its axis


DIVERGENCE = (
    Instrument(RATIO[0], "ratio, 5–95 %", None),
    Instrument("train/approx_kl", "KL (nats)"),
    Instrument("train/clip_fraction", "share outside"),
    Instrument("train/total_variation", "total variation"),
    Instrument("train/ess", "eff. samples", None),
)


def draw(paths: Sequence[Path], divergence: bool = False) -> Any:
    """Return a figure of the learning curves of run directories, or of their divergence.

    Raises UserError where there is no run, none has anything to show yet, or matplotlib is missing.
    """
    style.check_installed()
    runs = find(paths)
    if not any(run.rows for run in runs):
        raise UserError(f"{runs[0].path} has nothing to plot yet: metrics.csv holds no window")
    return draw_divergence(runs) if divergence else draw_curves(runs)


def draw_curves(runs: Sequence[Found]) -> Any:
    """Return a figure of returns in training and evaluations against steps, a column for each task."""
    groups = grouped(runs)
    figure, axes = _panels(groups, len(RETURNS), 1.25)
    colours = colours_of(dict.fromkeys(group.label for group in groups))
    for column, env in zip(axes.T, dict.fromkeys(group.env for group in groups), strict=True):
        column[0].set_title(env)
        for axis, (key, label) in zip(column, RETURNS.items(), strict=True):
            axis.set_ylabel(label)
            for group in groups:
                if group.env == env:
                    _draw_group(axis, group, key, colours[group.label])
            if not axis.lines:
                axis.text(0.5, 0.5, "none yet", transform=axis.transAxes, ha="center", fontsize=style.SMALL)
    several = any(len(group.runs) > 1 for group in groups)
    _finish(figure, axes, groups, colours, "line: IQM, band: its 95 % interval, thin: each seed" if several else "")
    return figure


def draw_divergence(runs: Sequence[Found]) -> Any:
    """Return a figure of the instruments that tell how far new and reference policy are apart, against steps.

    Lines are interquartile means over seeds; KL is KL(reference || new), what is outside is the share of steps beyond
    the trust region, whose bounds are dashed, and effective samples are a share too.
    """
    groups = grouped(runs)
    figure, axes = _panels(groups, len(DIVERGENCE), 0.95)
    colours = colours_of(dict.fromkeys(group.label for group in groups))
    for column, env in zip(axes.T, dict.fromkeys(group.env for group in groups), strict=True):
        column[0].set_title(env)
        for axis, shown in zip(column, DIVERGENCE, strict=True):
            axis.set_ylabel(shown.label)
            for group in (group for group in groups if group.env == env):
                _draw_instrument(axis, group, shown.key, colours[group.label])
            if shown.low is not None:
                axis.set_ylim(bottom=shown.low)
    _finish(figure, axes, groups, colours, "new against reference policy, last pass over each window")
    return figure


def _draw_group(axis: Any, group: Group, key: str, colour: Any) -> None:
    """Draw seeds, their interquartile mean and its interval."""
    series = [one for run in group.runs if (one := run.series(key)).shape[1]]
    if not series:
        return
    few = {"marker": "o", "markersize": 2} if max(one.shape[1] for one in series) <= 30 else {}
    if len(series) == 1:
        axis.plot(*series[0], color=colour, linewidth=1.2, **few)
        return
    for one in series:
        axis.plot(*one, color=colour, linewidth=0.4, alpha=0.5)
    whole = aggregate(series)
    if whole is not None:
        _draw_band(axis, whole, colour)


def _draw_band(axis: Any, whole: Aggregate, colour: Any) -> None:
    axis.fill_between(whole.steps, *whole.bounds.T, color=colour, alpha=0.2, linewidth=0)
    axis.plot(
        whole.steps, whole.mean, color=colour, linewidth=1.4, **({"marker": "o"} if len(whole.steps) == 1 else {})
    )


def _draw_instrument(axis: Any, group: Group, key: str, colour: Any) -> None:
    """Draw the interquartile mean of an instrument over seeds; of the ratio, those of its percentiles too."""
    whole = _over_seeds(group, key)
    if whole is None:
        return
    axis.plot(whole.steps, whole.mean, color=colour, linewidth=1.0, clip_on=False, zorder=3)
    if key == RATIO[0]:
        low, high = (_over_seeds(group, other) for other in RATIO[1:])
        if low is not None and high is not None:
            axis.fill_between(low.steps, low.mean, high.mean, color=colour, alpha=0.25, linewidth=0)
        eps = group.runs[0].settings.get("agent.eps")
        for bound in (1 - eps, 1 + eps) if eps else ():
            axis.axhline(bound, color=style.BLACK, linewidth=0.6, linestyle="--")


def _over_seeds(group: Group, key: str) -> Aggregate | None:
    series = [one for run in group.runs if (one := run.series(key)).shape[1]]
    return aggregate(series) if series else None


def _panels(groups: Sequence[Group], rows: int, height: float) -> tuple[Any, Any]:
    """Return a figure and its axes [rows, tasks]."""
    tasks = len({group.env for group in groups})
    figure = style.figure(style.COLUMN * tasks, rows * height + 0.7 + 0.15 * len(groups))
    return figure, figure.subplots(rows, tasks, sharex="col", squeeze=False)


def _finish(figure: Any, axes: Any, groups: Sequence[Group], colours: dict[str, Any], note: str) -> None:
    """Label the axis of steps and add the legend, with the number of seeds of each label and a note."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter

    for axis in axes[-1]:
        axis.set_xlabel("environment steps")
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.locator_params(axis="x", nbins=6)
    for axis in axes.flat:
        axis.locator_params(axis="y", nbins=4)
    figure.align_ylabels(axes)
    counts = {label: [len(g.runs) for g in groups if g.label == label] for label in colours}
    names = [f"{label} ({_seeds(count)})" for label, count in counts.items()]
    handles = [Line2D([], [], color=colour, linewidth=1.4) for colour in colours.values()]
    figure.legend(
        handles, names, loc="outside lower center", frameon=False, fontsize=style.SMALL, title=note or None,
        title_fontsize=style.SMALL, handlelength=1.2, ncols=1 if max(map(len, names)) > 22 else 2,
    )  # fmt: skip
    style.dress(figure)


def _seeds(counts: Sequence[int]) -> str:
    """Return in words how many seeds there are, over the tasks."""
    few, most = min(counts), max(counts)
    return f"{few} seed{'s' * (few > 1)}" if few == most else f"{few} to {most} seeds"
