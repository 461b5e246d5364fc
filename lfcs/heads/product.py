"""Heads side by side, for actions that have parts.

    π(a) = Π_i π_i(a_i) ,  log π = Σ_i log π_i ,  H = Σ_i H_i

``params`` are those of all parts one after the other, and so are the numbers of an action.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from lfcs.errors import UserError
from lfcs.heads.base import (
    Judgement,
    Loops,
    Numbers,
    draw_at,
    draw_pointer,
    greedy_pointer,
    judge_at,
    judge_pointer,
    make_head,
    uniforms,
)
from lfcs.kernels import inner
from lfcs.pointers import Row

FIELDS = 7  # numbers of a part before its own constants: see ``described``


def described(part: Any) -> np.ndarray:
    """Return what the compiled forms know of a part: addresses, numbers of each kind, its own constants.

    An address is below 2^53, so that double precision holds it.
    """
    numbers, loops = part.numbers(), part.loops
    at = loops.judge.address(), loops.draw.address(), loops.greedy.address()
    return np.array([*at, part.size, numbers.noise, numbers.width, len(numbers.constants), *numbers.constants])


@inner
def choose(which: int, params: Row, uniform: Row, constants: Row, action: Row) -> None:
    """Let every part choose its own part of an action: drawn where ``which`` is 1, greedy where 2."""
    at, p, u, a = 0, 0, 0, 0
    while at < len(constants):
        size, noise, width = int(constants[at + 3]), int(constants[at + 4]), int(constants[at + 5])
        following = at + FIELDS + int(constants[at + 6])
        function = draw_at(int(constants[at + which]), params)
        own = uniform[u : u + noise], constants[at + FIELDS : following], action[a : a + width]
        function(params[p : p + size], own[0], own[1], own[2])
        at, p, u, a = following, p + size, u + noise, a + width


@judge_pointer
def judge(params: Row, action: Row, constants: Row, score: Row, entropy_score: Row, found: Row) -> None:
    """See :meth:`ProductHead.judge`."""
    at, p, a, own = 0, 0, 0, np.empty(2)
    found[0], found[1] = 0.0, 0.0
    while at < len(constants):
        size, width, following = int(constants[at + 3]), int(constants[at + 5]), at + FIELDS + int(constants[at + 6])
        function, kept = judge_at(int(constants[at]), params), constants[at + FIELDS : following]
        end = p + size
        function(params[p:end], action[a : a + width], kept, score[p:end], entropy_score[p:end], own)
        found[0] += own[0]
        found[1] += own[1]
        at, p, a = following, end, a + width


@draw_pointer
def draw(params: Row, uniform: Row, constants: Row, action: Row) -> None:
    """See :meth:`ProductHead.draw`."""
    choose(1, params, uniform, constants, action)


@greedy_pointer
def greedy(params: Row, uniform: Row, constants: Row, action: Row) -> None:
    """See :meth:`ProductHead.greedy`."""
    choose(2, params, uniform, constants, action)


class ProductHead:
    """Independent ``parts``, of a Tuple or, with ``keys``, of a Dict; actions are rows [..., A] in double precision.

    It has compiled forms where every part is of a class that declares its own.
    """

    loops: Loops | None = Loops(judge, draw, greedy)

    def __init__(self, parts: Sequence[Any], keys: Sequence[Any] | None = None) -> None:
        self.parts, self.keys = list(parts), keys
        self.size = self.outputs = sum(part.size for part in parts)
        self.closed = sum(part.closed for part in parts)
        numbers = [part.numbers() for part in parts]
        self.noise, self.widths = [n.noise for n in numbers], [n.width for n in numbers]
        self.outward = np.concatenate([n.outward for n in numbers], axis=1)
        if any(part.loops is None or "loops" not in vars(type(part)) for part in parts):
            self.loops = None

    @classmethod
    def of(cls, space: gymnasium.Space) -> ProductHead:
        """Return the head for a Tuple or Dict. Raises UserError for any other, an empty one, or a part without head."""
        if isinstance(space, gymnasium.spaces.Dict) and len(space.spaces):
            return cls([make_head(part) for part in space.spaces.values()], list(space.spaces))
        if isinstance(space, gymnasium.spaces.Tuple) and len(space.spaces):
            return cls([make_head(part) for part in space.spaces])
        raise UserError(f"action space {space} is not supported: it must be a Tuple or Dict of spaces")

    def numbers(self) -> Numbers:
        """Return what goes with the compiled forms."""
        known = [] if self.loops is None else [described(part) for part in self.parts]
        return Numbers(sum(self.noise), self.outward, np.concatenate([np.empty(0), *known]))

    def counted(self, rows: Tensor) -> Tensor:
        """Return the rows."""
        return rows

    def to_env(self, action: Tensor) -> Any:
        """Return the parts' actions as a tuple, or as a dictionary."""
        given = tuple(part.to_env(own) for part, own in zip(self.parts, self._actions(action), strict=True))
        return given if self.keys is None else dict(zip(self.keys, given, strict=True))

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a [..., A]."""
        return self.draw(params, uniforms(params, sum(self.noise), generator))

    def draw(self, params: Tensor, uniform: Tensor) -> Tensor:
        """Return a [..., A] from uniform numbers [..., U], each part from its own."""
        own = uniform.split(self.noise, dim=-1)
        of = zip(self.parts, self._params(params), own, strict=True)
        return self._rows(params, [part.draw(p, u) for part, p, u in of])

    def greedy(self, params: Tensor) -> Tensor:
        """Return each part's most probable action [..., A]."""
        of = zip(self.parts, self._params(params), strict=True)
        return self._rows(params, [part.greedy(p) for part, p in of])

    def log_prob(self, params: Tensor, action: Tensor) -> Tensor:
        """Return Σ_i log π_i(a_i) [...]."""
        of = zip(self.parts, self._params(params), self._actions(action), strict=True)
        return torch.stack([part.log_prob(p, a) for part, p, a in of]).sum(0)

    def judge(self, params: Tensor, action: Tensor) -> Judgement:
        """Return the sums of log-probabilities and entropies; derivatives are those of the parts."""
        of = zip(self.parts, self._params(params), self._actions(action), strict=True)
        log_prob, score, entropy, entropy_score = zip(*[part.judge(p, a) for part, p, a in of], strict=True)
        whole = torch.cat(score, dim=-1), torch.stack(entropy).sum(0), torch.cat(entropy_score, dim=-1)
        return Judgement(torch.stack(log_prob).sum(0), *whole)

    def _params(self, params: Tensor) -> Sequence[Tensor]:
        return params.split([part.size for part in self.parts], dim=-1)

    def _actions(self, action: Tensor) -> list[Tensor]:
        """Return the parts' actions, as they have them, of actions [..., A]."""
        rows = action.split(self.widths, dim=-1)
        return [part.counted(row) for part, row in zip(self.parts, rows, strict=True)]

    def _rows(self, params: Tensor, actions: Sequence[Tensor]) -> Tensor:
        """Return actions [..., A] of the parts' actions, [...] or [..., A_i]."""
        lead = params.shape[:-1]
        return self.counted(torch.cat([action.double().reshape(*lead, -1) for action in actions], dim=-1))
