"""lf-cs: replay bounded by the ratio to the reference policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from lfcs import rules
from lfcs.agent import Agent, Loops, Sample, weight_pointer
from lfcs.config import RuleConfig, setting
from lfcs.errors import UserError
from lfcs.kernels import compiled
from lfcs.pointers import Row


@compiled
def outside(rho: np.ndarray, eps: float) -> float:
    """Return the share of ratios [n] that are farther than ε from 1."""
    count = 0
    for ratio in rho:
        count += abs(ratio - 1.0) > eps
    return count / len(rho)


@weight_pointer
def weight(rho: float, advantage: float, stale: float, constants: Row) -> float:
    """See :meth:`LfCs.weight`, and :meth:`LfCs.error` for older steps."""
    eps, sided, pull, stale_bar = constants[0], constants[1], constants[2], constants[3]
    if sided:
        mask = 1.0 if np.sign(advantage) * (rho - 1.0) < eps else 0.0
    else:
        mask = 1.0 if 1.0 - eps < rho < 1.0 + eps else 0.0
    out = mask * rho * advantage
    if pull:
        out -= pull * (1.0 - mask) * (rho - 1.0) * rho
    return out if stale < 0.0 else min(stale, stale_bar) * out


class LfCs(Agent):
    """Weight of d log π_new(a_t): m_t ρ_t A_t, with ρ_t = π_new/π_ref and the mask m_t of width ε.

    The sided mask is PPO's; the two-sided mask is the online form, which needs no sign of A_t but never pulls a ratio
    back unless it is pulled: where the mask is closed, -c_pull (ρ - 1) ρ, the gradient of -c_pull (ρ - 1)² / 2, is the
    weight. Source: Capone & Muratore, arXiv:2402.10069; Schulman et al., arXiv:1707.06347, eq. (7).

    Of older windows, ρ_t stays the ratio to the reference of now, and min(c̄, π_ref/π_acting) weighs the step.
    Source: Hilton, Cobbe & Schulman, arXiv:2110.00641, the decoupled objective; truncated as in arXiv:1912.00167.
    """

    name = "lf-cs"
    online = True
    metrics = ("train/clip_fraction",)

    @dataclass(frozen=True)
    class Options:
        """What lf-cs reads beside the settings of all rules."""

        eps: float = setting(
            0.4, "stiffness: half-width of the trust region of the ratio", low=1e-6, high=1e6, search="0.1..0.4:log"
        )
        mask: str = setting("sided", "trust-region mask", choices=("sided", "two-sided"))
        pull: float = setting(0.0, "restoring force on a ratio where the mask is closed", low=0.0, high=1e3)
        decouple: bool = setting(True, "older windows: ratio to the reference of now, not to the policy that acted")
        stale_bar: float = setting(2.0, "older windows: largest weight reference/acting of a step", low=1e-6, high=1e6)

    def __init__(self, rule: RuleConfig, options: Any = None) -> None:
        super().__init__(rule, options)
        self.decoupled = self.options.decouple
        if rule.form == "online" and self.options.mask != "two-sided":
            raise UserError(f"agent {self.name}: rule.form=online needs agent.mask=two-sided")

    def weight(self, rho: Tensor, advantage: Tensor) -> Tensor:
        """Return m ρ A - c_pull (1 - m) (ρ - 1) ρ, of the shape of ``rho``."""
        if self.options.mask == "sided":
            mask = rules.mask_sided(rho, advantage, self.options.eps)
        else:
            mask = rules.mask_two_sided(rho, self.options.eps)
        weight = mask * rho * advantage
        if self.options.pull:
            weight = weight - self.options.pull * (1.0 - mask) * (rho - 1.0) * rho
        return weight

    def error(self, sample: Sample) -> Tensor:
        """Return the change wanted of the logits, each older step weighed by its min(c̄, π_ref/π_acting)."""
        error = super().error(sample)
        if sample.stale is None:
            return error
        return sample.stale.clamp(max=self.options.stale_bar)[..., None] * error

    def loops(self) -> Loops | None:
        """See :meth:`Agent.loops`."""
        own = self.options
        return Loops(weight, (own.eps, float(own.mask == "sided"), own.pull, own.stale_bar))

    def measure(self, rho: np.ndarray) -> dict[str, float]:
        """Return the share of steps whose ratio is outside the band."""
        return {"train/clip_fraction": outside(rho.reshape(-1), self.options.eps)}
