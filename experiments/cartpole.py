"""CartPole-v1: keep a pole upright for 500 steps. Tuned on seeds 100 to 104."""

SETTINGS = {
    "name": "cartpole",
    "env": "CartPole-v1",
    "agent": "lf-cs",
    "steps": 50_000,
    "minutes": 0.1,
    "tuned_on": [100, 101, 102, 103, 104],
    "settings": {
        "network.neurons": 256,
        "network.tau_m": 4.0,
        "network.tau_out": 2.0,
        "encoder.kind": "population",
        "encoder.cells": 15,
        "rule.window": 64,
        "rule.tau_f": 4,
        "rule.tau_s": 64,
        "rule.replays": 4,
        "rule.gamma": 0.98,
        "rule.lam": 0.9,
        "rule.lr_readout": 1e-2,
        "rule.lr_hidden": 1e-4,
        "rule.entropy": 0.01,
        "rule.entropy_final": 0.0,
    },
    "agents": {
        "e-prop": {"rule.window": 4, "rule.lr_hidden": 2e-4},
    },
}

if __name__ == "__main__":
    from lfcs.cli import experiment_main

    raise SystemExit(experiment_main(SETTINGS))
