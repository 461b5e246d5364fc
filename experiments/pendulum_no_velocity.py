"""PendulumNoVelocity-v0: Pendulum of which only the angle is seen."""

SETTINGS = {
    "name": "pendulum_no_velocity",
    "env": "PendulumNoVelocity-v0",
    "agent": "lf-cs",
    "steps": 100_000,
    "minutes": 0.6,
    "tuned_on": "620..624",
    "settings": {
        "network.neurons": 256,
        "network.tau_m": 4.0,
        "network.tau_out": 1.0,
        "network.critic_path": False,
        "encoder.kind": "population",
        "encoder.cells": 15,
        "train.num_envs": 8,
        "rule.window": 64,
        "rule.tau_f": 8,
        "rule.tau_s": 64,
        "rule.replays": 8,
        "rule.gamma": 0.95,
        "rule.lam": 0.9,
        "rule.lr_readout": 0.005,
        "rule.lr_hidden": 0.0002,
        "rule.clip": "apart",
        "rule.average": 10,
        "rule.reward_scale": 0.1,
        "rule.entropy": 0.0,
        "rule.entropy_final": 0.0,
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
