"""Which rule survives older experience on pong-100? Windows kept, and lf-cs with two ratios or one.

``lfcs compare pong-stale``, what differs from a plan's defaults. Rates are picked with the current window alone.
"""

PLAN = {
    "experiment": "pong",
    "replays": [4],
    "capacities": [1, 4, 16],
    "seeds": [60, 61, 62, 63, 64],
    "grid_seeds": [201, 202],
    "steps": 60_000,  # the script's own are 250,000: this is 161 runs
    "grid_steps": 40_000,
    "rates": [5e-4, 1e-3, 2e-3, 3e-3],
    "agents": {
        "lf-cs": {},
        "lf-cs, one ratio": {"agent": "lf-cs", "settings": {"agent.decouple": False}},
        "naive-replay": {},
        "importance": {},
        "acer": {},
        "v-trace": {},
        "bptt-ppo": {"settings": {"rule.tau_f": 20}},
    },
    "settings": {"train.eval_every": 20_000},
    "peers": [],
}
