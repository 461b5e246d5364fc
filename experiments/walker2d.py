"""Walker2d-v5: walk on two legs (extra mujoco)."""

SETTINGS = {
    "name": "walker2d",
    "env": "Walker2d-v5",
    "agent": "lf-cs",
    "steps": 1_000_000,
    "minutes": 10,
    "tuned_on": "600..600",
    "settings": {
        "network.neurons": 256,
        "network.tau_m": 3.0,
        "network.tau_out": 2.0,
        "network.critic_path": True,
        "encoder.kind": "standardised",
        "train.num_envs": 16,
        "train.eval_every": 100000,
        "train.checkpoint_every": 100000,
        "train.eval_episodes": 10,
        "rule.window": 64,
        "rule.tau_f": 8,
        "rule.tau_s": 64,
        "rule.replays": 8,
        "rule.gamma": 0.99,
        "rule.lam": 0.95,
        "rule.lr_readout": 0.005,
        "rule.lr_hidden": 0.0002,
        "rule.lr_path": 0.05,
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
