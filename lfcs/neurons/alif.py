"""The LIF neuron with an adaptive threshold (ALIF): every spike raises it, and it falls back slowly. It remembers.

    a_t = ρ a_{t-1} + z_{t-1} ,  A_t = 1 + b a_t                                      threshold
    u_t = β u_{t-1} + I_t - z_{t-1} ,  z_t = H(u_t - A_t)
    ψ_t = γ_pd max(0, 1 - |u_t - A_t|)
    e_t = ψ_t (x̄_t - b ε_t) ,  ε_{t+1} = ρ ε_t + e_t                                  eligibility, in two components

State row: [z | u | a]. b is ``network.adaptation``, ρ = exp(-1/``network.tau_a``) per tick; the rest is LIF's.
ε_ij,t = da_i,t/dW_ij is a number for every synapse, but within a stretch of time its sum moves to the neuron:

    post_t = ψ_t (L̂_t + λ_{t+1}) ,  λ_t = ρ λ_{t+1} - b post_t ,  Σ_t L̂_t e_t = Σ_t post_t x̄_t + λ_0 ε_0

λ_t is the derivative of Σ_{s≥t} L̂_s e_s with respect to ε_t: that of e_t is -b ψ_t, and ε_{t+1} gives
λ_{t+1} (ρ - b ψ_t). Only ε_0, that of the past, is kept for every synapse (:class:`lfcs.engines.past.SlowTrace`).
Source: Bellec et al., Nature Communications 11:3625 (2020), Methods, eqs. (24), (25); e_t there is ours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lfcs import rules
from lfcs.config import NetworkConfig
from lfcs.neurons.base import Loops, Slow, post_pointer, tick_pointer
from lfcs.neurons.lif import LIF


class ALIF(LIF):
    """See :class:`lfcs.neurons.base.Neuron`."""

    fields = ("spk", "mem", "adaptation")

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.strength, self.rho = config.adaptation, config.rho
        self.slow = Slow(self.strength, self.rho)
        ours = type(self).tick is ALIF.tick and type(self).post is ALIF.post
        constants = self.dampening, self.strength, self.rho, *self.betas
        self.loops = Loops(advance, gate, constants) if ours else None

    def witness(self, cell: Any, current: Tensor, fields: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return z_t, u_t and a_t by snntorch's RLeaky, which has no such neuron but is one for v = u - b a:

        v_t = β v_{t-1} + [I_t + b (β a_{t-1} - a_t)] - z_{t-1} and z_t = H(v_t - 1).
        """
        strength, rho, (spk, mem, adaptation) = self.strength, self.rho, fields
        after = rho * adaptation + spk
        shifted = current + strength * (self.beta(mem) * adaptation - after)
        spk, below = cell(shifted, spk, mem - strength * adaptation)
        return spk, below + strength * after, after

    def threshold(self, fields: tuple[Tensor, ...]) -> Tensor:
        """Return A_t = 1 + b a_t [..., N], which the fields' spikes were judged by."""
        return 1.0 + self.strength * fields[2]

    def tick(self, current: Tensor, fields: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return z_t, u_t and a_t [B, N] from the whole ``current`` I_t [B, N] and those of a tick earlier."""
        strength, rho, (spk, mem, adaptation) = self.strength, self.rho, fields
        mem, adaptation = self.beta(mem) * mem + current - spk, rho * adaptation + spk
        return (mem > 1.0 + strength * adaptation).to(mem.dtype), mem, adaptation

    def post(self, signal: Tensor, fields: tuple[Tensor, ...], reset: Tensor) -> Tensor:
        """Return the factor of x̄_t in dW = Σ_t post_t x̄_t, ψ_t (L̂_t + λ_{t+1}) [T, B, N]."""
        strength, rho, (_, mem, adaptation) = self.strength, self.rho, fields
        psi = rules.surrogate_derivative(mem - 1.0 - strength * adaptation, self.dampening)
        out, later = torch.empty_like(signal), torch.zeros_like(signal[0])
        for t in range(len(signal) - 1, -1, -1):
            out[t] = psi[t] * (signal[t] + later)
            later = (rho * later - strength * out[t]) * ~reset[t, :, None]
        return out


@tick_pointer
def advance(before, current, cleared, constants, after):
    """Write [z_t | u_t | a_t] into the rows ``after`` [B, ...] from those of a tick earlier and ``current`` I_t [B, N].

    ``cleared`` [B] is true where the state begins afresh; ``constants`` (γ_pd, b, ρ, β_1, …, β_N).
    """
    dampening, strength, rho, beta = constants[0], constants[1], constants[2], constants[3:]
    zero, one = dampening - dampening, dampening / dampening
    for b in range(len(current)):
        n = current.shape[1]
        z_tm1, u_tm1, a_tm1 = before[b, :n], before[b, n : 2 * n], before[b, 2 * n : 3 * n]
        z, u, a, total = after[b, :n], after[b, n : 2 * n], after[b, 2 * n : 3 * n], current[b]
        keep = zero if cleared[b] else one
        for i in range(n):
            potential = keep * beta[i] * u_tm1[i] + total[i] - keep * z_tm1[i]
            adaptation = keep * rho * a_tm1[i] + keep * z_tm1[i]
            u[i], a[i] = potential, adaptation
            z[i] = one if potential > one + strength * adaptation else zero


@post_pointer
def gate(signal, after, cut, constants, carry, out):
    """Write ψ_t (L̂_t + λ_{t+1}) [B, N] into ``out``; ``carry`` holds λ, of the tick after and then of this one."""
    dampening, strength, rho = constants[0], constants[1], constants[2]
    one, zero = dampening / dampening, dampening - dampening
    for b in range(len(signal)):
        n = signal.shape[1]
        filtered, u, a, later, row = signal[b], after[b, n : 2 * n], after[b, 2 * n : 3 * n], carry[b], out[b]
        keep = zero if cut[b] else one
        for i in range(n):
            psi = dampening * max(one - abs(u[i] - one - strength * a[i]), zero)
            kept = keep * later[i]
            row[i] = psi * (filtered[i] + kept)
            later[i] = rho * kept - strength * row[i]
