"""pong-100: the first 100 decisions of Pong, from RAM."""

SETTINGS = {
    "name": "pong",
    "env": "Pong100-v0",
    "agent": "lf-cs",
    "steps": 250_000,
    "minutes": 3,
    "tuned_on": "100..104,600..615,620..624",
    "settings": {
        "network.neurons": 512,
        "network.tau_m": 2.0,
        "network.tau_out": 2.0,
        "network.critic_path": True,
        "encoder.kind": "population",
        "encoder.cells": 20,
        "train.num_envs": 8,
        "train.eval_every": 25000,
        "train.checkpoint_every": 50000,
        "rule.window": 100,
        "rule.tau_f": 10,
        "rule.tau_s": 100,
        "rule.replays": 8,
        "rule.gamma": 0.99,
        "rule.lam": 0.97,
        "rule.lr_readout": 0.0028,
        "rule.lr_hidden": 0.00028,
        "rule.lr_path": 0.02,
        "rule.clip": "apart",
        "rule.average": 5,
        "rule.reward_scale": 1.0,
        "rule.entropy": 0.01,
        "rule.entropy_final": 0.0,
        "rule.critic_share": 0.3,
        "rule.homeostasis": 0.1,
    },
    "agents": {
        "lf-cs": {"agent.eps": 0.4},
        "bptt-ppo": {"agent.eps": 0.2},
        "e-prop": {"rule.lr_readout": 1e-2, "rule.lr_hidden": 1e-3},
    },
}

if __name__ == "__main__":
    from lfcs.cli import experiment_main

    raise SystemExit(experiment_main(SETTINGS))
