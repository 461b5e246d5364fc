"""The leaky integrate-and-fire neuron (LIF) with reset by subtraction, threshold θ = 1, in one place.

    u_t = β u_{t-1} + I_t - z_{t-1} ,  z_t = H(u_t - 1)      I_t: all that flows in
    ψ_t = γ_pd max(0, 1 - |u_t - 1|) ,  e_t = ψ_t x̄_t        with x̄_t = β x̄_{t-1} + pre_t

State row: [z | u], spikes and membrane in thresholds. Time constants are in ticks, β = exp(-1/τ_m); β may differ from
neuron to neuron, in groups (:attr:`lfcs.config.NetworkConfig.betas`), and so then does the x̄ that a neuron sees.
Source: Bellec et al., Nature Communications 11:3625 (2020), eq. (10) and Methods; snntorch's RLeaky is the witness.
"""

from __future__ import annotations

from typing import Any

import snntorch
import torch
from torch import Tensor, nn

from lfcs import rules
from lfcs.config import NetworkConfig
from lfcs.neurons.base import Loops, Slow, Spike, post_pointer, tick_pointer


class LIF:
    """See :class:`lfcs.neurons.base.Neuron`."""

    fields: tuple[str, ...] = ("spk", "mem")
    slow: Slow | None = None

    def __init__(self, config: NetworkConfig) -> None:
        self.decays, self.dampening = config.betas, config.dampening
        self.betas = [self.decays[i % len(self.decays)] for i in range(config.neurons)]
        self.on_device: dict[tuple[torch.device, torch.dtype], Tensor] = {}
        ours = type(self).tick is LIF.tick and type(self).post is LIF.post  # which the loops are the compiled form of
        self.loops: Loops | None = Loops(advance, gate, (self.dampening, *self.betas)) if ours else None

    def cell(self, neurons: int) -> nn.Module:
        """Return snntorch's RLeaky with N x N recurrent weights and this neuron's surrogate."""
        cell = snntorch.RLeaky(
            # a float64 tensor keeps beta exact when the network is moved to double precision
            beta=torch.tensor(self.betas if len(self.decays) > 1 else self.betas[0], dtype=torch.float64),
            linear_features=neurons,
            spike_grad=lambda v: Spike.apply(v, self.dampening),
            reset_mechanism="subtract",
        )
        cell.recurrent = nn.Linear(neurons, neurons, bias=False)  # the input layer has the one bias a neuron needs
        return cell

    def witness(self, cell: Any, current: Tensor, fields: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return z_t and u_t by snntorch, from ``current`` I_t [B, N] without the recurrent part, z and u."""
        return cell(current, *fields)

    def tick(self, current: Tensor, fields: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return z_t and u_t [B, N] from the whole ``current`` I_t [B, N], z_{t-1} and u_{t-1}."""
        spk, mem = fields
        mem = self.beta(mem) * mem + current - spk
        return (mem > 1.0).to(mem.dtype), mem

    def beta(self, like: Tensor) -> Tensor | float:
        """Return β, [N] where it differs from neuron to neuron."""
        if len(self.decays) == 1:
            return self.decays[0]
        kind = like.device, like.dtype
        if kind not in self.on_device:
            self.on_device[kind] = like.new_tensor(self.betas)
        return self.on_device[kind]

    def post(self, signal: Tensor, fields: tuple[Tensor, ...], reset: Tensor) -> Tensor:
        """Return the factor of x̄_t in dW = Σ_t post_t x̄_t, L̂_t ψ_t [T, B, N], from the filtered ``signal`` L̂."""
        return signal * rules.surrogate_derivative(fields[1] - 1.0, self.dampening)


@tick_pointer
def advance(before, current, cleared, constants, after):
    """Write [z_t | u_t] into the rows ``after`` [B, ...] from those of a tick earlier and ``current`` I_t [B, N].

    ``cleared`` [B] is true where the state begins afresh; ``constants`` (γ_pd, β_1, …, β_N).
    """
    dampening, beta = constants[0], constants[1:]
    zero, one = dampening - dampening, dampening / dampening
    for b in range(len(current)):
        n = current.shape[1]
        z_tm1, u_tm1, total = before[b, :n], before[b, n : 2 * n], current[b]
        z, u = after[b, :n], after[b, n : 2 * n]
        keep = zero if cleared[b] else one
        for i in range(n):
            potential = keep * beta[i] * u_tm1[i] + total[i] - keep * z_tm1[i]
            u[i] = potential
            z[i] = one if potential > one else zero


@post_pointer
def gate(signal, after, cut, constants, carry, out):
    """Write L̂_t ψ_t [B, N] into ``out`` from the filtered ``signal`` L̂_t [B, N] and the state's rows after the tick."""
    dampening = constants[0]
    one, zero = dampening / dampening, dampening - dampening
    for b in range(len(signal)):
        n = signal.shape[1]
        filtered, u, row = signal[b], after[b, n : 2 * n], out[b]
        for i in range(n):
            row[i] = filtered[i] * (dampening * max(one - abs(u[i] - one), zero))
