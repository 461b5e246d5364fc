"""Policies as NIR graphs: back bit for bit, as the start of a run, in other simulators, and what is refused.

The simulators are optional: norse, sinabs, rockpool and nirtorch are each tried where they are installed.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

import lfcs
from lfcs import cli
from lfcs.config import EncoderConfig, NetworkConfig
from lfcs.engines import make_engine
from lfcs.envs.encoders import make_encoder
from lfcs.heads import make_head
from lfcs.network import SpikingNetwork
from lfcs.policy import Policy

nir = pytest.importorskip("nir")
pytest.importorskip("h5py")

from lfcs.hardware import agreement, graph, readers, reading  # noqa: E402


def make_policy(seed=0, gain=4.0, d=4, actions=2, **network):
    """Return a policy that fires, with biases and a critic's path."""
    config = NetworkConfig(**{"neurons": 32, "recurrent_gain": 1.0, "input_gain": gain} | network)
    space, acts = spaces.Box(-1.0, 1.0, (d,), np.float32), spaces.Discrete(actions)
    head, encoder = make_head(acts), make_encoder(space, EncoderConfig(cells=4))
    generator = torch.Generator().manual_seed(seed)
    net = SpikingNetwork(encoder.size, head.size, config, generator)
    with torch.no_grad():
        for weight in (net.input.bias, net.policy_readout.bias, net.value_readout.bias, net.value_path.weight):
            weight.normal_(0.0, 0.1, generator=generator)
    return Policy(net, make_engine("fused", net), head, encoder, space, acts, torch.Generator().manual_seed(0))


