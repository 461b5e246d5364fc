"""Acrobot-v1: swing a two-link arm up. Tuned on seeds 100 to 102."""

from lfcs.cli import experiment_main

SETTINGS = {
    "name": "acrobot",
    "env": "Acrobot-v1",
    "agent": "lf-cs",
    "steps": 100_000,
    "settings": {
        "network.neurons": 128,
    },
    "agents": {
        "e-prop": {"rule.lr_readout": 5e-3},
    },
}

if __name__ == "__main__":
    raise SystemExit(experiment_main(SETTINGS))
