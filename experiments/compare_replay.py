"""Which rule survives being replayed? Tasks x agents x replays x seeds, as literal settings.

    lfcs compare cartpole|cartpole-parts|pong|pong-one-rate|pong-parts [--jobs N] [--peers]
    lfcs compare my_comparison.json                      a file with one dictionary of the form of those below

``agents`` maps a label to the agent and any settings of its own. Every label's learning rate is picked from ``rates``
by the same rule: the highest interquartile mean of the final sampled return after ``grid_steps``, over ``grid_seeds``,
which are not reported. That is done at each of ``grid_replays`` passes, and every number of ``replays`` has the rate of
the nearest of them. The hidden layer's rate keeps its share of it. ``peers`` are what ``--peers`` adds, and ``note`` is
said in the report.
"""

from __future__ import annotations

import sys
from typing import Any

from lfcs import cli

COMPARISONS: dict[str, dict[str, Any]] = {
    "cartpole": {
        "experiment": "cartpole",
        "steps": 50_000,
        "replays": [1, 2, 4, 8, 16, 32],
        "seeds": list(range(10, 20)),
        "grid_seeds": [201, 202, 203],
        "grid_replays": [4],
        "grid_steps": 50_000,
        "rates": [1e-3, 3e-3, 1e-2, 3e-2],
        "agents": {
            "lf-cs": {"agent": "lf-cs"},
            "naive-replay": {"agent": "naive-replay"},
            "importance": {"agent": "importance"},
            "acer": {"agent": "acer"},
            "v-trace": {"agent": "v-trace"},
            # the control of "fast beats slow": one update per pass where lf-cs makes 16, so that 16 passes make as many
            "lf-cs slow": {"agent": "lf-cs", "settings": {"rule.tau_f": 64}, "replays": [16, 32]},
        },
        "settings": {},
        "peers": ["PPO", "RecurrentPPO"],
        "note": "",
    },
    # what lf-cs owes to each of its parts, at the learning rate that the comparison above picks
    "cartpole-parts": {
        "experiment": "cartpole",
        "steps": 50_000,
        "replays": [16],
        "seeds": list(range(30, 35)),
        "grid_seeds": [201],
        "grid_replays": [1],
        "grid_steps": 50_000,
        "rates": [3e-3],
        "agents": {
            "lf-cs": {"agent": "lf-cs"},
            "two-sided mask": {"agent": "lf-cs", "settings": {"rule.mask": "two-sided"}},
            "two-sided, pulled back": {"agent": "lf-cs", "settings": {"rule.mask": "two-sided", "rule.pull": 1.0}},
            "sided, pulled back": {"agent": "lf-cs", "settings": {"rule.pull": 1.0}},
            "no homeostasis": {"agent": "lf-cs", "settings": {"rule.homeostasis": 0.0}},
            "no entropy bonus": {"agent": "lf-cs", "settings": {"rule.entropy": 0.0}},
            "no critic in the hidden signal": {"agent": "lf-cs", "settings": {"rule.critic_share": 0.0}},
            "advantages not normalised": {"agent": "lf-cs", "settings": {"rule.normalise": False}},
            "random feedback": {"agent": "lf-cs", "settings": {"rule.feedback": "random"}},
        },
        "settings": {},
        "peers": [],
        "note": "",
    },
    "pong": {
        "experiment": "pong",
        "steps": 250_000,
        "replays": [1, 4, 16],
        "seeds": list(range(40, 45)),
        "grid_seeds": [201, 202],
        "grid_replays": [1, 4, 16],
        "grid_steps": 100_000,  # of full length the grid would take over two hours; short runs favour fast rates
        "rates": [3e-4, 5e-4, 1e-3, 2e-3, 3e-3, 1e-2],
        "agents": {
            "lf-cs": {"agent": "lf-cs"},
            "naive-replay": {"agent": "naive-replay"},
            "importance": {"agent": "importance"},
            "bptt-ppo": {"agent": "bptt-ppo", "settings": {"rule.tau_f": 20}, "replays": [1, 4]},
        },
        "settings": {"train.eval_every": 50_000},
        "peers": ["PPO"],
        "note": "Left out for their time: bptt-ppo at R = 16 (9 minutes a run) and RecurrentPPO (over 20 minutes).",
    },
    "pong-parts": {
        "experiment": "pong",
        "steps": 250_000,
        "replays": [16],
        "seeds": list(range(30, 35)),
        "grid_seeds": [201],
        "grid_replays": [1],
        "grid_steps": 2_000,
        "rates": [2e-3],
        "agents": {
            "lf-cs": {"agent": "lf-cs"},
            "homeostasis 1": {"agent": "lf-cs", "settings": {"rule.homeostasis": 1.0}},
            "no homeostasis": {"agent": "lf-cs", "settings": {"rule.homeostasis": 0.0}},
            "two-sided mask": {"agent": "lf-cs", "settings": {"rule.mask": "two-sided"}},
            "two-sided, pulled back": {"agent": "lf-cs", "settings": {"rule.mask": "two-sided", "rule.pull": 1.0}},
        },
        "settings": {"train.eval_every": 50_000},
        "peers": [],
        "note": "",
    },
}
# what happens when a rate that was picked for a few passes is kept for many
COMPARISONS["pong-one-rate"] = COMPARISONS["pong"] | {
    "seeds": list(range(10, 15)),
    "grid_replays": [4],
    "rates": [5e-4, 1e-3, 2e-3],
    "peers": [],
    "note": "Every agent's rate is picked at R = 4 and kept at the other R. bptt-ppo at R = 16 left out for its time.",
}

if __name__ == "__main__":
    raise SystemExit(cli.main(["compare", *sys.argv[1:]]))
