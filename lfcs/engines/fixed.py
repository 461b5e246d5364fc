"""Fixed point: a quantised LIF network whose every tick is whole numbers, the same on every machine. It acts only.

    x  inputs, integers of stated bits           z  spikes, 0 or 1
    I_i = (Σ_d A_di x_d << a) + (Σ_j R_ji z_j,t-1 << r) + b_i
    u_i ← sat(leak(u_i) + I_i - θ_i z_i,t-1) ,  z_i = [u_i > θ_i]
    y_i ← leak(y_i) + g z_i ,  o_k = Σ_i W_ki y_i + c_k

    leak(n) = n - ((n d + 2^(k-1)) >> k)         d, k integers: the decay is 1 - d/2^k
    sat(n) = min(max(n, -2^(B-1)), 2^(B-1) - 1)  a membrane of B bits never wraps

``>>`` is the arithmetic shift, which rounds down, so that a leak is rounded to the nearest, halves up (nothing is added
where k = 0). With d = 1 a leak needs no multiplication. Sums are of 64 bits, more than any of them fills.
"""

from __future__ import annotations

from typing import NamedTuple, NoReturn

import numba
import numpy as np
import torch
from torch import Tensor

from lfcs.engines.base import Steps
from lfcs.errors import UserError
from lfcs.network import NetState, SpikingNetwork
from lfcs.neurons import LIF

Y_BITS = 15  # of fraction in the readout trace: y = 1 is 2^15


class Fixed(NamedTuple):
    """A quantised network of N neurons with D inputs and K + 1 outputs, the critic's last. All but units are whole."""

    inputs: np.ndarray  # A [D, N]
    recurrent: np.ndarray  # R [N, N], a row is the fan-out of a neuron
    bias: np.ndarray  # b [N]
    threshold: np.ndarray  # θ [N]
    leak: np.ndarray  # d and k of the membranes [2, N]
    readout: np.ndarray  # W [K + 1, N]
    readout_bias: np.ndarray  # c [K + 1]
    readout_leak: np.ndarray  # d and k of y [2]
    shifts: np.ndarray  # a and r [2]
    input_range: np.ndarray  # least and largest x [2]
    input_shift: int  # x is an input times 2^this, rounded to the nearest, halves to even
    state_bits: int  # B
    weight_bits: int
    output_unit: np.ndarray  # [K + 1] real: what one of o_k is worth

    @property
    def gain(self) -> int:
        """What a spike adds to y: (1 - κ) 2^Y_BITS."""
        d, k = (int(n) for n in self.readout_leak)
        return (d << Y_BITS) >> k

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the largest membrane."""
        return -(1 << (self.state_bits - 1)), (1 << (self.state_bits - 1)) - 1

    def whole(self, x: np.ndarray) -> np.ndarray:
        """Return inputs [..., D] as integers, those out of range at its border."""
        return np.clip(np.rint(np.ldexp(x.astype(np.float64), self.input_shift)), *self.input_range).astype(np.int64)


def leaked(n: np.ndarray, d: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return n - ((n d + 2^(k-1)) >> k) of int64, elementwise."""
    return n - ((n * d + ((1 << k) >> 1)) >> k)


