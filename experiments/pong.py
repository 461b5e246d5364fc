"""pong-100: the first 100 decisions of Pong, from RAM. Tuned on seeds 100 to 102."""

from lfcs.cli import experiment_main

SETTINGS = {
    "name": "pong",
    "env": "Pong100-v0",
    "agent": "lf-cs",
    "steps": 250_000,
    "settings": {
        "network.neurons": 128,
    },
    "agents": {
        "e-prop": {"rule.lr_readout": 5e-3},
    },
}

if __name__ == "__main__":
    raise SystemExit(experiment_main(SETTINGS))
