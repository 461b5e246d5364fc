"""PongRAM-v0: a whole game of Pong, from RAM."""

SETTINGS = {
    "name": "pong_full",
    "env": "PongRAM-v0",
    "agent": "lf-cs",
    "steps": 8_000_000,
    "minutes": 120,
    "tuned_on": "600..600",
    "settings": {
        "network.neurons": 512,
        "network.tau_m": 2.0,
        "network.tau_out": 2.0,
        "network.critic_path": True,
        "encoder.kind": "population",
        "encoder.cells": 20,
        "train.num_envs": 20,
        "train.eval_every": 500000,
        "train.eval_episodes": 4,
        "train.final_episodes": 20,
        "train.checkpoint_every": 250000,
        "rule.window": 100,
        "rule.tau_f": 10,
        "rule.tau_s": 100,
        "rule.replays": 8,
        "rule.gamma": 0.99,
        "rule.lam": 0.97,
        "rule.lr_readout": 0.002,
        "rule.lr_hidden": 0.0002,
        "rule.lr_path": 0.02,
        "rule.clip": "apart",
        "rule.average": 10,
        "rule.reward_scale": 1.0,
        "rule.entropy": 0.01,
        "rule.entropy_final": 0.0,
        "rule.critic_share": 0.3,
        "rule.homeostasis": 0.1,
    },
    "agents": {
        "e-prop": {"rule.window": 4},
    },
}

if __name__ == "__main__":
    from lfcs.cli import experiment_main

    raise SystemExit(experiment_main(SETTINGS))
