"""Which rule survives being replayed on CartPole? ``lfcs compare cartpole``, what differs from a plan's defaults."""

PLAN = {
    "experiment": "cartpole",
    "replays": [1, 2, 4, 8, 16, 32],
    "seeds": 10,
    "rates": [1e-3, 3e-3, 1e-2, 3e-2],
    "agents": {
        "lf-cs": {},
        "naive-replay": {},
        "importance": {},
        "acer": {},
        "v-trace": {},
        # the control of "fast beats slow": one update per pass where lf-cs makes 16, so that 16 passes make as many
        "lf-cs slow": {"agent": "lf-cs", "settings": {"rule.tau_f": 64}, "replays": [16, 32]},
    },
}
