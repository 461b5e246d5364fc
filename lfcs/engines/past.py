"""The states of a chunk with the ticks before it, in one buffer."""

from __future__ import annotations

import torch
from torch import Tensor

from lfcs import rules
from lfcs.engines.base import Engine, Steps
from lfcs.network import NetState, SpikingNetwork


class Past:
    """States by tick in one buffer, so that a chunk sees the ticks before it without copying them each time.

    Memory is for the ``tail`` and some chunks of at most ``chunk`` ticks, however long the window.
    """

    def __init__(self, state: NetState, tail: int, chunk: int) -> None:
        self.tail = tail
        self.buffer = state.data.new_empty(max(tail, 1) + max(chunk, 4 * tail), *state.data.shape)
        self.begin(state)

    def begin(self, state: NetState) -> None:
        """Forget everything but the state that comes before the next chunk."""
        self.start, self.filled = state, 0

    def extended(self, engine: Engine, x: Tensor, reset: Tensor, ticks: int, differentiable: bool = False) -> Steps:
        """Run a chunk of steps; return what it gave, with the states of up to ``tail`` ticks before it."""
        if self.filled + ticks > len(self.buffer):
            kept = min(self.filled, max(self.tail, 1))
            self.buffer[:kept] = self.buffer[self.filled - kept : self.filled].clone()
            self.filled = kept
        begin, self.filled = self.filled, self.filled + ticks
        state = self.start.with_data(self.buffer[begin - 1]) if begin else self.start
        given = engine.run(x, state, reset, self.buffer[begin : self.filled], differentiable)
        seen = self.buffer[max(0, begin - self.tail) : self.filled]
        return given._replace(states=self.start.with_data(seen))


class SlowTrace:
    """The slow eligibility ε [B, D + 1 + N, N] of a network that has one, up to the first tick that a chunk sees.

    ε_{t+1} = ρ ε_t + ψ_t (x̄_t - b ε_t): one number for each synapse and environment, however long the past.
    """

    def __init__(self, network: SpikingNetwork, batch: int, tail: int) -> None:
        self.neuron, self.tail = network.neuron, tail
        self.eps = network.hidden.new_zeros(batch, *network.hidden.shape)

    def follow(self, seen: NetState, reset: Tensor) -> None:
        """Move on over the ticks of ``seen`` [T', B] that the next chunk will not see."""
        assert self.neuron.slow is not None
        for t in range(len(seen.data) - self.tail):
            now, begun = seen.at(slice(t, t + 1)), reset[t : t + 1]
            psi = self.neuron.post(torch.ones_like(now.spk), now.of_neurons(), begun)[0]  # the factor of a signal of 1
            eps = self.eps * ~begun[0, :, None, None]
            self.eps = rules.slow_eligibility(eps, psi, now.trace[0], *self.neuron.slow)


def slow_trace(engine: Engine, network: SpikingNetwork, batch: int, tail: int) -> SlowTrace | None:
    """Return the slow eligibility at rest, or None where neuron model or engine have none."""
    return SlowTrace(network, batch, tail) if network.neuron.slow is not None and engine.local else None
