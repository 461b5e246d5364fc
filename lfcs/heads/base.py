"""What a head does: it turns the output vector of a network, ``params`` [..., K], into a distribution over actions."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
import torch
from numba import types
from torch import Tensor

from lfcs.errors import UserError
from lfcs.pointers import ROW, Pointer, function_at, pointer


def _judge(f: Any) -> Any:
    return types.void(ROW, ROW, ROW, ROW, ROW, ROW)


def _draw(f: Any) -> Any:
    return types.void(ROW, ROW, ROW, ROW)


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

    ``judge`` (params, action, constants, score, entropy_score, found) writes scores and found = [log π(a), H]; ``draw``
    (params, uniform, constants, action) and ``greedy``, which has no use for the second, write an action. What goes
    with them is in :class:`Numbers`.
    """

    judge: Pointer
    draw: Pointer
    greedy: Pointer


class Numbers(NamedTuple):
    """What the compiled forms of a head are given beside parameters: see :class:`Loops`."""

    noise: int  # numbers uniform in [0, 1) that an action is drawn from
    outward: np.ndarray  # [5, A] from an action of A numbers to the environment's; see :func:`outward`
    constants: np.ndarray = np.empty(0)  # float64, whatever the head wants of them

    @property
    def width(self) -> int:
        """Numbers of an action, A."""
        return self.outward.shape[1]


def outward(scale: Any, shift: Any, low: Any, high: Any, single: bool = False) -> np.ndarray:
    """Return [5, A], by which an environment is given clip(shift + scale · a, low, high), of float32 where ``single``.

    All but ``single`` are [A].
    """
    return np.array(np.broadcast_arrays(scale, shift, low, high, float(single)), np.float64)


def as_it_is(width: int, shift: Any = 0.0) -> np.ndarray:
    """Return [5, A] of actions that an environment takes as they are, counted from ``shift`` [A]."""
    return outward(np.ones(width), shift, -np.inf, np.inf)


def uniforms(params: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return numbers uniform in [0, 1), ``count`` for each row of ``params`` [..., K]: [..., count]."""
    return torch.rand((*params.shape[:-1], count), generator=generator, dtype=params.dtype, device=params.device)


class Head(Protocol):
    """Distribution over actions with ``size`` output parameters. All results keep the leading shape of ``params``.

    ``numbers`` and ``counted`` are for a head with compiled forms.
    """

    size: int
    outputs: int  # parameters of the policy, which come first; any others belong to the critic
    closed: float  # entropy, in nats, below which nothing is explored any more; see :mod:`lfcs.verdict`
    loops: Loops | None  # None where tensor operations are all there is

    @classmethod
    def of(cls, space: Any) -> Head:
        """Return the head for an action space. Raises UserError for one that it does not fit."""

    def numbers(self) -> Numbers:
        """Return what goes with the compiled forms."""

    def counted(self, rows: Tensor) -> Tensor:
        """Return actions [...] or [..., A], as this head has them, of rows [..., A] in double precision."""

    def to_env(self, action: Tensor) -> Any:
        """Return actions as the environment takes them: an array, in a product a tuple or dictionary of such."""

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        """Draw actions."""

    def greedy(self, params: Tensor) -> Tensor:
        """Return the most probable actions."""

    def log_prob(self, params: Tensor, action: Tensor) -> Tensor:
        """Return log π(a)."""

    def judge(self, params: Tensor, action: Tensor) -> Judgement:
        """Return log-probabilities, entropies and their derivatives."""


BY_SPACE: dict[type[gymnasium.Space], Any] = {}  # filled by the package: a head may be made of others


def make_head(space: gymnasium.Space) -> Any:
    """Return the head for an action space. Raises UserError for a space without one."""
    for kind, head in BY_SPACE.items():
        if isinstance(space, kind):
            return head.of(space)
    known = ", ".join(kind.__name__ for kind in BY_SPACE)
    raise UserError(f"action space {space} is not supported: it must be one of {known}")
