"""Return against synaptic operations, of policies that were counted and of networks known by their shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lfcs.pictures import style

SIZE = style.COLUMN, 2.6  # inches


class Point(NamedTuple):
    """A policy, or a network of which only the shape is known: then ``score`` is what it is compared at."""

    label: str
    operations: float  # of an environment step
    score: float
    spread: float = 0.0
    counted: bool = True


def draw_operations(figure: Any, points: Sequence[Point]) -> None:
    """Draw points into a figure, operations on a logarithmic axis. Raises ValueError where there are none."""
    if not points:
        raise ValueError("there are no policies to draw")
    axis = figure.subplots()
    colours = style.colours_of([point.label for point in points])
    for point in points:
        colour = colours[point.label]
        face = colour if point.counted else "none"
        label = point.label if point.counted else f"{point.label}, from its shape"
        axis.errorbar(
            point.operations, point.score, yerr=point.spread or None, fmt="o" if point.counted else "s",
            markersize=5, color=colour, markerfacecolor=face, elinewidth=0.8, capsize=2, label=label,
        )  # fmt: skip
    axis.set_xscale("log")
    operations = [point.operations for point in points]
    axis.set_xlim(min(operations) / 2, max(operations) * 2)
    axis.margins(y=0.2)
    axis.set_xlabel("synaptic operations a step")
    axis.set_ylabel("return")
    axis.legend(frameon=False, loc="best")
    style.dress(figure)
