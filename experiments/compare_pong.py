"""Which rule survives being replayed on pong-100? ``lfcs compare pong``, what differs from a plan's defaults."""

PLAN = {
    "experiment": "pong",
    "seeds": [40, 41, 42, 43, 44],
    "grid_seeds": [201, 202],
    "grid_replays": [1, 4, 16],
    "grid_steps": 100_000,  # of full length the grid would take over two hours; short runs favour fast rates
    "rates": [3e-4, 5e-4, 1e-3, 2e-3, 3e-3, 1e-2],
    "agents": {
        "lf-cs": {},
        "naive-replay": {},
        "importance": {},
        "bptt-ppo": {"settings": {"rule.tau_f": 20}, "replays": [1, 4]},
    },
    "settings": {"train.eval_every": 50_000},
    "peers": ["PPO"],
    "note": "Left out for their time: bptt-ppo at R = 16 (9 minutes a run) and RecurrentPPO (over 20 minutes).",
}
