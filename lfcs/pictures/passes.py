"""Learning fast, changing slow: the new policy leaves the reference pass by pass, and is caught up at the sync."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lfcs.pictures.style import BLUE, COLUMN, GREY, ORANGE, RED, SKY, SMALL, dress

SIZE = COLUMN, 3.4  # inches
SHADES = "#9ecae1", "#08306b"  # of the first pass and of the last


class Gone(NamedTuple):
    """How far the new policy had gone in each of the R passes over a window."""

    first: int  # environment steps at the window's beginning
    last: int  # and at its end
    reference: np.ndarray  # [R] KL(reference || new)
    acting: np.ndarray  # [R] KL(new || acting)
    synced: bool  # whether the new policy was copied into the reference after it

    def steps(self) -> list[int]:
        """Return the step that each pass is shown at: between the window's beginning and its end."""
        count = len(self.reference)
        return [self.first + (self.last - self.first) * (k + 1) // count for k in range(count)]


def draw_passes(
    figure: Any,
    gone: Sequence[Gone],
    ratios: Sequence[np.ndarray],
    masked: np.ndarray,
    band: tuple[float, float],
) -> None:
    """Draw how far the new policy went in the latest windows, in nats, above; below, the passes over the latest.

    ``gone`` are the windows, oldest first; ``ratios`` π_new/π_ref [n] of each of R passes over the last of them;
    ``masked`` [R] the share of its steps that a pass did not learn from; ``band`` the trust region of the ratio, from 0
    to infinity for none.
    """
    grid = figure.add_gridspec(2, 2, height_ratios=(1.1, 1.0), width_ratios=(1.6, 1.0))
    whole, left, right = (figure.add_subplot(part) for part in (grid[0, :], grid[1, 0], grid[1, 1]))
    draw_distances(whole, gone)
    draw_ratios(left, ratios, band)
    draw_masked(right, masked)
    dress(figure)


def draw_distances(axis: Any, gone: Sequence[Gone]) -> None:
    """Draw both divergences pass by pass; a sync, from where both are nought again, is a dotted line.

    An infinite one, where a ratio is 0 or infinite in single precision, is a triangle at the upper edge.
    """
    every = np.concatenate([(window.reference, window.acting) for window in gone], axis=None)
    top = 1.45 * float(np.max(every[np.isfinite(every)], initial=0.0)) or 1.0
    for part, colour, label in (("reference", BLUE, "KL(ref ‖ new)"), ("acting", RED, "KL(new ‖ acting)")):
        x: list[float] = []
        y: list[float] = []
        fresh = True  # whether the new policy is the reference
        for window in gone:
            if fresh and window is not gone[0]:
                x, y = [*x, math.nan, window.first], [*y, math.nan, 0.0]
            elif fresh:
                x, y = [float(window.first)], [0.0]
            x, y, fresh = [*x, *window.steps()], [*y, *getattr(window, part)], window.synced
        style = "-" if part == "reference" else "--"
        axis.plot(x, y, style, marker="o", color=colour, label=label, markersize=2.5, linewidth=1)
        beyond = [at for at, far in zip(x, y, strict=True) if math.isinf(far)]
        axis.plot(beyond, [top] * len(beyond), "^", color=colour, markersize=4, clip_on=False)
    syncs = [window.last for window in gone if window.synced]
    for number, at in enumerate(syncs):
        axis.axvline(at, color=GREY, linewidth=0.8, linestyle=":", label="sync" if number == 0 else None)
    axis.set(xlabel="environment steps, a dot for each pass", ylabel="nats")
    axis.set_ylim(0.0, top)
    axis.locator_params(axis="x", nbins=5)
    axis.ticklabel_format(axis="x", useOffset=False, style="plain")
    axis.legend(frameon=False, ncols=3, loc="upper left", fontsize=SMALL, handlelength=1.6, columnspacing=1.0)


def draw_ratios(axis: Any, ratios: Sequence[np.ndarray], band: tuple[float, float]) -> None:
    """Draw how the ratios of each pass are distributed, from light to dark, over the band of the trust region."""
    from matplotlib.colors import LinearSegmentedColormap

    every = np.append(np.concatenate(ratios), 1.0)  # at least one of them is finite
    low, high = (float(q) for q in np.quantile(every[np.isfinite(every)], (0.005, 0.995)))
    low, high = min(low, 0.8), min(max(high, 1.2), 10.0)
    inside = [edge for edge in band if 0.0 < edge < math.inf]
    low, high = min([low, *(edge - 0.1 for edge in inside)]), max([high, *(edge + 0.1 for edge in inside)])
    if inside:
        axis.axvspan(max(band[0], low), min(band[1], high), color=ORANGE, alpha=0.18, linewidth=0, label="trust region")
    bins, shades = np.linspace(low, high, 40), LinearSegmentedColormap.from_list("passes", SHADES)
    for k, found in enumerate(ratios):
        share = np.histogram(np.clip(found, low, high), bins)[0] / max(1, len(found))
        label = f"pass {k + 1}" if k in (0, len(ratios) - 1) else None
        colour = shades(k / max(1, len(ratios) - 1))
        axis.stairs(np.maximum(share, 1e-4), bins, color=colour, label=label, linewidth=1, baseline=None)
    axis.set(xlabel="ratio π_new / π_ref", ylabel="share of steps", yscale="log")
    axis.set_ylim(1e-3, 150.0)
    axis.set_yticks([1e-3, 1e-2, 1e-1, 1.0])
    axis.set_yticks([], minor=True)
    axis.locator_params(axis="x", nbins=5)
    axis.legend(frameon=False, loc="upper left", fontsize=SMALL, handlelength=1.2, borderpad=0.1, labelspacing=0.2)


def draw_masked(axis: Any, masked: np.ndarray) -> None:
    """Draw the share of steps that each pass did not learn from."""
    passes = np.arange(1, len(masked) + 1)
    axis.bar(passes, 100 * masked, color=SKY, width=0.7)
    axis.set(xlabel="pass", ylabel="masked, %")
    axis.set_ylim(0.0, max(1.0, 115 * float(np.max(masked, initial=0.0))))
    axis.set_xticks(passes[:: -(-len(masked) // 8)])
    axis.set_xlim(0.4, len(masked) + 0.6)
