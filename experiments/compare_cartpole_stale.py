"""Which rule survives older experience on CartPole? Windows kept, and lf-cs with two ratios or one.

``lfcs compare cartpole-stale``, what differs from a plan's defaults. Rates are picked with the current window alone.
"""

PLAN = {
    "experiment": "cartpole",
    "replays": [4],
    "capacities": [1, 4, 16],
    "seeds": [60, 61, 62, 63, 64, 65, 66, 67, 68, 69],
    "rates": [1e-3, 3e-3, 1e-2, 3e-2],
    "agents": {
        "lf-cs": {},
        # the ratio to the policy that acted, in place of that to the reference of now
        "lf-cs, one ratio": {"agent": "lf-cs", "settings": {"agent.decouple": False}},
        "naive-replay": {},
        "importance": {},
        "acer": {},
        "v-trace": {},
        "bptt-ppo": {},
    },
    "peers": [],
}
