"""The spike raster of an episode under what was observed and done, on one axis of time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lfcs.pictures import style

Episode = Mapping[str, np.ndarray]
SIZE = style.COLUMN, 4.6  # inches
LINES = 8  # numbers that are drawn as lines; more are a heat map
LONG = 1000  # steps beyond which spikes are counted in bins


class Order(NamedTuple):
    """Neurons in the order in which they are drawn, those that never spike last."""

    neurons: np.ndarray  # [N]
    firing: int  # how many of them spike
    by: str  # what they are sorted by, in words
    group: np.ndarray | None = None  # [N] the action of each neuron, by its number
    single: bool = False  # the groups are more and less of one action


def ordered(spikes: np.ndarray, weights: np.ndarray | None = None) -> Order:
    """Return the order of neurons by their mean spike time, or by their strongest of the ``weights`` [K, N] to actions.

    ``spikes`` are [T, N]. Within an action those with the greatest weight come first; a single one has two groups, for
    more and for less of it. Raises ValueError on weights of another number of neurons.
    """
    count = spikes.sum(axis=0)
    if weights is not None:
        single = len(weights) == 1
        weights = np.concatenate((weights, -weights)) if single else weights
        if weights.shape[1:] != count.shape:
            raise ValueError(f"weights {weights.shape} are not of {len(count)} neurons")
        group = weights.argmax(axis=0)
        neurons = np.lexsort((-weights.max(axis=0), group, count == 0))
        return Order(neurons, int((count > 0).sum()), "action weight", group, single)
    time = np.arange(len(spikes)) @ spikes / np.maximum(count, 1)
    return Order(np.lexsort((time, count == 0)), int((count > 0).sum()), "mean spike time")


def draw_raster(figure: Any, episode: Episode, weights: np.ndarray | None = None, title: str = "") -> None:
    """Draw observations, spikes, actions, value and reward of an episode, one below the other, into a figure.

    ``weights`` [K, N] from the neurons to K actions, as :func:`lfcs.pictures.weights.action_weights` has them, sort
    and colour the neurons by the action that each speaks for; without them they are sorted by their mean spike time.
    """
    rows = figure.subplots(5, 1, sharex=True, height_ratios=(1.5, 3.4, 1, 1, 1))
    steps = len(episode["reward"])
    draw_numbers(rows[0], flat(episode["observation"]), "observation", style.PALETTE)
    draw_spikes(rows[1], episode, weights)
    actions = actions_of(episode)
    draw_numbers(rows[2], np.concatenate([*actions.values()], axis=1), "action", style.PALETTE, names_of(actions))
    draw_numbers(rows[3], episode["value"][:, None], "value", [style.BLUE])
    draw_numbers(rows[4], episode["reward"][:, None], "reward", [style.RED])
    rows[4].set_xlim(-0.5, steps - 0.5)
    rows[4].set_xlabel("step of the episode")
    if title:
        rows[0].set_title(title)
    figure.align_ylabels(rows)
    style.dress(figure)


def flat(values: np.ndarray) -> np.ndarray:
    """Return numbers by step [T, ...] as [T, d]."""
    return values.reshape(len(values), -1)


def actions_of(episode: Episode) -> dict[str, np.ndarray]:
    """Return the actions of an episode [T, d], each part by its name."""
    return {name: flat(part) for name, part in episode.items() if name == "action" or name.startswith("action/")}


def names_of(actions: Mapping[str, np.ndarray]) -> list[str]:
    """Return a name for each number of the actions of some parts."""
    named = []
    for name, part in actions.items():
        own = name.partition("/")[2]
        for i in range(part.shape[1]):
            named.append("/".join(filter(None, (own, str(i) if part.shape[1] > 1 or not own else ""))))
    return named


def draw_spikes(axis: Any, episode: Episode, weights: np.ndarray | None = None) -> None:
    """Draw the spikes of an episode into an axis, a row for each neuron, the first on top; see :func:`draw_raster`."""
    spikes = np.asarray(episode["spikes"])
    steps, neurons = spikes.shape
    order = ordered(spikes, weights)
    shown = spikes[:, order.neurons[: order.firing]]
    if steps > LONG:
        _draw_binned(axis, shown)
    else:
        _draw_each(axis, shown, order)
    axis.set(xlim=(-0.5, steps - 0.5), ylim=(neurons - 0.5, -0.5), ylabel=f"neuron, by {order.by}")
    axis.locator_params(axis="y", nbins=5, integer=True)
    silent = neurons - order.firing
    if silent:
        axis.axhspan(order.firing - 0.5, neurons - 0.5, color=style.GREY, alpha=0.25, linewidth=0)
        roomy = silent > neurons / 12
        at = order.firing + silent / 2 if roomy else order.firing - 1 - neurons / 50
        said = f"{silent} never spike" if order.firing else "no neuron spikes"
        box = {"facecolor": "white", "alpha": 0.9, "edgecolor": "none", "pad": 1} if not roomy else None
        where = {"ha": "center", "va": "center" if roomy else "bottom", "fontsize": style.SMALL}
        axis.text(steps / 2, at, said, bbox=box, **where)


def _draw_each(axis: Any, shown: np.ndarray, order: Order) -> None:
    """Draw a tick for each of the spikes [T, neurons that spike]."""
    group = np.zeros(len(order.neurons), int) if order.group is None else order.group[order.neurons]
    size = min(4.0, max(0.6, 150 / max(len(order.neurons), 1)))
    for k in range(group.max(initial=0) + 1):
        step, row = np.nonzero(shown * (group[: shown.shape[1]] == k))
        colour = style.BLACK if order.group is None else style.PALETTE[k % len(style.PALETTE)]
        dots = {"linestyle": "none", "marker": "|", "markersize": size, "markeredgewidth": 0.5}
        name = ("more", "less")[k] if order.single else str(k)
        axis.plot(step, row, color=colour, rasterized=len(step) > 2000, label=f"for {name}", **dots)
    if order.group is not None and group.max() < LINES:
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=4 / size, **LEGEND)


def _draw_binned(axis: Any, shown: np.ndarray) -> None:
    """Draw how often neurons spiked in each of LONG / 2 bins or fewer, darker where more."""
    width = -(-len(shown) // (LONG // 2))
    starts = np.arange(0, len(shown), width)
    rate = np.add.reduceat(shown, starts, axis=0) / np.diff([*starts, len(shown)])[:, None]
    edges = -0.5, starts[-1] + width - 0.5, shown.shape[1] - 0.5, -0.5
    axis.imshow(rate.T, aspect="auto", cmap="Greys", vmin=0, extent=edges, interpolation="nearest")
    axis.set_title(
        f"spikes in bins of {width} steps: black is {rate.max(initial=0):.2g} per step", fontsize=style.SMALL
    )


LEGEND = {"frameon": False, "handlelength": 0.8, "handletextpad": 0.3, "borderpad": 0, "labelspacing": 0.2}


def draw_numbers(axis: Any, values: np.ndarray, label: str, colours: Any, names: list[str] | None = None) -> None:
    """Draw numbers by step [T, d] into an axis: lines, or a heat map where there are more than 8.

    Whole numbers are steps, or ticks where they are one of several. A heat map has each number in its own range.
    """
    steps, count = values.shape
    axis.set_ylabel(label)
    if count > LINES:
        low, high = values.min(axis=0), values.max(axis=0)
        scaled = (values - low) / np.where(high > low, high - low, 1)
        edges = -0.5, steps - 0.5, count - 0.5, -0.5
        axis.imshow(scaled.T, aspect="auto", cmap="cividis", extent=edges, interpolation="nearest")
        axis.locator_params(axis="y", nbins=4, integer=True)
        return
    whole = np.issubdtype(values.dtype, np.integer) or values.dtype == bool
    many = whole and count == 1 and len(np.unique(values)) > 2  # one of several: a line would cross those between
    look: dict[str, Any] = {"linewidth": 0.9 if steps <= 200 else 0.6}
    look |= (
        {"linestyle": "none", "marker": "|", "markersize": 3} if many else {"drawstyle": "steps-mid"} if whole else {}
    )
    for i in range(count):
        axis.plot(values[:, i], color=colours[i % len(colours)], label=names[i] if names else str(i), **look)
    if count > 1:
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), **LEGEND)
    _scale(axis, values, bool(whole))


def _scale(axis: Any, values: np.ndarray, whole: bool) -> None:
    """Give an axis of values room and few ticks, one where they are all the same."""
    found = np.unique(values)
    axis.margins(y=0.12)
    if len(found) <= (4 if whole else 1):
        axis.set_yticks(found)
        if len(found) == 1:
            axis.set_ylim(found[0] - 0.5, found[0] + 0.5)
    else:
        axis.locator_params(axis="y", nbins=3, integer=whole)
