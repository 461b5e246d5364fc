"""Random: every action is as likely as any other, and nothing is learned."""

from __future__ import annotations

from lfcs.agents.naive_replay import NaiveReplay


class Random(NaiveReplay):
    """π_k = 1/K: logits that start at 0 and stay there."""

    name = "random"
    fixed = {
        "network.readout_gain": 0.0, "rule.lr_readout": 0.0, "rule.lr_hidden": 0.0, "rule.replays": 1,
        "rule.tau_f": "rule.window", "rule.tau_s": "rule.window",
    }  # fmt: skip
