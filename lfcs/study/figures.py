"""What a comparison shows: the figures beside ``report.md``, drawn from rows of results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lfcs.agents import AGENTS
from lfcs.pictures import style
from lfcs.pictures.style import pyplot
from lfcs.study.peers import NAMES
from lfcs.study.results import Rows, curves_of, diverged, finals, labels_of, last_rows, median
from lfcs.study.stats import interval, iqm

AXES = {"R": "replays R", "C": "windows kept C"}
FINALS = {"R": "replays", "C": "capacities"}  # names of the figure of final returns
NOTHING = 0.5  # where 0 stands on a logarithmic axis


def colours_of(labels: Iterable[str]) -> dict[str, Any]:
    """Return the colour of each label: that of its rule or peer, the same everywhere, or else one that is free."""
    return style.colours_of(labels, [*AGENTS, *NAMES])


def draw_band(axis: Any, x: Any, means: Any, bounds: Any, colour: Any, label: str) -> None:
    """Draw means and their intervals [points, 2] so that a single point can be seen too: a dot on a line."""
    axis.plot(x, means, "o-", color=colour, label=label, markersize=4)
    if len(x) == 1:
        axis.vlines(x, *np.transpose(bounds), color=colour, alpha=0.5)
    axis.fill_between(x, *np.transpose(bounds), color=colour, alpha=0.15, linewidth=0)


def draw_all(folder: Path, rows: Rows, published: Path | None = None, axis: str = "R", suffix: str = "") -> None:
    """Draw every figure of the report into a folder; ``suffix`` goes behind their names."""
    colours = colours_of(labels_of(rows))
    draw_finals(folder / f"{FINALS[axis]}{suffix}.png", rows, colours, axis)
    draw_divergence(folder / f"divergence{suffix}.png", rows, colours, axis)
    draw_curves(folder / f"curves{suffix}.png", rows, colours, published, axis)
    draw_costs(folder / f"cost{suffix}.png", rows, colours)
    pyplot().close("all")


def draw_finals(path: Path, rows: Rows, colours: Mapping[str, Any], along: str = "R") -> None:
    """Draw final returns against the number of replays, labels side by side; dashes are seeds, a line the interval."""
    figure, axis = pyplot().subplots(figsize=(7, 4.2), layout="constrained")
    for label, by_r in finals(rows).items():
        r, colour = np.array(sorted(by_r)), colours[label]
        means = [float(iqm(by_r[n])) for n in r]
        low, high = np.transpose([interval(by_r[n]) for n in r])
        x = np.maximum(r, NOTHING) * _aside(label, rows)
        axis.plot(x, means, "-", color=colour, linewidth=0.8, alpha=0.5)
        axis.vlines(x, low, high, color=colour, linewidth=1.5)
        axis.plot(x, means, "o", color=colour, label=label, markersize=4)
        for at, n in zip(x, r, strict=True):
            axis.plot(np.full(len(by_r[n]), at), by_r[n], "_", color=colour, markersize=5, alpha=0.5)
    _finish(figure, axis, path, rows, "final return: IQM, 95 % interval, each seed", along)


def draw_divergence(path: Path, rows: Rows, colours: Mapping[str, Any], along: str = "R") -> None:
    """Draw the share of runs that diverged against the number of replays; labels side by side, as most shares are 0."""
    figure, axis = pyplot().subplots(figsize=(7, 3.2), layout="constrained")
    for label, counts in diverged(rows).items():
        r = np.array(sorted(counts))
        shares = [counts[n][0] / counts[n][1] for n in r]
        x = np.maximum(r, NOTHING) * _aside(label, rows)
        axis.plot(x, shares, "o-", color=colours[label], label=label, markersize=4, linewidth=1)
    axis.set_ylim(-0.05, 1.05)
    _finish(figure, axis, path, rows, "share of runs that diverged", along)


def draw_curves(
    path: Path, rows: Rows, colours: Mapping[str, Any], published: Path | None = None, along: str = "R"
) -> None:
    """Draw learning curves, a panel for each number of replays: interquartile means over seeds and their intervals."""
    replays = sorted({row.replays for row in rows})
    width = 3 * len(replays) + 2.5
    figure, axes = pyplot().subplots(
        1, len(replays), figsize=(width, 3.4), layout="constrained", sharey=True, squeeze=False
    )
    for axis, r in zip(axes[0], replays, strict=True):
        for label, colour in colours.items():
            steps, curves = curves_of(rows, label, r)
            if len(curves):
                bounds = [interval(column, rounds=1000) for column in curves.T]
                draw_band(axis, steps, iqm(curves.T), bounds, colour, f"{label} ({len(curves)} seeds)")
        if published and published.exists():
            draw_published(axis, published)
        axis.set(title=f"{along} = {r}", xlabel="environment steps")
        axis.locator_params(axis="x", nbins=3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("return, sampled actions")
    named = {name: line for axis in axes[0] for line, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside right upper", frameon=False, fontsize=7)
    figure.savefig(path, dpi=120)


def draw_costs(path: Path, rows: Rows, colours: Mapping[str, Any]) -> None:
    """Draw final returns against weight updates and against seconds, a point for each number of replays."""
    figure, axes = pyplot().subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
    last = last_rows(rows)
    for axis, key, name in zip(axes, ("weight_updates", "seconds"), ("weight updates", "seconds"), strict=True):
        for label, by_r in finals(rows).items():
            at = [median(last[label, r], key) for r in sorted(by_r)]
            means = [float(iqm(by_r[r])) for r in sorted(by_r)]
            axis.plot(at, means, "o-", color=colours[label], label=label, markersize=4)
        _scale(axis, np.array([median(runs, key) for runs in last.values()]))
        axis.set_xlabel(f"{name} of a run")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("final return, IQM")
    axes[1].legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=120)


def draw_published(axis: Any, path: Path) -> None:
    """Draw the published curves of Figure 1c behind ours."""
    lines = [line.split(",") for line in path.read_text().splitlines() if not line.startswith("#")]
    header, points = lines[0], np.array(lines[1:], dtype=float)
    for column, dashes in (("lf_cs_mean", "--"), ("e_prop_mean", ":")):
        values = points[:, header.index(column)]
        name = "published " + column.removesuffix("_mean").replace("_", "-")
        axis.plot(100 * points[:, 0], values, f"k{dashes}", alpha=0.5, label=name)


def _scale(axis: Any, values: np.ndarray) -> None:
    """Scale an axis of values from 0 to their range, with few and plain numbers at its ticks."""
    from matplotlib import ticker

    spread = values.max() / values.min() if values.min() else 1.0  # a run that stopped at once made no update
    if spread < 5:
        axis.locator_params(axis="x", nbins=4)
        return
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if spread < 100 else (1,)))
    axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,g}"))
    axis.xaxis.set_minor_formatter(ticker.NullFormatter())


def _aside(label: str, rows: Rows) -> float:
    """Return the factor that moves a label's points aside, so that equal values are all seen."""
    labels = labels_of(rows)
    return 2.0 ** (0.4 * (labels.index(label) - (len(labels) - 1) / 2) / len(labels))


def _finish(figure: Any, axis: Any, path: Path, rows: Rows, y: str, along: str) -> None:
    """Label an axis of numbers of replays or windows kept and save the figure."""
    replays = sorted({row.replays for row in rows})
    axis.set_xscale("log", base=2)
    axis.set_xticks(np.maximum(replays, NOTHING), [str(r) for r in replays])
    axis.set_xticks([], minor=True)
    if len(replays) == 1:
        axis.set_xlim(max(replays[0], NOTHING) / 1.5, max(replays[0], NOTHING) * 1.5)
    axis.set(xlabel=AXES[along], ylabel=y)
    axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
