"""LunarLander-v3: land between the flags, with engines that are on or off (extra box2d)."""

SETTINGS = {
    "name": "lunar_lander",
    "env": "LunarLander-v3",
    "agent": "lf-cs",
    "steps": 500_000,
    "minutes": 5,
    "tuned_on": "600..603,610..612",
    "settings": {
        "network.neurons": 256,
        "network.tau_m": 3.0,
        "network.tau_out": 2.0,
        "network.critic_path": True,
        "encoder.kind": "population",
        "encoder.cells": 15,
        "train.num_envs": 16,
        "train.eval_every": 50000,
        "train.checkpoint_every": 100000,
        "rule.window": 128,
        "rule.tau_f": 8,
        "rule.tau_s": 128,
        "rule.replays": 4,
        "rule.gamma": 0.99,
        "rule.lam": 0.95,
        "rule.lr_readout": 0.005,
        "rule.lr_hidden": 0.0002,
        "rule.lr_path": 0.01,
        "rule.clip": "apart",
        "rule.average": 10,
        "rule.reward_scale": 0.0,
        "rule.entropy": 0.01,
        "rule.entropy_final": 1.0,
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
