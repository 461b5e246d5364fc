"""Membrane and threshold of a few neurons around their spikes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lfcs.pictures import style

SIZE = style.COLUMN, 3.4  # inches
SPAN = 60  # steps that are shown


def chosen(spikes: np.ndarray, count: int = 4) -> np.ndarray:
    """Return ``count`` neurons of spikes [T, N], from seldom to often spiking; silent ones only where too few spike.

    The most seldom third is left out where there are enough: of these, few spikes fall into a stretch of time.
    """
    total = spikes.sum(axis=0)
    order = np.argsort(total, kind="stable")
    firing = order[total[order] > 0]
    pool = firing if len(firing) >= count else order[-count:]
    first = (len(pool) - min(count, len(pool))) // 3
    return pool[np.linspace(first, len(pool) - 1, min(count, len(pool))).round().astype(int)]


def stretch(spikes: np.ndarray, span: int = SPAN) -> slice:
    """Return the first ``span`` steps in which the most neurons of [T, n] spike, then the most often."""
    if len(spikes) <= span:
        return slice(0, len(spikes))
    before = np.concatenate((np.zeros((1, spikes.shape[1])), spikes.cumsum(axis=0)))
    within = before[span:] - before[:-span]
    best = int(np.lexsort((-within.sum(axis=1), -(within > 0).sum(axis=1)))[0])
    return slice(best, best + span)


def draw_membrane(figure: Any, episode: Mapping[str, np.ndarray], neurons: Sequence[int] | None = None) -> None:
    """Draw membranes, thresholds and spikes of ``neurons``, by default four, where they spike most, into a figure.

    Membranes are in thresholds at rest. The threshold moves where the episode has ``threshold`` [T, N], else it is 1.
    """
    spikes, membrane = np.asarray(episode["spikes"]), np.asarray(episode["membrane"])
    picked = chosen(spikes) if neurons is None else np.asarray(neurons)
    threshold = np.asarray(episode["threshold"]) if "threshold" in episode else np.ones_like(membrane)
    part = stretch(spikes[:, picked])
    steps = np.arange(part.start, part.stop)
    rows = figure.subplots(len(picked), 1, sharex=True, squeeze=False)[:, 0]
    for axis, n in zip(rows, picked, strict=True):
        axis.plot(steps, membrane[part, n], color=style.BLUE, linewidth=0.9, label="membrane")
        axis.plot(steps, threshold[part, n], color=style.RED, linewidth=0.8, linestyle="--", label="threshold")
        at = steps[spikes[part, n] > 0]
        top = max(membrane[part, n].max(), threshold[part, n].max())
        room = max(top - membrane[part, n].min(), 0.2) * 0.2
        axis.plot(at, np.full(len(at), top + room), "|", color=style.BLACK, markersize=5, label="spike")
        axis.margins(y=0.1)
        axis.set_title(f"neuron {n}", loc="left", fontsize=style.SMALL, pad=2)
        axis.locator_params(axis="y", nbins=3)
    rows[-1].set_xlim(part.start - 0.5, part.stop - 0.5)
    rows[-1].set_xlabel("step of the episode")
    figure.supylabel("membrane, in thresholds at rest", fontsize=style.LARGE)
    names = {"handlelength": 1.2, "frameon": False, "fontsize": style.SMALL, "columnspacing": 1.0}
    figure.legend(*rows[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, **names)
    style.dress(figure)
