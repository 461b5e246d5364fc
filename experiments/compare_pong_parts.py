"""What lf-cs owes to homeostasis and to its mask on pong-100, at its tuned learning rate.

``lfcs compare pong-parts``, what differs from a plan's defaults.
"""

PLAN = {
    "experiment": "pong",
    "replays": [16],
    "seeds": [30, 31, 32, 33, 34],
    "rates": [2e-3],
    "agents": {
        "lf-cs": {},
        "homeostasis 1": {"agent": "lf-cs", "settings": {"rule.homeostasis": 1.0}},
        "no homeostasis": {"agent": "lf-cs", "settings": {"rule.homeostasis": 0.0}},
        "two-sided mask": {"agent": "lf-cs", "settings": {"agent.mask": "two-sided"}},
        "two-sided, pulled back": {"agent": "lf-cs", "settings": {"agent.mask": "two-sided", "agent.pull": 1.0}},
    },
    "settings": {"train.eval_every": 50_000},
    "peers": [],
}