def tick(fixed: Fixed, x: np.ndarray, z: np.ndarray, u: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return z, u and y [B, N] one tick later, from integer inputs ``x`` [B, D]: the definition that loops are held to.

    All are int64.
    """
    of = fixed
    current = ((x @ of.inputs.astype(np.int64)) << of.shifts[0]) + of.bias
    current += (z @ of.recurrent.astype(np.int64)) << of.shifts[1]
    u = np.clip(leaked(u, *of.leak) + current - of.threshold * z, *of.bounds)
    z = (u > of.threshold).astype(np.int64)
    return z, u, leaked(y, *of.readout_leak) + of.gain * z


def read(fixed: Fixed, y: np.ndarray) -> np.ndarray:
    """Return the outputs o [..., K + 1] of readout traces [..., N], int64."""
    return y @ fixed.readout.astype(np.int64).T + fixed.readout_bias


@numba.njit(cache=True)
def add_rows(total: np.ndarray, weights: np.ndarray, factors: np.ndarray, keep: int) -> None:
    """total_i += Σ_j weights_ji factors_j where ``keep`` is 1, nothing where it is 0; ``total`` is int64."""
    for j in range(len(factors)):
        factor = np.int64(keep * factors[j])
        if factor != 0:
            for i in range(len(total)):
                total[i] += np.int64(weights[j, i]) * factor


@numba.njit(cache=True)
def settle(
    current: np.ndarray, before: np.ndarray, after: np.ndarray, keep: int, numbers: np.ndarray, constants: np.ndarray
) -> None:
    """Write z, u and y [3, N] ``after`` a tick from those ``before`` it, where ``keep`` is 1, else from 0."""
    _, _, low, high, y_d, y_k, gain = constants
    _, threshold, leak, shift = numbers
    y_half = (1 << y_k) >> 1
    for i in range(len(current)):
        u, y, half = keep * before[1, i], keep * before[2, i], (1 << shift[i]) >> 1
        u += current[i] - ((u * leak[i] + half) >> shift[i]) - threshold[i] * keep * before[0, i]
        after[1, i] = min(max(u, low), high)
        after[0, i] = 1 if after[1, i] > threshold[i] else 0
        after[2, i] = y - ((y * y_d + y_half) >> y_k) + gain * after[0, i]


@numba.njit(cache=True)
def run(
    x: np.ndarray,
    reset: np.ndarray,
    ticks: int,
    weights: tuple[np.ndarray, np.ndarray],
    outputs: tuple[np.ndarray, np.ndarray],
    numbers: np.ndarray,
    constants: np.ndarray,
    states: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill ``states`` z, u, y [T + 1, B, 3, N], whose first row is the start, and outputs ``out`` [S, B, K + 1].

    ``x`` [S, B, D], ``reset`` [S, B]; ``weights`` are A and R, ``outputs`` W and c, ``numbers`` [4, N] b, θ, d, k and
    ``constants`` a, r, the bounds of u, and d, k and g of y. All are int64 but weights and ``x``, int32, and resets.
    """
    bias, n = numbers[0], states.shape[3]
    from_inputs, from_spikes = np.empty(n, np.int64), np.empty(n, np.int64)
    for t in range(len(x) * ticks):
        step, last = t // ticks, t % ticks == ticks - 1
        for e in range(x.shape[1]):
            keep = 0 if t % ticks == 0 and reset[step, e] else 1
            from_inputs[:], from_spikes[:] = 0, 0
            add_rows(from_inputs, weights[0], x[step, e], 1)
            add_rows(from_spikes, weights[1], states[t, e, 0], keep)
            for i in range(n):
                from_inputs[i] = (from_inputs[i] << constants[0]) + (from_spikes[i] << constants[1]) + bias[i]
            settle(from_inputs, states[t, e], states[t + 1, e], keep, numbers, constants)
            for k in range(len(outputs[1]) if last else 0):
                total = outputs[1][k]
                for i in range(n):
                    total += outputs[0][k, i] * states[t + 1, e, 2, i]
                out[step, e, k] = total


class FixedEngine:
    """Runs the quantised form of a network. Its states are NetStates as all have them, in double precision.

    Membranes are told in thresholds, y as a fraction; both give the integers back exactly. Presynaptic traces, which
    only learning reads, stay 0. Raises UserError where there is no quantised form, the network is not in double
    precision on a CPU, or has other neurons than LIF.
    """

    local = True

    def __init__(self, network: SpikingNetwork, fixed: Fixed | None = None) -> None:
        if fixed is None:
            raise UserError(
                "engine fixed runs a quantised policy and does not learn: "
                "train with another engine, then make one with lfcs quantise RUN"
            )
        if type(network.neuron) is not LIF:
            raise UserError(f"engine fixed has LIF neurons only, the network has {type(network.neuron).__name__}")
        if network.hidden.device.type != "cpu" or network.hidden.dtype != torch.float64:
            raise UserError("engine fixed tells of its states in double precision on a CPU: use device cpu")
        self.network, self.fixed, of = network, fixed, fixed
        self.numbers = np.stack((of.bias, of.threshold, *of.leak)).astype(np.int64)
        self.constants = np.array([*of.shifts, *of.bounds, *of.readout_leak, of.gain], np.int64)
        self.weights = np.ascontiguousarray(of.inputs, np.int32), np.ascontiguousarray(of.recurrent, np.int32)
        self.outputs = np.ascontiguousarray(of.readout, np.int32), of.readout_bias.astype(np.int64)

    def run(
        self, x: Tensor, state: NetState, reset: Tensor, out: Tensor | None = None, differentiable: bool = False
    ) -> Steps:
        """See :meth:`lfcs.engines.base.Engine.run`. Raises UserError where it is to be differentiable."""
        if differentiable:
            self.refuse()
        self.network.check(x, reset, state)
        (steps, batch), n, ticks = reset.shape, state.neurons, self.network.config.ticks
        states = np.empty((steps * ticks + 1, batch, 3, n), np.int64)
        states[0] = np.stack(self.integers(state), axis=1)
        given = np.empty((steps, batch, len(self.fixed.readout)), np.int64)
        whole, cleared = self.fixed.whole(x.numpy()).astype(np.int32), self.network.resets(reset).numpy()
        run(whole, cleared, ticks, self.weights, self.outputs, self.numbers, self.constants, states, given)
        data = torch.zeros(steps * ticks, *state.data.shape, dtype=x.dtype) if out is None else out.zero_()
        z, u, y = states[1:].transpose(2, 0, 1, 3)
        parts = z, u / self.fixed.threshold, np.ldexp(y, -Y_BITS)
        data[..., : 3 * n] = torch.from_numpy(np.concatenate(parts, axis=-1))
        told = torch.from_numpy(given * self.fixed.output_unit).to(x.dtype)
        return Steps(state.with_data(data), told[..., :-1], self.network.along_path(x, told[..., -1]))

    def integers(self, state: NetState) -> tuple[np.ndarray, ...]:
        """Return z, u and y of a state as they are in fixed point, int64."""
        z, u, y = (part.numpy() for part in (state.spk, state.mem, state.readout))
        found = z, np.rint(u * self.fixed.threshold), np.rint(np.ldexp(y, Y_BITS))
        return tuple(part.astype(np.int64) for part in found)

    def refuse(self) -> NoReturn:
        """Raise UserError: this engine does not learn."""
        raise UserError("engine fixed does not learn: train with another engine, then lfcs quantise RUN")

    def gradients(
        self,
        seen: NetState,
        reset: Tensor,
        error: Tensor,
        feedback: Tensor,
        drive: Tensor,
        slow: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Raise UserError: this engine does not learn."""
        self.refuse()

    def post(self, seen: NetState, reset: Tensor, error: Tensor, feedback: Tensor, drive: Tensor) -> Tensor:
        """Raise UserError: this engine does not learn."""
        self.refuse()
