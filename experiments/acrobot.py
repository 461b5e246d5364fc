"""Acrobot-v1: swing the tip of a two-link arm above a line."""

SETTINGS = {
    "name": "acrobot",
    "env": "Acrobot-v1",
    "agent": "lf-cs",
    "steps": 100_000,
    "minutes": 0.3,
    "tuned_on": "600..649",
    "settings": {
        "network.neurons": 256,
        "network.tau_m": 3.0,
        "network.tau_out": 2.0,
        "network.critic_path": True,
        "encoder.kind": "population",
        "encoder.cells": 15,
        "train.num_envs": 16,
        "rule.window": 64,
        "rule.tau_f": 16,
        "rule.tau_s": 64,
        "rule.replays": 8,
        "rule.gamma": 0.995,
        "rule.lam": 0.95,
        "rule.lr_readout": 0.005,
        "rule.lr_hidden": 0.0002,
        "rule.lr_path": 0.02,
        "rule.clip": "together",
        "rule.average": 10,
        "rule.reward_scale": 0.1,
        "rule.entropy": 0.02,
        "rule.entropy_final": 0.0,
        "rule.critic_share": 0.1,
        "rule.homeostasis": 0.3,
    },
    "agents": {
        "e-prop": {"rule.window": 4},
    },
}

if __name__ == "__main__":
    from lfcs.cli import experiment_main

    raise SystemExit(experiment_main(SETTINGS))