def spikes_of(policy, ticks, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(ticks, 1, policy.network.input.in_features, generator=generator)
    seen = policy.engine.run(x, policy.network.initial_state(1), torch.zeros(ticks, 1, dtype=torch.bool))
    return seen.states.spk, seen.params


@settings(deadline=None, max_examples=8)
@given(
    neurons=st.integers(2, 24),
    d=st.integers(1, 3),
    actions=st.integers(2, 4),
    tau=st.floats(0.5, 20.0),
    form=st.sampled_from(sorted(graph.FORMS)),
    dt=st.sampled_from([1e-3, 1.0, 0.02]),
    seed=st.integers(0, 99),
)
def test_a_policy_comes_back_bit_for_bit(tmp_path_factory, neurons, d, actions, tau, form, dt, seed):
    policy = make_policy(seed, d=d, actions=actions, neurons=neurons, tau_m=tau)
    path = tmp_path_factory.mktemp("nir") / "policy.nir"
    graph.export(policy, path, form, dt)
    back = lfcs.load_nir(path)
    for name, weight in policy.network.state_dict().items():
        assert torch.equal(weight, back.network.state_dict()[name]), name
    assert back.network.config == policy.network.config and back.encoder.config == policy.encoder.config


def test_its_spikes_are_the_same_for_a_thousand_ticks(tmp_path):
    policy = make_policy()
    graph.export(policy, tmp_path / "policy.nir")
    (mine, params), (theirs, same) = (spikes_of(p, 1000) for p in (policy, lfcs.load_nir(tmp_path / "policy.nir")))
    assert 0.02 < float(mine.mean()) < 0.5
    assert torch.equal(mine, theirs) and torch.equal(params, same)


def test_the_file_says_what_nir_cannot(tmp_path):
    policy = make_policy(tau_m=3.0, ticks=2)
    graph.export(policy, tmp_path / "policy.nir", "cubalif", 0.002)
    found = nir.read(tmp_path / "policy.nir")
    told = found.metadata
    assert (told["dt"], told["threshold"], told["reset"], told["ticks_per_step"]) == (0.002, 1.0, "subtract", 2)
    assert told["decay"] == "euler" and "v_reset" in told["notes"] and "population" in told["encoder"]
    cell, beta = found.nodes["neurons"], policy.network.config.beta
    assert np.allclose(1.0 - 0.002 / cell.tau_mem, beta, atol=1e-6)
    assert np.allclose(cell.r * 0.002 / cell.tau_mem, 1.0, atol=1e-6) and np.allclose(cell.tau_syn, 0.002)
    assert np.allclose(found.nodes["w_rec"].weight.diagonal(), beta - 1.0)
    exact = graph.to_graph(policy).nodes
    assert np.allclose(np.exp(-1e-3 / exact["neurons"].tau), beta) and np.allclose(
        np.exp(-1e-3 / exact["readout"].tau), policy.network.config.kappa
    )


@pytest.mark.parametrize("name", readers.READERS)
def test_another_simulator_spikes_alike_for_a_thousand_ticks(name):
    pytest.importorskip(name)
    policy = make_policy(gain=3.0)
    found = agreement.spikes(policy, readers.open_policy(policy, name), 1000)
    assert found.spikes > 2000
    assert found.differing == 0, found


@pytest.mark.parametrize("name", readers.READERS)
def test_another_simulator_acts_alike(name):
    pytest.importorskip(name)
    policy = make_policy(gain=3.0, ticks=2)
    policy.observation_space = spaces.Box(-5.0, 5.0, (4,), np.float32)
    acted = agreement.actions(policy, readers.open_policy(policy, name), "CartPole-v1", 3)
    assert acted.actions > 20 and acted.differing == 0
    assert np.array_equal(acted.returns, acted.ours)


def test_a_simulator_that_differs_is_seen_to():
    pytest.importorskip("nirtorch")
    policy = make_policy(gain=3.0)
    reader = readers.open_policy(policy, "nirtorch")
    cell = next(m for m in reader.core.modules() if isinstance(m, readers.Membrane))
    cell.threshold = cell.threshold * 1.01
    found = agreement.spikes(policy, reader, 200)
    assert found.differing > 0 and found.first is not None


TINY = {"train.final_episodes": 2, "train.eval_episodes": 2, "network.critic_path": True}


def test_a_run_starts_from_a_file(tmp_path):
    first = lfcs.train("CartPole-v1", steps=128, tuned=False, run_dir=tmp_path / "a", watch="none", settings=TINY | {
        "network.neurons": 24, "network.tau_m": 5.0, "encoder.cells": 6,
    })  # fmt: skip
    path = tmp_path / "a.nir"
    graph.export(first.policy, path)
    given = {"train.from_nir": str(path), "rule.lr_hidden": 0.0, "rule.lr_readout": 0.0, "rule.lr_path": 0.0}
    run = lfcs.train("CartPole-v1", steps=128, tuned=False, run_dir=tmp_path / "b", watch="none", settings=TINY | given)
    assert run.config.network == first.config.network and run.config.encoder == first.config.encoder
    for name, weight in first.policy.network.state_dict().items():
        assert torch.equal(weight, run.policy.network.state_dict()[name]), name
    path.unlink()
    assert lfcs.resume(tmp_path / "b", steps=192).config.steps == 192  # goes on without the file


def foreign(tmp_path, recurrent=0.3, tau=4e-3, **told):
    """Write a recurrent CubaLIF network as others do, its loop in a graph of its own; return its path."""
    n, rng = 6, np.random.default_rng(0)
    ones = np.ones(n, np.float32)
    cell = nir.CubaLIF(tau_mem=ones * tau, tau_syn=ones * 1e-3, r=ones * 8.0, v_leak=ones * 0.0, v_threshold=ones * 2.0)
    loop = nir.NIRGraph(
        {
            "input": nir.Input({"input": np.array([n])}),
            "lif": cell,
            "back": nir.Linear(rng.normal(0.0, recurrent, (n, n)).astype(np.float32)),
            "output": nir.Output({"output": np.array([n])}),
        },
        [("input", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output")],
    )
    nodes = {
        "input": nir.Input({"input": np.array([4])}),
        "fc": nir.Affine(rng.normal(size=(n, 4)).astype(np.float32), ones * 0.5),
        "layer": loop,
        "output": nir.Output({"output": np.array([n])}),
    }
    edges = [("input", "fc"), ("fc", "layer"), ("layer", "output")]
    path = tmp_path / "foreign.nir"
    nir.write(path, nir.NIRGraph(nodes, edges, metadata=told), compression=None)
    return path


def test_a_run_starts_from_a_network_of_another_maker(tmp_path):
    path = foreign(tmp_path, dt=1e-3)
    layers = reading.read(path)
    assert np.allclose(layers.beta, 0.75) and layers.saved is None and layers.readout is None
    source = nir.read(path).nodes
    gain = 0.25 * 8.0 / 2.0  # what flows in, in thresholds
    assert np.allclose(layers.weight, gain * source["fc"].weight) and not layers.recurrent.diagonal().any()
    run = lfcs.train(
        "CartPole-v1", steps=64, tuned=False, run_dir=tmp_path / "run", watch="none",
        settings=TINY | {"train.from_nir": str(path), "encoder.kind": "standardised", "rule.lr_hidden": 0.0},
    )  # fmt: skip
    assert np.allclose(run.policy.network.input.weight.detach(), layers.weight)
    assert run.config.network.neurons == 6 and np.isclose(run.config.network.beta, 0.75)


@pytest.mark.parametrize(
    ("told", "settings", "message"),
    [
        ({}, {}, "does not say the seconds of a tick"),
        ({"dt": 2e-3}, {}, "synaptic currents that last"),
        ({"dt": 1e-3}, {"network.neurons": 7}, "stands for network.neurons=6; it cannot be 7"),
        ({"dt": 1e-3}, {"encoder.kind": "population"}, "6 neurons of 4 inputs, the run 6 of 60"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(tmp_path, told, settings, message):
    path = foreign(tmp_path, **told)
    with pytest.raises(lfcs.UserError, match=message):
        lfcs.train("CartPole-v1", steps=64, run_dir=tmp_path / "run", settings={"train.from_nir": str(path)} | settings)
    assert not (tmp_path / "run").exists()


def test_files_that_are_none_are_refused_in_a_line(tmp_path, capsys):
    with pytest.raises(lfcs.UserError, match="no NIR file at"):
        lfcs.load_nir(tmp_path / "none.nir")
    (tmp_path / "bad.nir").write_bytes(b"nothing")
    with pytest.raises(lfcs.UserError, match="damaged or not a NIR file"):
        lfcs.load_nir(tmp_path / "bad.nir")
    with pytest.raises(lfcs.UserError, match="was not written by lfcs"):
        lfcs.load_nir(foreign(tmp_path, dt=1e-3))
    policy = make_policy()
    with pytest.raises(lfcs.UserError, match="form must be one of"):
        graph.to_graph(policy, "iaf")
    with pytest.raises(lfcs.UserError, match="dt must be"):
        graph.to_graph(policy, dt=0.0)
    alif = dataclasses.replace(policy.network.config, neuron="alif")
    policy.network.config = alif
    with pytest.raises(lfcs.UserError, match=r"network.neuron=alif has no node in NIR"):
        graph.to_graph(policy)


def test_the_command_writes_the_file_and_says_what_may_differ(tmp_path, capsys):
    saved = make_policy().save(tmp_path / "policy.npz")
    assert cli.main(["export", str(saved), "--nir", str(tmp_path / "p.nir"), "--form", "cubalif"]) == 0
    out = capsys.readouterr().out
    assert "v_reset = 0" in out and "forward Euler" in out and (tmp_path / "p.nir").exists()
    assert cli.main(["export", str(saved), "--nir", str(tmp_path / "q.nir"), "--target", "xylo"]) == 1
    assert not (tmp_path / "q.nir").exists()  # REFUSED, and not written
    assert cli.main(["check", str(saved), "--reader", "brian"]) == 1
    assert "unknown reader 'brian'" in capsys.readouterr().err


def test_without_the_package_one_line_says_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nir", None)
    with pytest.raises(lfcs.UserError, match=r"NIR files need the extra 'nir'"):
        graph.to_graph(make_policy())
