"""A trained policy in few bits: whole weights, decays and inputs, which engine fixed runs (:mod:`lfcs.engines.fixed`).

A weight w of neuron i becomes the whole number nearest to w / a_i, of ``bits`` bits and symmetric: two bits are -1, 0
and 1. The recurrent weights' scale is a_i times a power of two, so that both tensors add up after a shift; a_i is one
number for all neurons, or one for each. It is searched on a grid, for the smallest squared error over the weights. What
a_i is worth stands in the neuron's threshold, and biases have the precision of the sums.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lfcs.config import NetworkConfig
from lfcs.engines import Fixed, make_engine
from lfcs.engines.fixed import Y_BITS
from lfcs.errors import UserError
from lfcs.network import SpikingNetwork
from lfcs.policy import Policy

DECAY_BITS = 12  # of a decay that is no power of two
OCTAVE = 12  # scales that are tried within a factor of two
DEEP = 4  # octaves below the scale that clips no weight
APART = range(-8, 9)  # octaves that the scales of input and recurrent weights may be apart


@dataclass(frozen=True)
class Format:
    """How a policy is quantised."""

    bits: int = 8  # of a weight
    per_neuron: bool = False  # a scale for each neuron
    decay_shift: bool = False  # decays 1 - 2^-k, the nearest to the trained ones
    input_bits: int = 8
    state_bits: int = 24  # of a membrane

    def check(self) -> None:
        """Raise UserError where a number of bits is out of range."""
        for name, low, high in (("bits", 2, 8), ("input_bits", 1, 16), ("state_bits", 8, 32)):
            if not low <= (value := getattr(self, name)) <= high:
                raise UserError(f"--{name.replace('_', '-')} must be from {low} to {high}, got {value}")

    def __str__(self) -> str:
        scales = "a scale for each neuron" if self.per_neuron else "one scale a tensor"
        decays = ", power-of-two decays" if self.decay_shift else ""
        return f"{self.bits}-bit weights, {scales}{decays}"


def quantise(policy: Policy, form: Format) -> Policy:
    """Return a policy quantised, in engine fixed; its network has the weights and decays that the integers stand for.

    Raises UserError on numbers of bits out of range, and on a policy that has no form in whole numbers.
    """
    form.check()
    if policy.fixed is not None:
        raise UserError("the policy is quantised already: quantise the one that it was made of")
    network = copy.deepcopy(policy.network).cpu().double()
    fixed, config = whole_network(network, span_of(policy), form)
    out = SpikingNetwork(network.input.in_features, policy.head.size, config, torch.Generator()).double()
    out.take(network)
    take_fixed(out, fixed)
    generator = torch.Generator().manual_seed(0)
    return dataclasses.replace(
        policy, network=out, engine=make_engine("fixed", out, fixed), generator=generator, fixed=fixed
    )


def span_of(policy: Policy) -> tuple[float, float]:
    """Return the least and largest input of a policy's network. Raises UserError where it is not known."""
    low, high = getattr(policy.encoder, "span", (-math.inf, math.inf))
    if not max(abs(low), abs(high)) < 1e6:
        kind = policy.encoder.config.kind
        raise UserError(f"encoder {kind} does not bound its inputs: whole ones need encoder.kind=standardised or such")
    return low, high


def whole_network(network: SpikingNetwork, span: tuple[float, float], form: Format) -> tuple[Fixed, NetworkConfig]:
    """Return a network of double precision in whole numbers, and its settings with the decays that it has then.

    Inputs are within ``span``. Raises UserError where a membrane of so many bits holds no four thresholds, and where
    decays cannot be powers of two.
    """
    d, n = network.input.in_features, network.config.neurons
    hidden, readout = network.hidden.numpy(), network.readout.numpy()
    most = 2 ** (form.bits - 1) - 1
    scale, apart = scales(hidden[:d], hidden[d + 1 :], most, form.per_neuron)
    given = input_format(span, form.input_bits)
    finest = max(given["input_shift"], apart)
    unit = np.ldexp(scale, -finest)  # [N], what one of a membrane is worth
    threshold = np.rint(1.0 / unit).astype(np.int64)
    hold(int(threshold.max()), form.state_bits)
    leaks, config = decays(network.config, form.decay_shift)
    policy, critic = best_scale(readout[:-1, :n], most), best_scale(readout[-1:, :n], most)
    out_scale = np.array([policy] * (len(readout) - 1) + [critic])
    output_unit = np.ldexp(out_scale, -Y_BITS)
    fixed = Fixed(
        inputs=nearest(hidden[:d], scale, most),
        recurrent=nearest(hidden[d + 1 :], np.ldexp(scale, -apart), most),
        bias=np.rint(hidden[d] / unit).astype(np.int64),
        threshold=threshold,
        leak=np.resize(leaks[:-1], (n, 2)).T.copy(),
        readout=nearest(readout[:, :-1].T, out_scale, most).T.copy(),
        readout_bias=np.rint(readout[:, -1] / output_unit).astype(np.int64),
        readout_leak=leaks[-1],
        shifts=np.array([finest - given["input_shift"], finest - apart], np.int64),
        state_bits=form.state_bits,
        weight_bits=form.bits,
        output_unit=output_unit,
        **given,
    )
    return fixed, config


