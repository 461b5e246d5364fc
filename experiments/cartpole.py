"""CartPole-v1: keep a pole upright for 500 steps."""

SETTINGS = {
    "name": "cartpole",
    "env": "CartPole-v1",
    "agent": "lf-cs",
    "steps": 20_000,
    "minutes": 0.1,
    "tuned_on": "600..639",
    "settings": {
        "network.neurons": 256,
        "network.tau_m": 4.0,
        "network.tau_out": 2.0,
        "network.critic_path": True,
        "encoder.kind": "population",
        "encoder.cells": 15,
        "train.num_envs": 4,
        "train.eval_every": 5000,
        "rule.window": 64,
        "rule.tau_f": 8,
        "rule.tau_s": 64,
        "rule.replays": 4,
        "rule.gamma": 0.99,
        "rule.lam": 0.95,
        "rule.lr_readout": 0.01,
        "rule.lr_hidden": 0.0001,
        "rule.lr_path": 0.05,
        "rule.clip": "apart",
        "rule.average": 10,
        "rule.reward_scale": 1.0,
        "rule.entropy": 0.01,
        "rule.entropy_final": 0.0,
        "rule.critic_share": 0.1,
        "rule.homeostasis": 0.3,
    },
    "agents": {
        "e-prop": {"rule.window": 4, "rule.lr_hidden": 2e-4},
    },
}

if __name__ == "__main__":
    from lfcs.cli import experiment_main

    raise SystemExit(experiment_main(SETTINGS))
