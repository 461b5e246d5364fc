"""The policy that changes slowest: a running mean of the weights of the policy that acts."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from lfcs import checkpoint
from lfcs.engines import Engine
from lfcs.network import SpikingNetwork
from lfcs.policy import Policy


class Average:
    """w̄ ← w̄ + (w - w̄) / min(n, K) after the n-th copy w into the reference: the mean of the first K, then slower.

    ``policy`` has these weights, and all else in common with the one that acts.
    Source: Polyak & Juditsky 1992; averaged policies in PPO: Hilton, Cobbe & Schulman, arXiv:2110.00641.
    """

    def __init__(self, acting: Policy, engine: Callable[[SpikingNetwork], Engine], span: int) -> None:
        self.acting, self.span, self.count = acting.network, span, 0
        network = copy.deepcopy(acting.network)
        self.policy = dataclasses.replace(acting, network=network, engine=engine(network))

    @torch.no_grad()
    def follow(self) -> None:
        """Include the weights that act."""
        self.count += 1
        for mean, weight in zip(self.policy.network.parameters(), self.acting.parameters(), strict=True):
            mean.lerp_(weight, 1.0 / min(self.count, self.span))

    def state_dict(self) -> dict[str, Any]:
        """Return what is not the policy's own: how many are in the mean, and the weights that act."""
        return {"count": self.count, "acting": self.acting.state_dict()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore; the policy is restored before. Raises ValueError where weights do not fit, or are not finite."""
        checkpoint.fit(self.state_dict(), saved, "average")
        self.count = saved["count"]
        self.acting.load_state_dict(saved["acting"])