def nearest(weights: np.ndarray, scale: Any, most: int) -> np.ndarray:
    """Return the whole numbers nearest to weights [R, C] by their scales [C] or scale, none beyond ``most``."""
    kind = np.int8 if most < 128 else np.int32
    return np.clip(np.rint(weights / scale), -most, most).astype(kind)


def errors(weights: np.ndarray, grid: np.ndarray, most: int) -> np.ndarray:
    """Return the squared errors [G, C] of the columns of weights [R, C] at scales 2^(g / OCTAVE), g of ``grid`` [G]."""
    found = np.empty((len(grid), weights.shape[1]))
    for at, scale in enumerate(2.0 ** (grid / OCTAVE)):
        found[at] = ((np.clip(np.rint(weights / scale), -most, most) * scale - weights) ** 2).sum(0)
    return found


def grid_of(peaks: list[float], most: int) -> np.ndarray:
    """Return the exponents to try for tensors with these largest weights."""
    places = [OCTAVE * math.log2((peak or 1.0) / most) for peak in peaks]
    return np.arange(math.floor(min(places)) - DEEP * OCTAVE, math.ceil(max(places)) + 1)


def best_scale(weights: np.ndarray, most: int) -> float:
    """Return the one scale of the smallest squared error of weights [R, C]."""
    grid = grid_of([float(np.abs(weights).max())], most)
    return float(2.0 ** (grid[errors(weights, grid, most).sum(1).argmin()] / OCTAVE))


def scales(inputs: np.ndarray, recurrent: np.ndarray, most: int, per_neuron: bool) -> tuple[np.ndarray, int]:
    """Return the scales a [N] of input weights [D, N], and r: those of recurrent weights [N, N] are a 2^-r.

    They are the pair of the smallest squared error over all weights that have them.
    """
    grid = grid_of([float(np.abs(w).max()) for w in (inputs, recurrent)], most)
    of_inputs, of_recurrent = (errors(w, grid, most) for w in (inputs, recurrent))
    if not per_neuron:
        of_inputs, of_recurrent = of_inputs.sum(1, keepdims=True), of_recurrent.sum(1, keepdims=True)
    best, found, apart = math.inf, np.empty(0), 0
    for r in APART:
        begin, end = max(0, OCTAVE * r), min(len(grid), len(grid) + OCTAVE * r)
        if begin >= end:
            continue
        total = of_inputs[begin:end] + of_recurrent[begin - OCTAVE * r : end - OCTAVE * r]
        if total.min(0).sum() < best:
            best, found, apart = float(total.min(0).sum()), grid[begin:end][total.argmin(0)], r
    return np.broadcast_to(2.0 ** (found / OCTAVE), inputs.shape[1]).copy(), apart


def input_format(span: tuple[float, float], bits: int) -> dict[str, Any]:
    """Return how inputs within ``span`` become whole numbers of so many bits, signed where any is negative."""
    low, high = span
    least, largest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if low < 0 else (0, 2**bits - 1)
    shift = math.floor(math.log2((largest + 1) / max(abs(low), abs(high))))
    return {"input_range": np.array([least, largest], np.int64), "input_shift": shift}


def hold(threshold: int, bits: int) -> None:
    """Raise UserError where a membrane of so many bits does not hold four times its threshold."""
    needed = (4 * threshold).bit_length() + 1
    if needed > bits:
        raise UserError(f"--state-bits must be at least {needed} for thresholds of {threshold:,} units, got {bits}")


def decays(config: NetworkConfig, shift: bool) -> tuple[np.ndarray, NetworkConfig]:
    """Return d and k of the decays 1 - d/2^k [G + 1, 2], the readout's last, and settings with what they stand for.

    With ``shift`` d is 1 and k is that of the nearest decay. Raises UserError where neurons then differ.
    """
    trained = np.array([*config.betas, config.kappa])
    if not shift:
        d = np.rint((1.0 - trained) * 2**DECAY_BITS).astype(np.int64)
        return np.stack([d, np.full_like(d, DECAY_BITS)], 1), config
    if len(config.betas) > 1:
        raise UserError(f"--decay-shift wants one time constant of all neurons, the policy has {len(config.betas)}")
    known = 1.0 - 2.0 ** -np.arange(16)
    k = np.abs(trained[:, None] - known).argmin(1)
    # 0 is no exponential decay; at the least time constant it is e^-10
    tau_m, tau_out = (0.1 if n == 0 else -1.0 / math.log(known[n]) for n in k)
    return np.stack([np.ones_like(k), k], 1), dataclasses.replace(config, tau_m=tau_m, tau_m_max=0.0, tau_out=tau_out)


@torch.no_grad()
def take_fixed(network: SpikingNetwork, fixed: Fixed) -> None:
    """Give a network the weights that integers stand for, in thresholds of one."""
    unit, (a, r) = 1.0 / fixed.threshold, (float(1 << int(n)) for n in fixed.shifts)
    parts = fixed.inputs * (unit * a * 2.0**fixed.input_shift), (fixed.bias * unit)[None], fixed.recurrent * (unit * r)
    network.hidden.copy_(torch.from_numpy(np.concatenate(parts)))
    outputs = np.concatenate((fixed.readout * 2.0**Y_BITS, fixed.readout_bias[:, None]), axis=1)
    network.readout.copy_(torch.from_numpy(outputs * fixed.output_unit[:, None]))
