"""Distributions of weights, and what hidden neurons receive along each observed number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from lfcs.pictures import style
from lfcs.policy import Policy

SIZE = style.COLUMN, 2.8  # inches
FIELDS = style.COLUMN, 3.2
MANY = 6  # observed numbers whose receptive fields are shown
POINTS = 61  # of each receptive field


def weights_of(policy: Policy) -> dict[str, np.ndarray]:
    """Return weights by name: input [N, D], recurrent [N, N], to the policy's outputs [K, N], to the value [1, N]."""
    network = policy.network
    found = {
        "input": network.input.weight,
        "recurrent": network.recurrent,
        "policy": network.policy_readout.weight,
        "value": network.value_readout.weight,
    }
    return {name: weight.detach().cpu().numpy().copy() for name, weight in found.items()}


def action_weights(policy: Policy) -> np.ndarray:
    """Return the weights [A, N] from the neurons to what says which action is taken: logits, or means of numbers."""
    rows = weights_of(policy)["policy"][: policy.head.outputs]
    box = isinstance(policy.action_space, gymnasium.spaces.Box)
    return rows[: math.prod(policy.action_space.shape or ())] if box else rows  # behind them are the deviations


def draw_weights(figure: Any, weights: Mapping[str, np.ndarray]) -> None:
    """Draw a histogram of each of some weights into a figure, with mean ± standard deviation.

    The diagonal of ``recurrent``, which is zero, is left out.
    """
    columns = min(2, len(weights))
    axes = figure.subplots(-(-len(weights) // columns), columns, squeeze=False).reshape(-1)
    for axis in axes[len(weights) :]:
        axis.set_axis_off()
    for axis, (name, weight) in zip(axes, weights.items(), strict=False):
        values = weight[~np.eye(len(weight), dtype=bool)] if name == "recurrent" else weight.reshape(-1)
        axis.hist(values, bins=int(np.clip(len(values) ** 0.5, 8, 40)), color=style.SKY, edgecolor="none")
        axis.axvline(0, color=style.BLACK, linewidth=0.6)
        said = f"{values.mean():.2g} ± {values.std():.2g}".replace("-", "−")
        axis.set_title(f"{name}\n{said}")
        axis.locator_params(axis="x", nbins=5)
        axis.locator_params(axis="y", nbins=3)
    figure.supylabel("number of weights", fontsize=style.LARGE)
    figure.supxlabel("weight", fontsize=style.LARGE)
    style.dress(figure)


class Field(NamedTuple):
    """What every hidden neuron receives as one observed number changes."""

    number: int  # which of the observation
    values: np.ndarray  # [P] of the number, as observed
    current: np.ndarray  # [N, P] in thresholds


def fields_of(policy: Policy) -> list[Field]:
    """Return the receptive field of every observed number; none where the encoder gives numbers no ``ranges``.

    Those that are 0 or 1 by nature have none. The current is Σ_j w_ij x_j over the inputs j of that number alone.
    """
    ranges = getattr(policy.encoder, "ranges", None)
    if ranges is None:
        return []
    low, high = ranges()
    weight, found = weights_of(policy)["input"], []
    for i in np.flatnonzero(high > low):
        rows = np.tile((low + high) / 2, (POINTS, 1))
        rows[:, i] = np.linspace(low[i], high[i], POINTS)
        x = policy.encoder.encode(rows)
        own = np.ptp(x, axis=0) > 0  # its inputs: no other number moves
        found.append(Field(int(i), rows[:, i], weight[:, own] @ x[:, own].T))
    return found


def draw_fields(figure: Any, fields: list[Field]) -> None:
    """Draw receptive fields into a figure, a panel for each observed number, neurons sorted by where theirs peaks.

    Of more than six numbers those whose fields vary most are shown. Raises ValueError where there is none.
    """
    if not fields:
        raise ValueError("there are no receptive fields to draw")
    most = sorted(sorted(fields, key=lambda f: -float(f.current.std(axis=1).mean()))[:MANY])
    columns = 1 if len(most) == 1 else 2
    axes = figure.subplots(-(-len(most) // columns), columns, squeeze=False).reshape(-1)
    limit = max(float(np.quantile(np.abs(f.current), 0.995)) for f in most) or 1.0
    for axis, field in zip(axes, most, strict=False):
        rows = field.current[np.argsort(field.current.argmax(axis=1), kind="stable")]
        edges = field.values[0], field.values[-1], len(rows) - 0.5, -0.5
        image = axis.imshow(rows, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, extent=edges)
        axis.set_title(f"observation {field.number}")
        axis.locator_params(axis="x", nbins=3)
        axis.locator_params(axis="y", nbins=4)
    for axis in axes[len(most) :]:
        axis.set_axis_off()
    figure.supylabel("neuron, by where it receives most", fontsize=style.LARGE)
    figure.supxlabel("observed value", fontsize=style.LARGE)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30)
    bar.set_label("current, in thresholds")
    bar.outline.set_linewidth(0.6)
    style.dress(figure)
