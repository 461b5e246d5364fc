"""Naive replay: e-prop that goes over its experience R times as if it were its own."""

from __future__ import annotations

from torch import Tensor

from lfcs.agent import Agent, Loops, weight_pointer
from lfcs.pointers import Row


@weight_pointer
def weight(rho: float, advantage: float, stale: float, constants: Row) -> float:
    """See :meth:`NaiveReplay.weight`."""
    return advantage


class NaiveReplay(Agent):
    """Weight of d log π_new(a_t): A_t, whatever has become of the policy since it acted. Nothing bounds it."""

    name = "naive-replay"
    online = True

    def weight(self, rho: Tensor, advantage: Tensor) -> Tensor:
        """Return A."""
        return advantage

    def loops(self) -> Loops | None:
        """See :meth:`Agent.loops`."""
        return Loops(weight)
