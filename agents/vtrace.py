"""V-trace: truncated ratios in the targets of critic and policy."""

from __future__ import annotations

from torch import Tensor

from lfcs import rules
from lfcs.agent import Agent


class VTrace(Agent):
    """Weight of d log π_new(a_t): min(ρ̄, ρ_t) A_t, with A_t and the critic's target from V-trace.

    The ratios in the targets are those of the pass before. Source: Espeholt et al., arXiv:1802.01561, eqs. (1) and (4).
    """

    name = "v-trace"
    online = False  # its targets need the ratios of the steps to come
    looks = True

    def credit(self, reward: Tensor, value: Tensor, v_next: Tensor, ends: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
        """Return V-trace advantages and targets."""
        rule = self.rule
        return rules.vtrace(reward, value, v_next, ends, rho, rule.gamma, rule.lam, rule.rho_bar, rule.c_bar)

    def weight(self, rho: Tensor, advantage: Tensor) -> Tensor:
        """Return min(ρ̄, ρ) A."""
        return rho.clamp(max=self.rule.rho_bar) * advantage
