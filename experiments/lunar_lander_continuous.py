"""LunarLanderContinuous-v3: land between the flags, with engines that throttle (extra box2d)."""

SETTINGS = {
    "name": "lunar_lander_continuous",
    "env": "LunarLanderContinuous-v3",
    "agent": "lf-cs",
    "steps": 500_000,
    "minutes": 2,
    "tuned_on": "600..601,610..614",
    "settings": {
        "network.neurons": 256,
        "network.tau_m": 3.0,
        "network.tau_out": 2.0,
        "network.critic_path": True,
        "encoder.kind": "population",
        "encoder.cells": 15,
        "encoder.bounds": "seen",
        "train.num_envs": 16,
        "train.eval_every": 50000,
        "train.checkpoint_every": 100000,
        "rule.window": 128,
        "rule.tau_f": 8,
        "rule.tau_s": 128,
        "rule.replays": 8,
        "rule.gamma": 0.99,
        "rule.lam": 0.95,
        "rule.lr_readout": 0.001,
        "rule.lr_hidden": 0.0001,
        "rule.lr_path": 0.01,
        "rule.clip": "apart",
        "rule.average": 10,
        "rule.reward_scale": 0.05,
        "rule.entropy": 0.0,
        "rule.entropy_final": 1.0,
        "rule.critic_share": 0.1,
        "rule.homeostasis": 0.3,
    },
    "agents": {
        "lf-cs": {"agent.eps": 0.2},
        "bptt-ppo": {"agent.eps": 0.2},
        "e-prop": {"rule.window": 4},
    },
}

if __name__ == "__main__":
    from lfcs.cli import experiment_main

    raise SystemExit(experiment_main(SETTINGS))
