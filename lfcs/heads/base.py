"""What a head does: it turns the output vector of a network, ``params`` [..., K], into a distribution over actions."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor


class Judgement(NamedTuple):
    """What learning needs to know of taken actions."""

    log_prob: Tensor  # log π(a) [...]
    score: Tensor  # d log π(a)/d params [..., K], the head's part of the local gradient
    entropy: Tensor  # H [...], in nats
    entropy_score: Tensor  # dH/d params [..., K]


class Head(Protocol):
    """Distribution over actions with ``size`` output parameters. All results keep the leading shape of ``params``."""

    size: int
    outputs: int  # parameters of the policy, which come first; any others belong to the critic

    @classmethod
    def of(cls, space: Any) -> Head:
        """Return the head for an action space. Raises UserError for one that it does not fit."""

    def to_env(self, action: Tensor) -> np.ndarray:
        """Return actions as the environment takes them."""

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        """Draw actions."""

    def greedy(self, params: Tensor) -> Tensor:
        """Return the most probable actions."""

    def log_prob(self, params: Tensor, action: Tensor) -> Tensor:
        """Return log π(a)."""

    def judge(self, params: Tensor, action: Tensor) -> Judgement:
        """Return log-probabilities, entropies and their derivatives."""
