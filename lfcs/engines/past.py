"""The states of a chunk with the ticks before it, in one buffer."""

from __future__ import annotations

from torch import Tensor

from lfcs.engines.base import Engine, Steps
from lfcs.network import NetState


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
