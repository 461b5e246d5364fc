"""A policy in Xylo's numbers: 8-bit weights, a whole threshold for each neuron, decays by shifts, inputs as events.

Neuron i has threshold θ_i and whole weights w θ_i. Its self-weight, -θ_i 2^-k with β = 1 - 2^-k, is whole where θ_i is
a multiple of 2^k; θ_i is the largest of these for which no weight is beyond 127. An input of 1 is as many events as the
encoder has in a tick, and its weight is that of one of them. All outputs share one step, so that the largest is.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import NamedTuple

import numpy as np
import torch

from lfcs.engines import make_engine
from lfcs.errors import UserError
from lfcs.hardware.targets import CHIPS, events_of, probed, weights_of
from lfcs.policy import Policy

MOST = 127


class Whole(NamedTuple):
    """A policy's network as whole numbers."""

    w_in: np.ndarray  # [N, D] of one event
    w_rec: np.ndarray  # [N, N] with self-weights
    bias: np.ndarray  # [N]
    threshold: np.ndarray  # [N]
    w_out: np.ndarray  # [K, N]
    step_out: float  # what one of w_out is worth
    dash: np.ndarray  # [N] shifts of the membranes
    dash_out: int
    events: int  # that an input of 1 stands for


def whole(policy: Policy) -> Whole:
    """Return a policy in Xylo's numbers.

    Raises UserError where inputs are no events or decays no shifts, and where 7 bits do not hold a neuron's weights.
    """
    network, most = policy.network, CHIPS["xylo"].events
    assert most is not None
    events = events_of(probed(policy), most)
    if events is None:
        raise UserError(f"encoder {policy.encoder.config.kind} sends analog currents: Xylo takes events, {most} a tick")
    dash, (dash_out,) = _shifts(network.config.betas), _shifts((network.config.kappa,))
    w_in, w_rec, w_out = weights_of(policy)
    n, unit = len(w_in), 1 << np.resize(dash, len(w_in))
    rows = np.concatenate((w_in / events, w_rec), axis=1)
    threshold = np.array([_threshold(row, int(u)) for row, u in zip(rows, unit, strict=True)])
    numbers = np.rint(rows * threshold[:, None]).astype(np.int64)
    bias = np.rint(network.input.bias.detach().double().numpy() * threshold).astype(np.int64)
    step = float(np.abs(w_out).max()) / MOST or 1.0
    return Whole(
        numbers[:, :-n], numbers[:, -n:], bias, threshold, np.rint(w_out / step).astype(np.int64), step,
        np.resize(dash, n), int(dash_out), events,
    )  # fmt: skip


def _threshold(row: np.ndarray, unit: int) -> int:
    """Return the largest multiple of ``unit`` by which no weight of a neuron is beyond 127.

    It is the largest that makes all of them whole, where one does. Raises UserError where even ``unit`` is too large.
    """
    most = int(MOST / np.abs(row).max() * (1.0 + 1e-6)) // unit  # weights of single precision
    if not most:
        raise UserError("weights of a neuron are beyond 127 times what its decay needs: train with smaller ones")
    tried = np.arange(most, 0, -1) * unit
    scaled = row * tried[:, None]
    fits = np.abs(scaled - scaled.round()).max(1) < 1e-3
    return int(tried[fits.argmax()])


def _shifts(decays: tuple[float, ...]) -> np.ndarray:
    """Return k of decays 1 - 2^-k. Raises UserError where one is none."""
    exact = -np.log2(1.0 - np.array(decays))
    if np.abs(exact - exact.round()).max() > 1e-4 or exact.min() < 0.5:
        raise UserError(
            f"a decay of {decays[0]:.6g} is no 1 - 2^-k: network.tau_m=3.476059 is 3/4, tau_out=1.442695 1/2"
        )
    return exact.round().astype(np.int64)


@torch.no_grad()
def fitted(policy: Policy) -> Policy:
    """Return the policy with the weights that Xylo's numbers stand for. Raises UserError as :func:`whole` does."""
    numbers, network = whole(policy), copy.deepcopy(policy.network)
    step = 1.0 / numbers.threshold[:, None]
    recurrent = numbers.w_rec * step
    np.fill_diagonal(recurrent, 0.0)
    for weight, given in (
        (network.input.weight, numbers.w_in * (step * numbers.events)),
        (network.input.bias, numbers.bias / numbers.threshold),
        (network.recurrent, recurrent),
        (network.policy_readout.weight, numbers.w_out * numbers.step_out),
    ):
        weight.copy_(torch.from_numpy(np.asarray(given)))
    return dataclasses.replace(policy, network=network, engine=make_engine("fused", network))
