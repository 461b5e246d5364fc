"""CartPole-v1: keep a pole upright for 500 steps. Tuned on seeds 100 to 102."""

from lfcs.cli import experiment_main

SETTINGS = {
    "name": "cartpole",
    "env": "CartPole-v1",
    "agent": "lf-cs",
    "steps": 50_000,
    "settings": {
        "network.neurons": 128,
    },
    "agents": {
        "e-prop": {"rule.lr_readout": 5e-3},
    },
}

if __name__ == "__main__":
    raise SystemExit(experiment_main(SETTINGS))
