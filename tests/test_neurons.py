"""A neuron model is one file: one from outside, with a field of its own, through every engine that it can have."""

from __future__ import annotations

import pytest
import torch
from conftest import random_window
from test_learner import small_trainer
from torch.testing import assert_close

import lfcs
from lfcs import rules
from lfcs.config import NetworkConfig
from lfcs.engines import CompiledEngine, TensorEngine, make_engine
from lfcs.errors import UserError
from lfcs.network import NetState, SpikingNetwork
from lfcs.neurons import ALIF, LIF, make_neuron


class Slowed(LIF):
    """LIF with a field of its own, a trace of its past spikes that is looked at but not fed back."""

    fields = ("spk", "mem", "recent")

    def __init__(self, config):
        super().__init__(config)
        self.loops = None

    def witness(self, cell, current, fields):
        spk, mem = cell(current, *fields[:2])
        return spk, mem, 0.5 * fields[2] + spk

    def tick(self, current, fields):
        spk, mem = super().tick(current, fields[:2])
        return spk, mem, 0.5 * fields[2] + spk


def network_of(neuron, neurons=9, **settings):
    config = NetworkConfig(neurons=neurons, neuron=neuron, input_gain=2.0, recurrent_gain=1.5, **settings)
    return SpikingNetwork(3, 2, config, torch.Generator().manual_seed(0))


def test_a_neuron_from_outside_has_the_same_numbers_in_its_engines(double):
    network = network_of("test_neurons:Slowed", ticks=2)
    x, _, reset = random_window(network, type("Head", (), {"size": 2}), 20, 4)
    runs = {name: make_engine(name, network).run(x, network.initial_state(4), reset) for name in ("fused", "snntorch")}
    assert isinstance(make_engine("fused", network), TensorEngine)
    assert_close(runs["fused"].states.data, runs["snntorch"].states.data, rtol=0, atol=1e-10)
    states = runs["fused"].states
    assert states.fields == 3 and states.spk.mean() > 0.02
    recent = states.of_neurons()[2]
    assert recent.max() > 1.0 and torch.equal(recent[0], states.spk[0])  # beside the others, in a place of its own
    plain = CompiledEngine(network_of("lif", ticks=2)).run(x, network_of("lif").initial_state(4), reset).states
    assert_close(plain.readout, states.readout, rtol=0, atol=1e-10)
    assert_close(plain.trace, states.trace, rtol=0, atol=1e-10)


