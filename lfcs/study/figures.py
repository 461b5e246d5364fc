"""What a comparison shows: the figures beside ``report.md``, drawn from the rows of ``results.csv``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from lfcs.errors import UserError
from lfcs.study.report import Rows, curves_of, diverged, finals
from lfcs.study.stats import bootstrap_interval, iqm


def check_installed() -> None:
    """Raise UserError where matplotlib is missing: before hours of runs, not after."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("the figures need the extra 'plots': make install")


def draw_all(folder: Path, rows: Rows, published: Path | None = None) -> None:
    """Draw every figure of the report into a folder."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    labels = list(dict.fromkeys(row["label"] for row in rows))
    colour = {label: f"C{i}" for i, label in enumerate(labels)}
    found, bad = finals(rows), diverged(rows)

    figure, axis = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for label, by_r in found.items():
        r = sorted(by_r)
        bounds = np.array([bootstrap_interval(by_r[x]) for x in r])
        axis.plot(r, [float(iqm(by_r[x])) for x in r], "o-", color=colour[label], label=label)
        axis.fill_between(r, *bounds.T, color=colour[label], alpha=0.15, linewidth=0)
    replays = sorted({row["replays"] for row in rows})
    _finish(figure, axis, folder / "replays.png", replays, "final return, IQM and 95 % interval")

    figure, axis = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
    for label, counts in bad.items():
        r = sorted(counts)
        axis.plot(r, [counts[x][0] / counts[x][1] for x in r], "o-", color=colour[label], label=label)
    _finish(figure, axis, folder / "divergence.png", replays, "share of runs that diverged")

    figure, axes = pyplot.subplots(
        1, len(replays), figsize=(3 * len(replays) + 2, 3.4), layout="constrained", sharey=True, squeeze=False
    )
    for axis, r in zip(axes[0], replays, strict=True):
        for label in labels:
            steps, curves = curves_of(rows, label, r)
            if len(curves):
                _band(axis, steps, curves, colour[label], label)
        if published and published.exists():
            draw_published(axis, published)
        axis.set_title(f"R = {r}")
        axis.set_xlabel("environment steps")
        axis.locator_params(axis="x", nbins=3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("return, sampled actions")
    named = {name: line for axis in axes[0] for line, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside right upper", frameon=False, fontsize=7)
    figure.savefig(folder / "curves.png", dpi=120)

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
    for axis, key, name in zip(axes, ("weight_updates", "seconds"), ("weight updates", "seconds"), strict=True):
        for label, by_r in found.items():
            at = [_median(rows, label, r, key) for r in sorted(by_r)]
            axis.plot(at, [float(iqm(by_r[r])) for r in sorted(by_r)], "o-", color=colour[label], label=label)
        axis.set_xscale("log")
        axis.set_xlabel(f"{name} of a run")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("final return, IQM")
    axes[0].legend(frameon=False, fontsize=7)
    figure.savefig(folder / "cost.png", dpi=120)


def _median(rows: Rows, label: str, replays: int, key: str) -> float:
    return float(np.median([x[key] for x in rows if x["diverged"] and (x["label"], x["replays"]) == (label, replays)]))


def _band(axis: Any, steps: np.ndarray, curves: np.ndarray, colour: str, label: str) -> None:
    """Draw the interquartile mean over seeds with its bootstrap interval at every point."""
    bounds = np.array([bootstrap_interval(column, rounds=1000) for column in curves.T])
    axis.plot(steps, iqm(curves.T), color=colour, label=f"{label} ({len(curves)} seeds)")
    axis.fill_between(steps, *bounds.T, color=colour, alpha=0.15, linewidth=0)


def draw_published(axis: Any, path: Path) -> None:
    """Draw the published curves of Figure 1c behind ours."""
    lines = [line.split(",") for line in path.read_text().splitlines() if not line.startswith("#")]
    header, points = lines[0], np.array(lines[1:], dtype=float)
    for column, style in (("lf_cs_mean", "--"), ("e_prop_mean", ":")):
        values = points[:, header.index(column)]
        axis.plot(
            100 * points[:, 0], values, f"k{style}", alpha=0.5, label="published " + column[:-5].replace("_", "-")
        )


def _finish(figure: Any, axis: Any, path: Path, replays: list[int], y: str) -> None:
    """Label an axis of numbers of replays and save the figure."""
    axis.set_xscale("log", base=2)
    axis.set_xticks(replays, [str(r) for r in replays])
    axis.set(xlabel="replays R", ylabel=y)
    axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
