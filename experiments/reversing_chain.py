"""ReversingChain-v0: a memory chain whose answers are exchanged while learning goes on, at rates that do not fall."""

SETTINGS = {
    "name": "reversing_chain",
    "env": "ReversingChain-v0",
    "agent": "lf-cs",
    "steps": 96_000,
    "settings": {
        "network.neurons": 256,
        "network.tau_m": 6.0,
        "network.tau_out": 2.0,
        "encoder.kind": "identity",
        "rule.window": 64,
        "rule.tau_f": 4,
        "rule.tau_s": 64,
        "rule.replays": 4,
        "rule.gamma": 0.99,
        "rule.lam": 0.95,
        "rule.lr_readout": 0.005,
        "rule.lr_hidden": 0.0002,
        "rule.entropy": 0.01,
        "rule.entropy_final": 1.0,
        "rule.lr_final": 1.0,
        "train.eval_every": 1000,
        "train.eval_episodes": 100,
        "train.checkpoint_every": 40000,
    },
    "agents": {},
}

if __name__ == "__main__":
    from lfcs.cli import experiment_main

    raise SystemExit(experiment_main(SETTINGS))
