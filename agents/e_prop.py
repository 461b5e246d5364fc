"""e-prop: every experience is used once, and the policy that learns is the policy that acts."""

from __future__ import annotations

from lfcs.agents.naive_replay import NaiveReplay


class EProp(NaiveReplay):
    """Weight of d log π(a_t): A_t. One pass (R = 1) and one update per window (tau_f = tau_s = window).

    Source: Bellec et al. 2020, Methods (reward-based e-prop).
    """

    name = "e-prop"
    fixed = {"rule.replays": 1, "rule.tau_f": "rule.window", "rule.tau_s": "rule.window"}
