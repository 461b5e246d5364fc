"""CartPole for Xylo, from training to adaptation on one page: python -m lfcs.experiments.deploy_cartpole.

16 inputs of up to 15 events, 128 neurons with 63 recurrent synapses each and the self-weight that the export adds,
decays 3/4 and 1/2 a tick.
"""

DEPLOY = {
    "env": "CartPole-v1",
    "steps": 40_000,
    "bits": [8, 4],
    "settings": {
        "encoder.kind": "lfcs.hardware.events:Events",
        "encoder.cells": 4,
        "encoder.width": 1.0,
        "encoder.bounds": "seen",
        "network.neurons": 128,
        "network.fan_out": 63,
        "network.tau_m": 3.4760594967822072,
        "network.tau_out": 1.4426950408889634,
    },
    "change": {
        "what": "the pole is 7 cm from its foot to its middle, not 50",
        "env": "ChangingCartPole-v0",
        "steps": 40_000,
        "world": {"points": [[0, 0.5], [500, 0.07]]},
        "after": {"points": [[0, 0.07]]},
        "settings": {"train.num_envs": 4, "rule.lr_readout": 0.005, "rule.lr_hidden": 1e-4, "rule.reward_scale": 1.0},
    },
}

if __name__ == "__main__":
    from lfcs.study.deploy import main

    raise SystemExit(main(DEPLOY))
