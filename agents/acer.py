"""Truncated importance sampling with bias correction, as in ACER, with a critic of actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lfcs import rules
from lfcs.agent import Agent, Sample
from lfcs.config import setting
from lfcs.heads import ActionValueHead, Head


class Acer(Agent):
    """Truncates the ratio at c and makes up for what that leaves out with the critic's own view of all actions.

        min(c, ρ_t) A_t d log π(a_t) + Σ_k [1 - c/ρ_k]₊ π_k (Q_k - V) d log π(k)

    The critic of actions is dueling, Q_k - V = α_k - Σ_j π_j α_j, and follows the advantage of the taken action, whose
    targets are V-trace's with ρ̄ = c̄ = 1, which is Retrace for a state's value. ACER's trust region on the average
    policy and its replay memory are not part of this. Source: Wang et al., arXiv:1611.01224, eqs. (7) and (9).
    """

    name = "acer"
    looks = True

    @dataclass(frozen=True)
    class Options:
        """What ACER reads beside the settings of all rules."""

        truncation: float = setting(10.0, "largest ratio c of the truncated part", low=1.0)

    def head(self, space: Any) -> Head:
        """Return a categorical head with action advantages α beside the logits."""
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
        missing = (1.0 - self.options.truncation * pi_ref / pi).clamp(min=0.0) * pi * centred / sample.scale
        correction = missing - pi * missing.sum(-1, keepdim=True)  # Σ_k missing_k (1[j = k] - π_j)
        score = sample.judged.score[..., :actions]
        policy = self.weight(sample.rho, sample.advantage)[..., None] * score + correction
        miss = sample.raw_advantage - centred.gather(-1, sample.action[..., None])[..., 0]
        return torch.cat((policy, self.rule.value * miss[..., None] * score), dim=-1)