def test_its_gradient_equals_autograd(double):
    network = network_of("test_neurons:Slowed")
    x, _, reset = random_window(network, type("Head", (), {"size": 2}), 12, 3)
    state, outputs, states = network.initial_state(3), [], []
    for x_t, reset_t in zip(x, reset, strict=True):
        state = state.cleared(reset_t)
        fields = (state.spk.detach(), *state.of_neurons()[1:])
        state = network.tick(x_t, NetState.join(fields, state.readout, state.trace))
        params, value = network.read(state, x_t)
        outputs.append(torch.cat((params, value[:, None]), dim=1))
        states.append(state.data.detach())
    error = torch.randn(12, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = [network.input.weight, network.input.bias, network.recurrent]
    w_in, b, w_rec = torch.autograd.grad((torch.stack(outputs) * error).sum(), weights)
    seen = state.with_data(torch.stack(states))
    given = seen, reset, error, network.readout[:, :-1], torch.zeros(9, dtype=torch.float64)
    hidden, _ = TensorEngine(network).gradients(*given)
    expected = torch.cat((w_in.T, b[None], w_rec.fill_diagonal_(0.0).T))
    assert_close(hidden, expected, rtol=0, atol=1e-10)
    assert expected.abs().max() > 1e-3 and seen.spk.sum() > 0


def test_it_trains_saves_and_loads_by_name(tmp_path):
    settings = {"network.neuron": "test_neurons:Slowed", "network.neurons": 12, "train.final_episodes": 2}
    run = lfcs.train("toys:Guess-v0", steps=200, settings=settings, run_dir=tmp_path / "run")
    assert isinstance(lfcs.load(run.path).network.neuron, Slowed)
    assert run.metrics is not None and run.summary["weight_updates"] > 0
    with pytest.raises(UserError, match="unknown neuron 'lfi'; did you mean lif"):
        network_of("lfi")
    with pytest.raises(ValueError, match="Slowed has no compiled loops"):
        CompiledEngine(network_of("test_neurons:Slowed"))


@pytest.mark.parametrize("base", [LIF, ALIF])
@pytest.mark.parametrize("method", ["tick", "post"])
def test_a_neuron_that_changes_an_equation_has_not_the_loops_of_the_old_one(base, method):
    changed = type("Changed", (base,), {method: lambda self, *given: getattr(base, method)(self, *given)})
    assert changed(NetworkConfig()).loops is None and base(NetworkConfig()).loops is not None


@pytest.mark.parametrize("ticks", [1, 2])
def test_the_postsynaptic_factor_is_the_same_in_every_engine(double, ticks):
    """What the online form adds to its traces, Σ_t post_t x̄_t, with a tail before the errors."""
    network = network_of("lif", ticks=ticks)
    x, _, reset = random_window(network, type("Head", (), {"size": 2}), 10, 3)
    by_tick = torch.zeros(10 * ticks, 3, dtype=torch.bool)
    by_tick[::ticks] = reset
    g = torch.Generator().manual_seed(0)
    error, feedback, drive = (
        torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((8, 3, 3), (3, 9), (9,))
    )
    engines = [make(network) for make in (CompiledEngine, TensorEngine)]
    seen = engines[0].run(x, network.initial_state(3), reset).states
    ours, theirs = (engine.post(seen, by_tick, error, feedback, drive) for engine in engines)
    assert_close(ours, theirs, rtol=0, atol=1e-10)
    hidden, _ = engines[0].gradients(seen, by_tick, error, feedback, drive)
    expected = rules.chunk_gradient(seen.trace, ours)
    expected[-9:].fill_diagonal_(0.0)
    assert_close(hidden, expected, rtol=0, atol=1e-10)
    assert ours.abs().max() > 1e-3


def test_time_constants_are_spread_evenly_in_log_over_the_neurons():
    neuron = make_neuron(NetworkConfig(neurons=10, tau_m=2.0, tau_m_max=54.0, tau_m_groups=4))
    tau = -1.0 / torch.tensor(neuron.betas).log()
    assert_close(tau, torch.tensor([2.0, 6.0, 18.0, 54.0]).repeat(3)[:10])
    assert len(make_neuron(NetworkConfig(neurons=3, tau_m_max=54.0, tau_m_groups=4)).decays) == 3
    with pytest.raises(UserError, match=r"network\.tau_m_max=2 must be 0 or at least network\.tau_m=3"):
        NetworkConfig(tau_m_max=2.0)


def test_a_spread_from_tau_m_to_itself_is_none(double):
    one, other = network_of("lif"), network_of("lif", tau_m_max=3.0, tau_m_groups=7)
    x, _, reset = random_window(one, type("Head", (), {"size": 2}), 20, 4)
    seen = [make_engine("fused", net).run(x, net.initial_state(4), reset) for net in (one, other)]
    assert torch.equal(seen[0].states.data, seen[1].states.data)
    assert torch.equal(one.hidden, other.hidden)


def test_a_slow_neuron_remembers_what_a_fast_one_has_forgotten():
    """One input at the first tick, below threshold: afterwards u_t = β^t I."""
    network = network_of("lif", neurons=4, tau_m=1.0, tau_m_max=1000.0, tau_m_groups=4)
    network.input.weight.data.fill_(0.5)
    x = torch.zeros(20, 1, 3)
    x[0, 0, 0] = 1.0
    seen = make_engine("fused", network).run(x, network.initial_state(1), torch.zeros(20, 1, dtype=torch.bool)).states
    tau = torch.tensor([1.0, 10.0, 100.0, 1000.0])
    assert_close(seen.mem[:, 0], 0.5 * torch.exp(-torch.arange(20.0)[:, None] / tau), rtol=1e-4, atol=1e-7)


SLOW_THRESHOLD = {"network__neuron": "alif", "network__adaptation": 1.0, "network__tau_a": 100.0, "seed": 1}


@pytest.mark.parametrize(
    "network,windows,low,high",
    [({}, 90, 0.3, 0.7), ({"network__tau_m_max": 100.0}, 60, 0.8, 1.0), (SLOW_THRESHOLD, 90, 0.8, 1.0)],
    ids=["lif", "spread", "alif"],
)
def test_slow_membranes_or_thresholds_bridge_a_delay(network, windows, low, high):
    """Thirty steps from the light to the bell: membranes of 3 ticks alone stay at chance, 0.5."""
    trainer = small_trainer(
        "toys:Recall-v0", network__neurons=64, train__num_envs=16, rule__window=64, rule__tau_s=64, rule__tau_f=16,
        encoder__kind="identity", network__input_gain=3.0, rule__gamma=1.0, rule__lam=1.0,
        rule__lr_hidden=2e-3, **network,
    )  # fmt: skip
    for _ in range(windows):
        metrics = trainer.window()
    assert low < metrics["rollout/ep_rew_mean"] <= high and 0.02 < metrics["spikes/rate_mean"] < 0.3
