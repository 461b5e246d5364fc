"""What happens on pong-100 when a learning rate that was picked for a few passes is kept for many.

``lfcs compare pong-one-rate``, what differs from a plan's defaults.
"""

PLAN = {
    "experiment": "pong",
    "grid_seeds": [201, 202],
    "grid_steps": 100_000,
    "rates": [5e-4, 1e-3, 2e-3],
    "agents": {
        "lf-cs": {},
        "naive-replay": {},
        "importance": {},
        "bptt-ppo": {"settings": {"rule.tau_f": 20}, "replays": [1, 4]},
    },
    "settings": {"train.eval_every": 50_000},
    "peers": [],
    "note": "Every agent's rate is picked at R = 4 and kept at the other R. bptt-ppo at R = 16 left out for its time.",
}
