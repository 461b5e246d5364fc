"""Random: actions are drawn from what a head begins with, and nothing is learned."""

from __future__ import annotations

from lfcs.agents.naive_replay import NaiveReplay


class Random(NaiveReplay):
    """Outputs that start at 0 and stay there: π_k = 1/K for choices, for numbers the Gaussian that is the start."""

    name = "random"
    fixed = {
        "network.readout_gain": 0.0, "rule.lr_readout": 0.0, "rule.lr_hidden": 0.0, "rule.lr_path": 0.0,
        "rule.replays": 1,
        "rule.tau_f": "rule.window", "rule.tau_s": "rule.window",
    }  # fmt: skip
