"""pong-100: the first 100 decisions of Pong, from RAM. Tuned on seeds 100 to 104."""

SETTINGS = {
    "name": "pong",
    "env": "Pong100-v0",
    "agent": "lf-cs",
    "steps": 250_000,
    "minutes": 3,
    "tuned_on": "100..104",
    "settings": {
        "network.neurons": 512,
        "network.tau_m": 2.0,
        "network.tau_out": 2.0,
        "encoder.kind": "population",
        "encoder.cells": 20,
        "train.num_envs": 20,
        "train.eval_every": 25_000,
        "train.checkpoint_every": 50_000,
        "rule.window": 100,
        "rule.tau_f": 10,
        "rule.tau_s": 100,
        "rule.replays": 16,
        "rule.gamma": 0.99,
        "rule.lam": 0.97,
        "rule.lr_readout": 2e-3,
        "rule.lr_hidden": 2e-4,
        "rule.entropy": 0.01,
        "rule.entropy_final": 0.0,
        "rule.critic_share": 0.3,
        "rule.homeostasis": 0.1,
    },
    "agents": {
        "e-prop": {"rule.lr_readout": 1e-2, "rule.lr_hidden": 1e-3},
    },
}

if __name__ == "__main__":
    from lfcs.cli import experiment_main

    raise SystemExit(experiment_main(SETTINGS))
