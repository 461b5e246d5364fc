"""What each lever of the learner is worth on Acrobot: the tuned settings without it, or with it.

``lfcs compare acrobot-levers``, what differs from a plan's defaults.
"""

PLAN = {
    "experiment": "acrobot",
    "replays": [8],
    "seeds": [50, 51, 52, 53, 54],
    "agents": {
        "lf-cs": {},
        "no critic path": {"agent": "lf-cs", "settings": {"network.critic_path": False}},
        "last weights, no mean": {"agent": "lf-cs", "settings": {"rule.average": 0}},
        "clipped apart": {"agent": "lf-cs", "settings": {"rule.clip": "apart"}},
        "homeostasis 1": {"agent": "lf-cs", "settings": {"rule.homeostasis": 1.0}},
        "eps 0.2": {"agent": "lf-cs", "settings": {"agent.eps": 0.2}},
        "8 environments": {"agent": "lf-cs", "settings": {"train.num_envs": 8}},
        "a quarter of the bonus": {"agent": "lf-cs", "settings": {"rule.entropy": 0.005}},
        "critic's lambda 1": {"agent": "lf-cs", "settings": {"rule.lam_critic": 1.0}},
        "pace, at most 0.1 away": {"agent": "lf-cs", "settings": {"rule.distance": 0.1}},
        "rewards as they are": {"agent": "lf-cs", "settings": {"rule.reward_scale": 1.0}},
        "none of them": {
            "agent": "lf-cs",
            "settings": {
                "network.critic_path": False,
                "rule.average": 0,
                "rule.clip": "together",
                "rule.homeostasis": 1.0,
                "agent.eps": 0.2,
                "rule.reward_scale": 1.0,
            },
        },
    },
    "peers": [],
}
