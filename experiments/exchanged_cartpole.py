"""ExchangedCartPole-v0: two actions that are exchanged while learning goes on, at rates that do not fall."""

SETTINGS = {
    "name": "exchanged_cartpole",
    "env": "ExchangedCartPole-v0",
    "agent": "lf-cs",
    "steps": 144_000,
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
        "rule.lr_readout": 0.005,
        "rule.lr_hidden": 0.0001,
        "rule.entropy": 0.01,
        "rule.entropy_final": 1.0,
        "rule.lr_final": 1.0,
        "train.eval_every": 4000,
        "train.eval_episodes": 20,
        "train.checkpoint_every": 40000,
    },
    "agents": {
        "e-prop": {"rule.window": 4, "rule.lr_hidden": 0.0002},
    },
}

if __name__ == "__main__":
    from lfcs.cli import experiment_main

    raise SystemExit(experiment_main(SETTINGS))
