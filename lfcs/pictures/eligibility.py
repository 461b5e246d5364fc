"""How a synapse comes to change: its traces, beside the learning signal that multiplies them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lfcs.pictures.style import BLACK, BLUE, COLUMN, GREEN, GREY, ORANGE, RED, SMALL, dress

SIZE = COLUMN, 3.6  # inches
SPAN = 60  # steps that are shown


class Synapse(NamedTuple):
    """A synapse from j to i, step by step: what is added to its weight is along Σ_t L_i,t ē_ij,t."""

    name: str
    trace: np.ndarray  # [T] presynaptic trace x̄_j
    psi: np.ndarray  # [T] surrogate derivative ψ_i
    eligibility: np.ndarray  # [T] ē_ij = F_κ(ψ_i x̄_j)
    signal: np.ndarray  # [T] learning signal L_i


def draw_eligibility(figure: Any, synapses: Sequence[Synapse]) -> None:
    """Draw a column for each synapse, a few dozen steps around where it changes most.

    From above: its presynaptic trace, the surrogate derivative of its neuron with the eligibility that both make, the
    learning signal, and the product of the last two, which is what the weight is changed along.
    """
    axes = figure.subplots(4, len(synapses), sharex="col", squeeze=False)
    for column, synapse in enumerate(synapses):
        shown = around(synapse)
        steps = np.arange(shown.start, shown.stop)
        trace, psi, ebar, signal = (part[shown] for part in synapse[1:])
        top, middle, below, last = axes[:, column]
        top.plot(steps, trace, color=BLUE, linewidth=1)
        top.set_title(synapse.name.replace(" → ", "\n→ "))  # long numbers have room
        top.set_ylim(min(0.0, 1.1 * float(trace.min())), max(1e-6, 1.15 * float(trace.max())))
        middle.fill_between(steps, psi, color=GREY, alpha=0.4, linewidth=0, label="ψ")
        middle.plot(steps, ebar, color=GREEN, linewidth=1, label="ē")
        for axis, values, colour in ((below, signal, RED), (last, signal * ebar, BLACK)):
            axis.axhline(0.0, color=GREY, linewidth=0.5)
            axis.plot(steps, values, color=colour, linewidth=1)
        last.fill_between(steps, signal * ebar, color=ORANGE, alpha=0.5, linewidth=0)
        last.set_xlabel("step of the episode")
        for axis in (top, middle, below, last):
            axis.locator_params(axis="y", nbins=3)
            axis.margins(x=0.01)
        middle.set_ylim(0.0, 1.45 * float(max(psi.max(), ebar.max(), 1e-6)))
    for axis, label in zip(axes[:, 0], ("trace x̄", "ψ and ē", "signal L", "L ē"), strict=True):
        axis.set_ylabel(label)
    axes[1, 0].legend(frameon=False, ncols=2, loc="upper left", fontsize=SMALL, handlelength=1.2, borderpad=0)
    dress(figure)
    figure.align_ylabels(axes[:, 0])


def around(synapse: Synapse) -> slice:
    """Return the steps to show: those around where L ē is largest."""
    product = np.abs(synapse.signal * synapse.eligibility)
    first = max(0, min(int(product.argmax()) - SPAN // 2, len(product) - SPAN))
    return slice(first, min(first + SPAN, len(product)))
