"""Bounded fan-out: which recurrent synapses there are, and that learning makes no others, however it goes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lfcs
from lfcs.config import NetworkConfig
from lfcs.engines import make_engine
from lfcs.engines.bptt import BpttEngine
from lfcs.network import SpikingNetwork, connections

FEW = {"network.neurons": 24, "network.fan_out": 5, "network.recurrent_gain": 2.0, "train.final_episodes": 1}
FORMS = {
    "compiled": {},
    "tensors": {},
    "online": {
        "agent.mask": "two-sided",
        "rule.form": "online",
        "rule.replays": 1,
        "rule.tau_f": 64,
        "rule.normalise": False,
    },
}


def synapses(network):
    return network.recurrent.detach() != 0.0


def test_every_neuron_has_as_many_synapses_going_out_and_coming_in():
    found = connections(24, 5)
    assert (found.sum(0) == 5).all() and (found.sum(1) == 5).all() and found.diagonal().sum() == 0
    network = SpikingNetwork(3, 2, NetworkConfig(neurons=24, fan_out=5), torch.Generator().manual_seed(1))
    assert torch.equal(synapses(network), found.bool())
    assert (
        0.5 < float(network.recurrent.detach().std() * (24 / 5) ** 0.5 / (0.5 / 5**0.5)) < 1.5
    )  # as strong as of all with all


@pytest.mark.parametrize("form", FORMS)
def test_learning_keeps_to_the_synapses_there_are(form, tmp_path):
    engine = "tensor" if form == "tensors" else "fused"
    given = {"steps": 512, "tuned": False, "settings": FEW | FORMS[form], "engine": engine, "watch": "none"}
    run = lfcs.train("CartPole-v1", run_dir=tmp_path / "run", **given)
    network = run.policy.network
    start = SpikingNetwork(
        network.input.in_features, 2, network.config, torch.Generator().manual_seed(0), run.policy.encoder.drive
    )
    assert torch.equal(synapses(network), connections(24, 5).bool())
    assert not torch.equal(network.recurrent, start.recurrent)


def test_gradients_are_nothing_where_there_is_no_synapse():
    network = SpikingNetwork(3, 2, NetworkConfig(neurons=24, fan_out=5), torch.Generator().manual_seed(1)).double()
    x, reset = torch.rand(6, 2, 3, dtype=torch.float64) * 3.0, torch.zeros(6, 2, dtype=torch.bool)
    error, feedback = torch.ones(6, 2, 3, dtype=torch.float64), torch.ones(3, 24, dtype=torch.float64)
    absent = ~connections(24, 5).T.bool()
    for engine in (*(make_engine(name, network) for name in ("fused", "tensor", "snntorch")), BpttEngine(network)):
        seen = engine.run(x, network.initial_state(2), reset, differentiable=True)
        drive = torch.zeros(24, dtype=torch.float64)
        hidden, _ = engine.gradients(seen.states, reset, error, feedback, drive)
        recurrent = hidden.detach()[-24:]
        assert (recurrent[absent] == 0.0).all() and (recurrent[~absent] != 0.0).any(), type(engine).__name__


def test_a_fan_out_of_all_and_oneself_is_refused():
    with pytest.raises(lfcs.UserError, match=r"network.fan_out=24 must be less than network.neurons=24"):
        NetworkConfig(neurons=24, fan_out=24)
    assert np.array_equal(connections(4, 3), 1 - np.eye(4))
