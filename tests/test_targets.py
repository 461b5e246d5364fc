"""What chips refuse, and a policy that one takes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

import lfcs
from lfcs import cli
from lfcs.config import EncoderConfig, NetworkConfig
from lfcs.engines import make_engine
from lfcs.hardware import targets, xylo
from lfcs.hardware.events import Events
from lfcs.hardware.xylosim import OnXylo
from lfcs.heads import make_head
from lfcs.network import SpikingNetwork
from lfcs.policy import Policy

KIND = "lfcs.hardware.events:Events"
SHIFTS = {"tau_m": -1.0 / math.log(0.75), "tau_out": 1.0 / math.log(2.0)}


def make_policy(cells=4, **network):
    config = NetworkConfig(**{"neurons": 32, "fan_out": 8, "input_gain": 3.0} | SHIFTS | network)
    encoder = Events(spaces.Box(-1.0, 1.0, (4,), np.float32), EncoderConfig(KIND, cells=cells, width=1.0))
    acts, seen = spaces.Discrete(2), spaces.Box(-1.0, 1.0, (4,), np.float32)
    net = SpikingNetwork(encoder.size, 2, config, torch.Generator().manual_seed(0))
    torch.nn.init.normal_(net.input.bias, 0.0, 0.1, generator=torch.Generator().manual_seed(1))
    return Policy(net, make_engine("fused", net), make_head(acts), encoder, seen, acts, torch.Generator())


def refused(policy, target):
    return {finding.name for finding in targets.check(policy, target) if not finding.fits}


def test_a_policy_in_xylo_s_numbers_is_taken():
    policy = make_policy()
    assert refused(policy, "xylo") == {"weights of the neurons", "weights of the readout"}
    fitted = xylo.fitted(policy)
    assert refused(fitted, "xylo") == set()
    near = torch.nn.functional.cosine_similarity(fitted.network.hidden.flatten(), policy.network.hidden.flatten(), 0)
    assert near > 0.99 and not torch.equal(fitted.network.hidden, policy.network.hidden)
    again = xylo.whole(fitted)
    for name, numbers in xylo.whole(policy)._asdict().items():
        assert np.allclose(numbers, getattr(again, name)), name  # what is fitted stays as it is


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"cells": 5}, "input channels"),
        ({"fan_out": 0, "neurons": 80}, "fan-out"),
        ({"neurons": 1000}, "hidden neurons"),
        ({"tau_m": 4.0}, "decay of the membrane"),
        ({"tau_out": 2.0}, "decay of the readout"),
    ],
)
def test_each_limit_is_told(change, name):
    assert name in refused(make_policy(**change), "xylo")


def test_analog_inputs_are_no_events():
    assert targets.events_of(np.array([[0.0, 1.0]]), 15) == 1
    assert targets.events_of(np.array([[0.0, 1 / 3, 0.5]]), 15) == 6
    assert targets.events_of(np.array([[0.0, 0.123456]]), 15) is None
    assert targets.events_of(np.array([[-1.0, 1.0]]), 15) is None


def test_bits_are_those_of_whole_numbers():
    rows = np.array([[3.0, -1.0, 0.0], [0.5, 0.25, 0.0]])
    assert targets.bits_of(rows, 8) == 3  # 3 and -1; 2 and 1 halves
    assert targets.bits_of(rows * 0.37, 8) == 3
    assert targets.bits_of(np.array([[1.0, 0.001]]), 8) is None


def test_the_other_targets_have_limits_of_their_own():
    policy = make_policy()
    assert refused(policy, "loihi2") == {"weights from inputs", "weights among neurons", "weights of the readout"}
    assert refused(xylo.fitted(policy), "loihi2") == refused(xylo.fitted(policy), "generic") == set()
    with pytest.raises(lfcs.UserError, match="unknown target 'xilo'; did you mean xylo"):
        targets.check(policy, "xilo")


def test_the_command_fits_and_checks(tmp_path, capsys):
    saved, out = make_policy().save(tmp_path / "policy.npz"), tmp_path / "fitted.npz"
    assert cli.main(["check", str(saved), "--target", "xylo"]) == 1
    told = capsys.readouterr()
    assert "REFUSED weights of the neurons" in told.out and "2 of its limits" in told.err
    assert cli.main(["check", str(saved), "--target", "xylo", "--fit", str(out)]) == 0
    assert "xylo would take this policy" in capsys.readouterr().out
    assert refused(lfcs.load(out), "xylo") == set()
    assert cli.main(["check", str(saved), "--target", "loihi2", "--fit", str(out)]) == 1


def test_a_policy_plays_in_xylosim():
    pytest.importorskip("xylosim")
    policy = make_policy()
    on = OnXylo(policy)
    rng, state, same = np.random.default_rng(0), None, []
    for obs in rng.uniform(-1.0, 1.0, (40, 4)).astype(np.float32):
        action, state = on.predict(obs, state)
        same.append(int(action))
    assert set(same) <= {0, 1}
    spiked = np.array(on.layer.rec_recurrent_spikes)
    assert spiked.shape[1] == 32 and spiked.sum() > 0
    again, state = OnXylo(policy), None
    for obs, action in zip(np.random.default_rng(0).uniform(-1.0, 1.0, (40, 4)).astype(np.float32), same, strict=True):
        found, state = again.predict(obs, state)
        assert found == action
    with pytest.raises(ValueError, match="one environment"):
        on.predict(np.zeros((2, 4), np.float32))
