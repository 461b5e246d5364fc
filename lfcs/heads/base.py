"""What a head does: it turns the output vector of a network, ``params`` [..., K], into a distribution over actions."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numba import types
from torch import Tensor

from lfcs.pointers import ROW, Pointer, function_at, pointer


def _judge(f: Any) -> Any:
    return types.void(ROW, ROW, ROW, ROW, ROW)


def _draw(f: Any) -> Any:
    return types.void(ROW, ROW, ROW)


judge_pointer, judge_at = pointer(_judge), function_at(_judge)
draw_pointer = greedy_pointer = pointer(_draw)
draw_at = function_at(_draw)


class Judgement(NamedTuple):
    """What learning needs to know of taken actions."""

    log_prob: Tensor  # log π(a) [...]
    score: Tensor  # d log π(a)/d params [..., K], the head's part of the local gradient
    entropy: Tensor  # H [...], in nats
    entropy_score: Tensor  # dH/d params [..., K]


class Loops(NamedTuple):
    """The compiled forms of a head's ``judge``, ``sample`` and ``greedy``, for one row in double precision.

    ``judge`` (params, action, score, entropy_score, found) writes scores and found = [log π(a), H]; ``draw`` (params,
    uniform, action) and ``greedy``, which has no use for the second, write an action of ``width`` numbers.
    """

    judge: Pointer
    draw: Pointer
    greedy: Pointer
    noise: int = 1  # numbers uniform in [0, 1) that an action is drawn from
    width: int = 1  # numbers of an action


class Head(Protocol):
    """Distribution over actions with ``size`` output parameters. All results keep the leading shape of ``params``."""

    size: int
    outputs: int  # parameters of the policy, which come first; any others belong to the critic
    loops: Loops | None  # None where tensor operations are all there is

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
