"""Truncated importance sampling with bias correction, as in ACER, with a critic of actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from lfcs import rules
from lfcs.agent import Agent, Loops, Sample, error_pointer, weight_pointer
from lfcs.config import setting
from lfcs.errors import UserError
from lfcs.heads import ActionValueHead, Head
from lfcs.heads.categorical import softmax
from lfcs.pointers import Row


@weight_pointer
def weight(rho: float, advantage: float, stale: float, constants: Row) -> float:
    """See :meth:`Acer.weight`."""
    return min(rho, constants[0]) * advantage


@error_pointer
def correct(
    params: np.ndarray,
    params_ref: np.ndarray,
    action: np.ndarray,
    score: np.ndarray,
    known: np.ndarray,
    constants: np.ndarray,
    error: np.ndarray,
) -> None:
    """Add the correction, and write what the action advantages should change by; see :meth:`Acer.error`."""
    actions, truncation, value = len(params) // 2, constants[0], constants[1]
    pi, pi_ref, missing = np.empty(actions), np.empty(actions), np.empty(actions)
    softmax(params, pi)
    softmax(params_ref, pi_ref)
    alpha, mean, total = params[actions:], 0.0, 0.0
    for k in range(actions):
        mean += pi[k] * alpha[k]
    for k in range(actions):
        missing[k] = max(pi[k] - truncation * pi_ref[k], 0.0) * (alpha[k] - mean) / known[3]
        total += missing[k]
    miss = known[2] - (alpha[int(action[0])] - mean)
    for k in range(actions):
        error[k] += missing[k] - pi[k] * total
        error[actions + k] = value * miss * score[k]


class Acer(Agent):
    """Truncates the ratio at c and makes up for what that leaves out with the critic's own view of all actions.

        min(c, ρ_t) A_t d log π(a_t) + Σ_k [1 - c/ρ_k]₊ π_k (Q_k - V) d log π(k)

    where [1 - c/ρ_k]₊ π_k = [π_k - c π_ref,k]₊, which is sound where both policies have a probability of 0.

    The critic of actions is dueling, Q_k - V = α_k - Σ_j π_j α_j, and follows the advantage of the taken action, whose
    targets are V-trace's with ρ̄ = c̄ = 1, which is Retrace for a state's value. ACER's trust region on the average
    policy and its replay memory are not part of this. Source: Wang et al., arXiv:1611.01224, eqs. (7) and (9).
    """

    name = "acer"
    looks = True

    @dataclass(frozen=True)
    class Options:
        """What ACER reads beside the settings of all rules."""

        truncation: float = setting(10.0, "largest ratio c of the truncated part", low=1.0, high=1e6)

    def head(self, space: Any) -> Head:
        """Return a categorical head with action advantages α beside the logits. Raises UserError for other actions."""
        if not isinstance(space, gymnasium.spaces.Discrete):
            raise UserError(f"agent {self.name} has a critic of every action: actions must be Discrete")
        return ActionValueHead(super().head(space))

    def credit(self, reward: Tensor, value: Tensor, v_next: Tensor, ends: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
        """Return V-trace advantages and targets with ρ̄ = c̄ = 1."""
        return rules.vtrace(reward, value, v_next, ends, rho, self.rule.gamma, self.rule.lam, 1.0, 1.0)

    def weight(self, rho: Tensor, advantage: Tensor) -> Tensor:
        """Return min(c, ρ) A."""
        return rho.clamp(max=self.options.truncation) * advantage

    def error(self, sample: Sample) -> Tensor:
        """Return the change wanted of the logits, with the correction's, and of the action advantages."""
        actions = sample.params.shape[-1] // 2
        logits, alpha = sample.params.split(actions, dim=-1)
        pi, pi_ref = logits.softmax(-1), sample.params_ref[..., :actions].softmax(-1)
        centred = alpha - (pi * alpha).sum(-1, keepdim=True)
        missing = (pi - self.options.truncation * pi_ref).clamp(min=0.0) * centred / sample.scale
        correction = missing - pi * missing.sum(-1, keepdim=True)  # Σ_k missing_k (1[j = k] - π_j)
        score = sample.judged.score[..., :actions]
        policy = self.weight(sample.rho, sample.advantage)[..., None] * score + correction
        miss = sample.raw_advantage - centred.gather(-1, sample.action[..., None])[..., 0]
        return torch.cat((policy, self.rule.value * miss[..., None] * score), dim=-1)

    def loops(self) -> Loops | None:
        """See :meth:`Agent.loops`."""
        return Loops(weight, (self.options.truncation, self.rule.value), correct, bars=(1.0, 1.0))
