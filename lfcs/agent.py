"""What differs between learning rules: the base of all agents, with the choices that most of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types
from torch import Tensor

from lfcs import rules
from lfcs.config import NoOptions, RuleConfig
from lfcs.engines import Engine
from lfcs.errors import UserError
from lfcs.heads import Head, Judgement, make_head
from lfcs.network import SpikingNetwork
from lfcs.pointers import F64, ROW, Pointer, function_at, pointer


def _weight(f: Any) -> Any:
    return F64(F64, F64, F64, ROW)


def _error(f: Any) -> Any:
    return types.void(ROW, ROW, ROW, ROW, ROW, ROW, ROW)


weight_pointer, weight_at = pointer(_weight), function_at(_weight)
error_pointer, error_at = pointer(_error), function_at(_error)


@error_pointer
def weight_alone(
    params: np.ndarray,
    params_ref: np.ndarray,
    action: np.ndarray,
    score: np.ndarray,
    known: np.ndarray,
    constants: np.ndarray,
    error: np.ndarray,
) -> None:
    """Leave the error of a step as it is, weight · score."""


class Loops(NamedTuple):
    """The compiled forms of a rule's ``weight`` and ``error``, of one step in double precision.

    ``weight`` (rho, advantage, stale, constants) returns the factor of the score; ``stale`` is -1 where there is none.
    ``error`` (params, params_ref, action, score, known, constants, error) adds to weight · score what the rule wants
    beside it; ``known`` is [ρ, A, A in units of the return, one unit of A in units of the return]. ``constants`` are
    the rule's numbers. ``bars`` are ρ̄ and c̄ where the credit is V-trace's, None where it is generalised estimation.
    """

    weight: Pointer
    constants: tuple[float, ...] = ()
    error: Pointer = weight_alone
    bars: tuple[float, float] | None = None


class Sample(NamedTuple):
    """A chunk of S steps of B environments as the new policy sees it."""

    params: Tensor  # [S, B, P] parameters of the new policy's head
    params_ref: Tensor  # [S, B, P] those of the policy that the ratio is to
    action: Tensor  # [S, B]
    judged: Judgement
    rho: Tensor  # [S, B] ratio of the taken action
    advantage: Tensor  # [S, B], normalised over the window if the rule says so
    raw_advantage: Tensor  # [S, B] in units of the return
    scale: Tensor  # one unit of ``advantage`` in units of the return
    stale: Tensor | None = None  # [S, B] reference/acting ratio of replayed older steps, None where they are the same


class Agent(ABC):
    """A learning rule: it goes along Σ_t error_t · d params_t/dW, by default error_t = weight_t d log π/d params.

    A rule's own options are the fields of its dataclass ``Options``, declared with :func:`lfcs.config.setting`; they
    are the settings ``agent.*`` and stand in ``self.options``. What all rules share stands in ``self.rule``.
    """

    name = ""
    Options: type = NoOptions
    fixed: dict[
        str, str | int | float
    ] = {}  # settings the rule stands for; the name of another setting is that one's value
    metrics: tuple[str, ...] = ()  # the keys of what :meth:`measure` returns
    engine: Callable[[SpikingNetwork], Engine] | None = None  # what the new policy needs; None is the run's engine
    online = False  # whether it has an online form: local, its error linear in an advantage of generalised estimation
    looks = False  # whether credit needs the ratios of the whole window before the first pass
    decoupled = False  # whether the ratio of replayed older steps is to the reference of now; see Sample.stale

    def __init__(self, rule: RuleConfig, options: Any = None) -> None:
        if rule.form == "online" and not self.online:
            raise UserError(f"agent {self.name or type(self).__name__} has no online form: it needs rule.form=window")
        self.rule, self.options = rule, self.Options() if options is None else options

    def head(self, space: Any) -> Head:
        """Return the head for an action space. Raises UserError for a space without one."""
        return make_head(space)

    def credit(self, reward: Tensor, value: Tensor, v_next: Tensor, ends: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
        """Return advantages and the critic's targets, all [T, B]; ``rho`` is of the latest look at the window."""
        rule, delta = self.rule, rules.td_error(reward, value, v_next, self.rule.gamma)
        advantage = rules.advantages(delta, ends, rule.gamma, rule.lam)
        if rule.lam_critic <= rule.lam:
            return advantage, advantage + value
        return advantage, rules.advantages(delta, ends, rule.gamma, rule.lam_critic) + value

    @abstractmethod
    def weight(self, rho: Tensor, advantage: Tensor) -> Tensor:
        """Return the factor of d log π_new(a_t) in the update, of the shape of ``rho``."""

    def error(self, sample: Sample) -> Tensor:
        """Return what the head's parameters should change by, [S, B, P]."""
        return self.weight(sample.rho, sample.advantage)[..., None] * sample.judged.score

    def loops(self) -> Loops | None:
        """Return the compiled forms of :meth:`weight`, :meth:`error` and :meth:`credit`, None where there are none.

        A class that overrides one of those without this method has none.
        """
        return None

    def measure(self, rho: np.ndarray) -> dict[str, float]:
        """Return what the rule itself tells of a pass, from its ratios [T, B]: a number for each of ``metrics``."""
        return {}
