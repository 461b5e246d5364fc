"""Softmax over discrete actions."""

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
def exponentials(params: Row, out: Row) -> tuple[float, float]:
    """Write exp(l_k - max l) into ``out``; return max l and the sum."""
    largest, total = params[0], 0.0
    for k in range(1, len(params)):
        largest = max(largest, params[k])
    for k in range(len(params)):
        out[k] = math.exp(params[k] - largest)
        total += out[k]
    return largest, total


@compiled
def softmax(params: Row, out: Row) -> None:
    """Write the softmax of as many logits as ``out`` has room for."""
    _, total = exponentials(params[: len(out)], out)
    for k in range(len(out)):
        out[k] /= total


@compiled
def judge_softmax(params: Row, action: Row, score: Row, entropy_score: Row, found: Row) -> None:
    """See :meth:`CategoricalHead.judge`."""
    taken, entropy = int(action[0]), 0.0
    largest, total = exponentials(params, score)
    for k in range(len(params)):
        logp = params[k] - largest - math.log(total)
        entropy -= score[k] / total * logp
        entropy_score[k] = logp
    found[0], found[1] = entropy_score[taken], entropy
    for k in range(len(params)):
        pi = score[k] / total
        score[k] = (1.0 if k == taken else 0.0) - pi
        entropy_score[k] = -pi * (entropy_score[k] + entropy)


@compiled
def draw_softmax(params: Row, uniform: Row, action: Row) -> None:
    """See :meth:`CategoricalHead.sample`."""
    below, taken, weights = 0.0, 0, np.empty(len(params))
    _, total = exponentials(params, weights)
    for k in range(len(params) - 1):
        below += weights[k]
        taken += below <= uniform[0] * total
    action[0] = taken


@compiled
def greedy_softmax(params: Row, action: Row) -> None:
    """See :meth:`CategoricalHead.greedy`."""
    best = 0
    for k in range(1, len(params)):
        if params[k] > params[best]:
            best = k
    action[0] = best


@judge_pointer
def judge(params: Row, action: Row, constants: Row, score: Row, entropy_score: Row, found: Row) -> None:
    """See :meth:`CategoricalHead.judge`."""
    judge_softmax(params, action, score, entropy_score, found)


@draw_pointer
def draw(params: Row, uniform: Row, constants: Row, action: Row) -> None:
    """See :meth:`CategoricalHead.sample`."""
    draw_softmax(params, uniform, action)


@greedy_pointer
def greedy(params: Row, uniform: Row, constants: Row, action: Row) -> None:
    """See :meth:`CategoricalHead.greedy`."""
    greedy_softmax(params, action)


class CategoricalHead:
    """π = softmax(l) over ``size`` discrete actions; ``params`` are the logits l [..., K]."""

    loops: Loops | None = Loops(judge, draw, greedy)
    closed = 0.05

    def __init__(self, size: int, start: int = 0) -> None:
        if size < 2:
            raise ValueError(f"a categorical head needs at least 2 actions, got {size}")
        self.size = self.outputs = size
        self.start = start

    @classmethod
    def of(cls, space: gymnasium.Space) -> CategoricalHead:
        """Return the head for a Discrete space. Raises UserError for any other."""
        if not isinstance(space, gymnasium.spaces.Discrete):
            raise UserError(f"action space {space} is not supported: actions must be Discrete")
        return cls(int(space.n), int(space.start))

    def numbers(self) -> Numbers:
        """Return what goes with the compiled forms."""
        return Numbers(1, as_it_is(1, self.start))

    def counted(self, rows: Tensor) -> Tensor:
        """Return k [...] of rows [..., 1]."""
        return rows[..., 0].long()

    def to_env(self, action: Tensor) -> np.ndarray:
        """Return actions counted from the space's start."""
        return action.cpu().numpy() + self.start

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a [...]."""
        return self.draw(params, uniforms(params, 1, generator))

    def draw(self, params: Tensor, uniform: Tensor) -> Tensor:
        """Return a [...] by inverting the cumulative distribution at one uniform number per row, [..., 1]."""
        below = params.softmax(-1).cumsum(-1) <= uniform
        return below.sum(-1).clamp(max=self.size - 1)

    def greedy(self, params: Tensor) -> Tensor:
        """Return argmax_k l_k [...]."""
        return params.argmax(-1)

    def log_prob(self, params: Tensor, action: Tensor) -> Tensor:
        """Return l_a - log Σ_k exp l_k [...]."""
        return params.log_softmax(-1).gather(-1, action[..., None])[..., 0]

    def judge(self, params: Tensor, action: Tensor) -> Judgement:
        """Return log π(a); 1[a = k] - π_k (Williams 1992, eq. 4); H = -Σ_k π_k log π_k; -π_k (log π_k + H)."""
        logp = params.log_softmax(-1)
        pi = logp.exp()
        chosen = action[..., None]
        entropy = -(pi * logp).sum(-1, keepdim=True)
        score = pi.neg().scatter_add_(-1, chosen, torch.ones_like(chosen, dtype=pi.dtype))
        return Judgement(logp.gather(-1, chosen)[..., 0], score, entropy[..., 0], -pi * (logp + entropy))
