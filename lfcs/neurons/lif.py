"""The leaky integrate-and-fire neuron (LIF) with reset by subtraction, threshold θ = 1, in one place.

    u_t = β u_{t-1} + I_t - z_{t-1} ,  z_t = H(u_t - 1)      I_t: all that flows in
    ψ_t = γ_pd max(0, 1 - |u_t - 1|) ,  e_t = ψ_t x̄_t        with x̄_t = β x̄_{t-1} + pre_t

State row: [z | u], spikes and membrane in thresholds. Time constants are in ticks, β = exp(-1/τ_m).
Source: Bellec et al., Nature Communications 11:3625 (2020), eq. (10) and Methods; snntorch's RLeaky is the witness.
"""

from __future__ import annotations

import numpy as np
import snntorch
import torch
from torch import Tensor, nn

from lfcs import rules
from lfcs.config import NetworkConfig
from lfcs.kernels import add_outer, add_rows, compiled, input_current, mix, read_out
from lfcs.neurons.base import Loops, Spike


class LIF:
    """See :class:`lfcs.neurons.base.Neuron`."""

    fields = ("spk", "mem")

    def __init__(self, config: NetworkConfig) -> None:
        self.decay, self.dampening = config.beta, config.dampening
        self.loops: Loops | None = Loops(advance, backward, (self.decay, self.dampening))

    def cell(self, neurons: int) -> nn.Module:
        """Return snntorch's RLeaky with N x N recurrent weights and this neuron's surrogate."""
        cell = snntorch.RLeaky(
            # a float64 tensor keeps beta exact when the network is moved to double precision
            beta=torch.tensor(self.decay, dtype=torch.float64),
            linear_features=neurons,
            spike_grad=lambda v: Spike.apply(v, self.dampening),
            reset_mechanism="subtract",
        )
        cell.recurrent = nn.Linear(neurons, neurons, bias=False)  # the input layer has the one bias a neuron needs
        return cell

    def witness(self, cell: nn.Module, current: Tensor, fields: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return z_t and u_t by snntorch, from ``current`` I_t [B, N] without the recurrent part, z and u."""
        return cell(current, *fields)

    def tick(self, current: Tensor, fields: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return z_t and u_t [B, N] from the whole ``current`` I_t [B, N], z_{t-1} and u_{t-1}."""
        spk, mem = fields
        mem = self.decay * mem + current - spk
        return (mem > 1.0).to(mem.dtype), mem

    def post(self, signal: Tensor, fields: tuple[Tensor, ...], reset: Tensor) -> Tensor:
        """Return the factor of x̄_t in dW = Σ_t post_t x̄_t, L̂_t ψ_t [T, B, N], from the filtered ``signal`` L̂."""
        return signal * rules.surrogate_derivative(fields[1] - 1.0, self.dampening)


@compiled
def advance(x, reset, ticks, hidden, readout, constants, update, start, data, out):
    """Run B environments for S steps; write the states after every tick and the outputs after every step.

        u_t = β u_{t-1} + b + W_in x_t + W_rec z_{t-1} - z_{t-1} ,  z_t = H(u_t - 1)
        y_t = y_{t-1} + (1 - κ)(z_t - y_{t-1}) ,  x̄_t = β x̄_{t-1} + [x_t, 1, z_{t-1}] ,  out_t = W_out y_t + b_out

    ``x`` [S, B, D]; ``reset`` [S, B] clears a state before the step; ``constants`` (β, γ_pd); ``update`` is 1 - κ;
    states ``start`` [B, ...] and ``data`` [T, B, ...]; ``out`` [S, B, K + 1].
    """
    beta, _ = constants
    steps, batch, d = x.shape
    n = hidden.shape[1]
    recurrent = hidden[d + 1 :]
    rows = np.empty(n, np.int64)
    current = np.empty((batch, n), hidden.dtype)
    zero, one = hidden.dtype.type(0), hidden.dtype.type(1)
    for t in range(steps * ticks):
        s = t // ticks
        first = t % ticks == 0
        if first:
            input_current(x[s], hidden, current)
        for b in range(batch):
            before, after, x_t = start[b] if t == 0 else data[t - 1, b], data[t, b], x[s, b]
            z_tm1, u_tm1, y_tm1, xbar_tm1 = before[:n], before[n : 2 * n], before[2 * n : 3 * n], before[3 * n :]
            z, u, y, xbar = after[:n], after[n : 2 * n], after[2 * n : 3 * n], after[3 * n :]
            keep = zero if first and reset[s, b] else one
            decay = beta * keep
            for k in range(d):
                xbar[k] = decay * xbar_tm1[k] + x_t[k]
            xbar[d] = decay * xbar_tm1[d] + one
            for i in range(n):
                spike = keep * z_tm1[i]
                xbar[d + 1 + i] = decay * xbar_tm1[d + 1 + i] + spike
                u[i] = decay * u_tm1[i] + current[b, i] - spike
            if keep == one:
                count = 0
                for i in range(n):
                    rows[count] = i
                    count += z_tm1[i] != zero
                add_rows(u, rows, count, recurrent)
            for i in range(n):
                spike = one if u[i] > one else zero
                y_kept = keep * y_tm1[i]
                z[i] = spike
                y[i] = y_kept + update * (spike - y_kept)
            if t % ticks == ticks - 1:
                read_out(y, readout, out[s, b])


@compiled
def backward(
    begin, data, reset, error, feedback, drive, ticks, kappa, constants, filtered, post, credit, readout_gradient
):
    """Filter the learning signal backwards in time over a block of ticks and gate it by the surrogate derivative.

        L_t = Σ_k B_k s_k,t + c ,  L̂_t = (1 - κ) L_t + κ L̂_{t+1}
        G_t = L̂_t ψ_t ,  H_t = G_t + β H_{t+1} , H beyond the block 0 ,  dW_out,k += Σ_t s_k,t [y_t, 1]

    so that over the block Σ_t G_t x̄_t = H_0 x̄_0 + Σ_{t>0} H_t pre_t. ``data`` and ``reset`` [T', B] are the ticks up to
    the last of the errors s [S, B, K + 1], which act at each step's last tick; ``feedback`` B [K + 1, N], ``drive`` c
    [N]. The block begins at tick ``begin`` and is as long as ``post`` G and ``credit`` H [..., B, N], the results.
    ``filtered`` [B, N] holds L̂ of the tick after the block and is left with that of its first tick. No credit crosses
    a reset. ``constants`` (β, γ_pd).
    """
    beta, dampening = constants
    batch, n = filtered.shape
    tail = len(data) - len(error) * ticks
    end = begin + len(post)
    zero, one = kappa - kappa, kappa / kappa
    nothing, wanted = np.zeros(n, filtered.dtype), np.empty(n, filtered.dtype)
    for b in range(batch):
        carried, later = filtered[b], nothing
        for t in range(end - 1, begin - 1, -1):
            u, g, h = data[t, b, n : 2 * n], post[t - begin, b], credit[t - begin, b]
            cut = t + 1 == len(data) or reset[t + 1, b]
            keep_signal, keep_credit = (zero, zero) if cut else (kappa, beta)
            at = t - tail
            if at >= 0 and at % ticks == ticks - 1:
                s_t = error[at // ticks, b]
                mix(wanted, drive, s_t, feedback)
                add_outer(readout_gradient, s_t, data[t, b, 2 * n : 3 * n])
                for i in range(n):
                    carried[i] = (one - kappa) * wanted[i] + keep_signal * carried[i]
            else:
                for i in range(n):
                    carried[i] = keep_signal * carried[i]
            for i in range(n):
                psi = dampening * max(one - abs(u[i] - one), zero)
                g[i] = carried[i] * psi
                h[i] = g[i] + keep_credit * later[i]
            later = h
