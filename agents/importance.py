"""Importance sampling: replay corrected by the ratio, without a bound."""

from __future__ import annotations

from torch import Tensor

from lfcs.agent import Agent, Loops, weight_pointer
from lfcs.pointers import Row


@weight_pointer
def weight(rho: float, advantage: float, stale: float, constants: Row) -> float:
    """See :meth:`Importance.weight`."""
    return rho * advantage


class Importance(Agent):
    """Weight of d log π_new(a_t): ρ_t A_t, unbiased for one step and of unbounded variance.

    Source: Precup, Sutton & Singh 2000; Degris, White & Sutton 2012, eq. (5).
    """

    name = "importance"
    online = True

    def weight(self, rho: Tensor, advantage: Tensor) -> Tensor:
        """Return ρ A."""
        return rho * advantage

    def loops(self) -> Loops | None:
        """See :meth:`Agent.loops`."""
        return Loops(weight)
