"""Importance sampling: replay corrected by the ratio, without a bound."""

from __future__ import annotations

from torch import Tensor

from lfcs.agent import Agent


class Importance(Agent):
    """Weight of d log π_new(a_t): ρ_t A_t, unbiased for one step and of unbounded variance.

    Source: Precup, Sutton & Singh 2000; Degris, White & Sutton 2012, eq. (5).
    """

    name = "importance"
    online = True

    def weight(self, rho: Tensor, advantage: Tensor) -> Tensor:
        """Return ρ A."""
        return rho * advantage
