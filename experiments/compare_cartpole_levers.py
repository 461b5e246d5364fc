"""What each lever of the learner is worth on CartPole: the tuned settings without it, or with it.

``lfcs compare cartpole-levers``, what differs from a plan's defaults.
"""

PLAN = {
    "experiment": "cartpole",
    "replays": [4],
    "seeds": [50, 51, 52, 53, 54],
    "agents": {
        "lf-cs": {},
        "no critic path": {"agent": "lf-cs", "settings": {"network.critic_path": False}},
        "last weights, no mean": {"agent": "lf-cs", "settings": {"rule.average": 0}},
        "clipped together": {"agent": "lf-cs", "settings": {"rule.clip": "together"}},
        "homeostasis 1": {"agent": "lf-cs", "settings": {"rule.homeostasis": 1.0}},
        "eps 0.2": {"agent": "lf-cs", "settings": {"agent.eps": 0.2}},
        "16 environments": {"agent": "lf-cs", "settings": {"train.num_envs": 16}},
        "critic's lambda 1": {"agent": "lf-cs", "settings": {"rule.lam_critic": 1.0}},
        "pace, at most 0.1 away": {"agent": "lf-cs", "settings": {"rule.distance": 0.1}},
        "rewards scaled by their size": {"agent": "lf-cs", "settings": {"rule.reward_scale": 0.0}},
        "none of them": {
            "agent": "lf-cs",
            "settings": {
                "network.critic_path": False,
                "rule.average": 0,
                "rule.clip": "together",
                "rule.homeostasis": 1.0,
                "agent.eps": 0.2,
                "train.num_envs": 16,
                "rule.reward_scale": 1.0,
            },
        },
    },
    "peers": [],
}
