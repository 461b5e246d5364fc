"""Acrobot-v1: swing the tip of a two-link arm above a line. Tuned on seeds 100 and 101."""

SETTINGS = {
    "name": "acrobot",
    "env": "Acrobot-v1",
    "agent": "lf-cs",
    "steps": 100_000,
    "minutes": 0.2,
    "tuned_on": [100, 101],
    "settings": {
        "network.neurons": 256,
        "network.tau_m": 3.0,
        "network.tau_out": 2.0,
        "encoder.kind": "population",
        "encoder.cells": 15,
        "rule.window": 64,
        "rule.tau_f": 4,
        "rule.tau_s": 64,
        "rule.replays": 4,
        "rule.gamma": 0.99,
        "rule.lam": 0.95,
        "rule.lr_readout": 5e-3,
        "rule.lr_hidden": 2e-4,
        "rule.entropy": 0.005,
    },
    "agents": {
        "e-prop": {"rule.window": 4},
    },
}

if __name__ == "__main__":
    from lfcs.cli import experiment_main

    raise SystemExit(experiment_main(SETTINGS))
