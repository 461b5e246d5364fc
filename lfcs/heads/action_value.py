"""Softmax with a critic of actions beside it."""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from torch import Tensor

from lfcs.heads.base import Head, Judgement, Loops, Numbers, draw_pointer, greedy_pointer, judge_pointer
from lfcs.heads.categorical import CategoricalHead, draw_softmax, greedy_softmax, judge_softmax
from lfcs.pointers import Row


@judge_pointer
def judge(params: Row, action: Row, constants: Row, score: Row, entropy_score: Row, found: Row) -> None:
    """See :meth:`ActionValueHead.judge`."""
    k = len(params) // 2
    judge_softmax(params[:k], action, score[:k], entropy_score[:k], found)
    score[k:] = 0.0
    entropy_score[k:] = 0.0


@draw_pointer
def draw(params: Row, uniform: Row, constants: Row, action: Row) -> None:
    """See :meth:`ActionValueHead.sample`."""
    draw_softmax(params[: len(params) // 2], uniform, action)


@greedy_pointer
def greedy(params: Row, uniform: Row, constants: Row, action: Row) -> None:
    """See :meth:`ActionValueHead.greedy`."""
    greedy_softmax(params[: len(params) // 2], action)


class ActionValueHead:
    """Softmax over K actions with action advantages α beside the logits; ``params`` are [l, α] [..., 2K].

    Actions are drawn from the logits alone; α belongs to the critic.
    """

    loops: Loops | None = Loops(judge, draw, greedy)

    def __init__(self, policy: Head) -> None:
        self.policy, self.outputs, self.size, self.closed = policy, policy.size, 2 * policy.size, policy.closed
        if type(policy) is not CategoricalHead:
            self.loops = None

    @classmethod
    def of(cls, space: gymnasium.Space) -> ActionValueHead:
        """Return the head for a Discrete space. Raises UserError for any other."""
        return cls(CategoricalHead.of(space))

    def numbers(self) -> Numbers:
        """Return what goes with the compiled forms."""
        return self.policy.numbers()

    def counted(self, rows: Tensor) -> Tensor:
        """Return k [...] of rows [..., 1]."""
        return self.policy.counted(rows)

    def to_env(self, action: Tensor) -> np.ndarray:
        """Return actions as the environment takes them."""
        return self.policy.to_env(action)

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a [...]."""
        return self.policy.sample(params[..., : self.outputs], generator)

    def greedy(self, params: Tensor) -> Tensor:
        """Return argmax_k l_k [...]."""
        return self.policy.greedy(params[..., : self.outputs])

    def log_prob(self, params: Tensor, action: Tensor) -> Tensor:
        """Return log π(a) [...]."""
        return self.policy.log_prob(params[..., : self.outputs], action)

    def judge(self, params: Tensor, action: Tensor) -> Judgement:
        """Return the policy's judgement; the derivatives with respect to α are 0."""
        judged = self.policy.judge(params[..., : self.outputs], action)
        nothing = torch.zeros_like(judged.score)
        score, entropy_score = (torch.cat((part, nothing), dim=-1) for part in (judged.score, judged.entropy_score))
        return judged._replace(score=score, entropy_score=entropy_score)
