"""What lf-cs owes to each of its parts on CartPole, at the learning rate that the comparison of rules picked for it.

``lfcs compare cartpole-parts``, what differs from a plan's defaults.
"""

PLAN = {
    "experiment": "cartpole",
    "replays": [16],
    "seeds": [30, 31, 32, 33, 34],
    "rates": [3e-3],
    "agents": {
        "lf-cs": {},
        "two-sided mask": {"agent": "lf-cs", "settings": {"agent.mask": "two-sided"}},
        "two-sided, pulled back": {"agent": "lf-cs", "settings": {"agent.mask": "two-sided", "agent.pull": 1.0}},
        "sided, pulled back": {"agent": "lf-cs", "settings": {"agent.pull": 1.0}},
        "no homeostasis": {"agent": "lf-cs", "settings": {"rule.homeostasis": 0.0}},
        "no entropy bonus": {"agent": "lf-cs", "settings": {"rule.entropy": 0.0}},
        "no critic in the hidden signal": {"agent": "lf-cs", "settings": {"rule.critic_share": 0.0}},
        "advantages not normalised": {"agent": "lf-cs", "settings": {"rule.normalise": False}},
        "random feedback": {"agent": "lf-cs", "settings": {"rule.feedback": "random"}},
    },
    "peers": [],
}
