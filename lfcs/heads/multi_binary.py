"""Independent yes-or-no choices."""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import torch
from torch import Tensor

from lfcs.errors import UserError
from lfcs.heads.base import (
    Judgement,
    Loops,
    Numbers,
    as_it_is,
    draw_pointer,
    greedy_pointer,
    judge_pointer,
    uniforms,
)
from lfcs.kernels import compiled
from lfcs.pointers import Row


@compiled
def sigmoid(logit: float) -> float:
    """Return 1 / (1 + exp(-l)), of a large -l too."""
    tail = math.exp(-abs(logit))
    return (1.0 if logit >= 0.0 else tail) / (1.0 + tail)


@judge_pointer
def judge(params: Row, action: Row, constants: Row, score: Row, entropy_score: Row, found: Row) -> None:
    """See :meth:`MultiBinaryHead.judge`."""
    found[0], found[1] = 0.0, 0.0
    for i in range(len(params)):
        logit, p = params[i], sigmoid(params[i])
        log_sum = math.log1p(math.exp(-abs(logit)))  # -log of the likelier one's probability
        found[0] += action[i] * logit - max(logit, 0.0) - log_sum
        found[1] += log_sum + abs(logit) * sigmoid(-abs(logit))
        score[i], entropy_score[i] = action[i] - p, -logit * p * sigmoid(-logit)


@draw_pointer
def draw(params: Row, uniform: Row, constants: Row, action: Row) -> None:
    """See :meth:`MultiBinaryHead.draw`."""
    for i in range(len(params)):
        action[i] = 1.0 if uniform[i] < sigmoid(params[i]) else 0.0


@greedy_pointer
def greedy(params: Row, uniform: Row, constants: Row, action: Row) -> None:
    """See :meth:`MultiBinaryHead.greedy`."""
    for i in range(len(params)):
        action[i] = 1.0 if params[i] > 0.0 else 0.0


class MultiBinaryHead:
    """π(a_i = 1) = 1 / (1 + exp(-l_i)) of A numbers 0 or 1; ``params`` are the logits l [..., A], as are actions."""

    loops: Loops | None = Loops(judge, draw, greedy)

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.size = shape, math.prod(shape)
        self.outputs, self.closed = self.size, 0.05 * self.size

    @classmethod
    def of(cls, space: gymnasium.Space) -> MultiBinaryHead:
        """Return the head for a MultiBinary space. Raises UserError for any other."""
        if not isinstance(space, gymnasium.spaces.MultiBinary):
            raise UserError(f"action space {space} is not supported: actions must be MultiBinary")
        return cls(space.shape)

    def numbers(self) -> Numbers:
        """Return what goes with the compiled forms."""
        return Numbers(self.size, as_it_is(self.size))

    def counted(self, rows: Tensor) -> Tensor:
        """Return the rows as whole numbers."""
        return rows.long()

    def to_env(self, action: Tensor) -> np.ndarray:
        """Return actions in the shape of the space."""
        return action.cpu().numpy().astype(np.int8).reshape(*action.shape[:-1], *self.shape)

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a [..., A]."""
        return self.draw(params, uniforms(params, self.size, generator))

    def draw(self, params: Tensor, uniform: Tensor) -> Tensor:
        """Return a_i = 1 where a uniform number [..., A] is below its probability."""
        return (uniform < params.sigmoid()).long()

    def greedy(self, params: Tensor) -> Tensor:
        """Return 1 where l_i > 0 [..., A]."""
        return (params > 0.0).long()

    def log_prob(self, params: Tensor, action: Tensor) -> Tensor:
        """Return Σ_i a_i l_i - log(1 + exp l_i) [...]."""
        return (action * params - torch.logaddexp(params, torch.zeros_like(params))).sum(-1)

    def judge(self, params: Tensor, action: Tensor) -> Judgement:
        """Return log π(a); a_i - p_i (Williams 1992, section 4); H = -Σ_i p log p + (1-p) log(1-p); -l_i p_i (1 - p_i).

        The entropy is written as Σ_i log(1 + exp(-|l|)) + |l| (1 - p of the likelier).
        """
        p, other, far = params.sigmoid(), params.neg().sigmoid(), params.abs()
        entropy = (torch.log1p(torch.exp(-far)) + far * far.neg().sigmoid()).sum(-1)
        return Judgement(self.log_prob(params, action), action - p, entropy, -params * p * other)
