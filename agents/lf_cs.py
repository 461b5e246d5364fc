"""lf-cs: replay bounded by the ratio to the reference policy."""

from __future__ import annotations

from torch import Tensor

from lfcs import rules
from lfcs.agent import Agent


class LfCs(Agent):
    """Weight of d log π_new(a_t): m_t ρ_t A_t, with ρ_t = π_new/π_ref and the mask m_t of width ε.

    The sided mask is PPO's; the two-sided mask is the online form, which needs no sign of A_t but never pulls a ratio
    back unless it is pulled: where the mask is closed, -c_pull (ρ - 1) ρ, the gradient of -c_pull (ρ - 1)² / 2, is the
    weight. Source: Capone & Muratore, arXiv:2402.10069; Schulman et al., arXiv:1707.06347, eq. (7).
    """

    name = "lf-cs"

    def weight(self, rho: Tensor, advantage: Tensor) -> Tensor:
        """Return m ρ A - c_pull (1 - m) (ρ - 1) ρ, of the shape of ``rho``."""
        if self.rule.mask == "sided":
            mask = rules.mask_sided(rho, advantage, self.rule.eps)
        else:
            mask = rules.mask_two_sided(rho, self.rule.eps)
        weight = mask * rho * advantage
        if self.rule.pull:
            weight = weight - self.rule.pull * (1.0 - mask) * (rho - 1.0) * rho
        return weight
