"""e-prop: every experience is used once, and the policy that learns is the policy that acts."""

from __future__ import annotations

from torch import Tensor

from lfcs.config import RuleConfig


class EProp:
    """Weight of d log π(a_t): A_t. One pass (R = 1) and one update per window (tau_f = tau_s = window).

    Source: Bellec et al. 2020, Methods (reward-based e-prop).
    """

    name = "e-prop"
    fixed: dict[str, str | int] = {"rule.replays": 1, "rule.tau_f": "rule.window", "rule.tau_s": "rule.window"}

    def __init__(self, rule: RuleConfig) -> None:
        self.rule = rule

    def weight(self, rho: Tensor, advantage: Tensor) -> Tensor:
        """Return A: with one pass and one update the ratio is 1 throughout."""
        return advantage
