"""The adaptive threshold: its local gradient against autograd, and its slow eligibility carried over chunks."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from conftest import make_policy, random_window
from test_learner import small_trainer
from torch.testing import assert_close

import lfcs
from lfcs import neurons, rules
from lfcs.config import NetworkConfig
from lfcs.engines import BpttEngine, CompiledEngine, SnntorchEngine, TensorEngine, make_engine
from lfcs.engines.base import at_last_tick
from lfcs.engines.past import Past, slow_trace
from lfcs.network import SpikingNetwork
from lfcs.neurons import LIF, Spike

EXACT = {"rtol": 0.0, "atol": 1e-10}
ALIF = {"neuron": "alif", "adaptation": 0.4, "tau_a": 20.0}
NETWORKS = [ALIF, ALIF | {"tau_m_max": 40.0, "tau_m_groups": 3}]
ENGINES = [SnntorchEngine, TensorEngine, CompiledEngine]
SIZES = [(2, 1, 2, 3, 1, 1), (7, 3, 3, 30, 4, 1), (12, 5, 4, 20, 3, 2)]  # neurons, inputs, outputs, steps, batch, ticks


def written_out(policy, x, reset, detached=True):
    """Run the equations as they stand, with autograd; return readout traces by step, and all u, a and z by tick.

    ``detached``: spikes on their way into W_rec, the local gradient's cut; those into the threshold stay.
    """
    config, beta = policy.config, torch.tensor(policy.neuron.betas, dtype=x.dtype)
    rho = torch.tensor(-1.0 / config.tau_a, dtype=x.dtype).exp()
    u = a = z = y = torch.zeros(x.shape[1], config.neurons, dtype=x.dtype)
    readouts, seen = [], []
    for x_t, reset_t in zip(x, reset, strict=True):
        u, a, z, y = (part * ~reset_t[:, None] for part in (u, a, z, y))
        for _ in range(config.ticks):
            sent = z.detach() if detached else z
            a = rho * a + z
            u = beta * u + policy.input(x_t) + sent @ policy.recurrent.T - z.detach()
            z = Spike.apply(u - (1.0 + config.adaptation * a), config.dampening)
            y = config.kappa * y + (1.0 - config.kappa) * z
            seen.append(torch.stack((u, a, z)).detach())
        readouts.append(y)
    return torch.stack(readouts), torch.stack(seen, dim=1)


def gradient_of(policy, readouts, signal):
    weights = policy.input.weight, policy.input.bias, policy.recurrent
    w_in, b, w_rec = torch.autograd.grad((readouts * signal).sum(), weights)
    return torch.cat((w_in.T, b[None], w_rec.fill_diagonal_(0.0).T))


def given(policy, steps, batch, seed=3):
    g, n = torch.Generator().manual_seed(seed), policy.config.neurons
    error = torch.randn(steps, batch, len(policy.readout), generator=g, dtype=torch.float64)
    feedback = torch.randn(len(policy.readout), n, generator=g, dtype=torch.float64)
    return error, feedback, torch.randn(n, generator=g, dtype=torch.float64)


def by_tick(policy, reset):
    out = torch.zeros(len(reset) * policy.config.ticks, reset.shape[1], dtype=torch.bool)
    out[:: policy.config.ticks] = reset
    return out


@pytest.mark.parametrize("network", NETWORKS, ids=["one-tau", "spread"])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("engine", ENGINES)
def test_local_gradient_equals_autograd(double, engine, sizes, network):
    neurons, inputs, outputs, steps, batch, ticks = sizes
    policy, head = make_policy(neurons, inputs, outputs, seed=neurons, ticks=ticks, **network)
    x, _, reset = random_window(policy, head, steps, batch)
    readouts, (u, a, z) = written_out(policy, x, reset)
    error, feedback, drive = given(policy, steps, batch)
    expected = gradient_of(policy, readouts, error @ feedback + drive)
    made = engine(policy)
    seen = made.run(x, policy.initial_state(batch), reset).states
    for ours, wanted in zip(seen.of_neurons(), (z, u, a), strict=True):
        assert_close(ours, wanted, **EXACT)
    hidden, _ = made.gradients(seen, by_tick(policy, reset), error, feedback, drive)
    assert_close(hidden, expected, **EXACT)
    assert expected.abs().max() > 1e-3 and z.mean() > 0.02
    if steps > 3:  # the threshold moved, and what moved it is credited for that
        spread = at_last_tick(error @ feedback + drive, ticks, len(u))
        filtered = rules.filter_backwards(spread, policy.config.kappa, by_tick(policy, reset))
        post = LIF.post(policy.neuron, filtered, (z, u - policy.config.adaptation * a), by_tick(policy, reset))
        without = rules.grouped_gradient(seen.trace, post, len(policy.neuron.decays))
        assert a.max() > 1.0 and (without - expected).abs().max() > 1e-2


@pytest.mark.parametrize("ticks", [1, 2])
def test_bptt_equals_autograd_through_recurrent_spikes(double, ticks):
    policy, head = make_policy(7, 3, 3, ticks=ticks, **NETWORKS[1])
    x, _, reset = random_window(policy, head, 20, 3)
    error, feedback, drive = given(policy, 20, 3)
    whole, cut = (
        gradient_of(policy, written_out(policy, x, reset, detached)[0], error @ feedback + drive)
        for detached in (False, True)
    )
    engine = BpttEngine(policy)
    seen = engine.run(x, policy.initial_state(3), reset, differentiable=True).states
    hidden, _ = engine.gradients(seen, by_tick(policy, reset), error, feedback, drive)
    assert_close(hidden, whole, **EXACT)
    assert (whole - cut).abs().max() > 1e-3


@pytest.mark.parametrize("network", NETWORKS, ids=["one-tau", "spread"])
def test_the_factor_of_a_neuron_equals_two_traces_for_every_synapse(double, network):
    """Σ_t L̂_t ψ_t (x̄_t - b ε_t) with ε by tick, as the paper has it, from an ε_0 that is not nought."""
    policy, head = make_policy(9, 3, 3, **network)
    x, _, reset = random_window(policy, head, 40, 4)
    reset[0] = False
    seen = TensorEngine(policy).run(x, policy.initial_state(4), reset).states
    neuron, g = policy.neuron, torch.Generator().manual_seed(0)
    signal, eps = (torch.randn(shape, generator=g, dtype=torch.float64) for shape in (seen.spk.shape, (4, 13, 9)))
    first, groups = eps.clone(), len(neuron.decays)
    psi = rules.surrogate_derivative(seen.mem - 1.0 - neuron.strength * seen.of_neurons()[2], neuron.dampening)
    expected = torch.zeros(13, 9, dtype=torch.float64)
    for t in range(len(signal)):
        eps = eps * ~reset[t, :, None, None]
        xbar = seen.trace[t].unflatten(1, (groups, 13))[:, torch.arange(9) % groups].transpose(1, 2)
        e = psi[t][:, None] * (xbar - neuron.strength * eps)
        assert_close(rules.slow_eligibility(eps, psi[t], seen.trace[t], *neuron.slow), neuron.rho * eps + e)
        expected += (signal[t][:, None] * e).sum(0)
        eps = neuron.rho * eps + e
    post = neuron.post(signal, seen.of_neurons(), reset)
    factor = rules.slow_factor(post, reset, *neuron.slow)
    ours = rules.grouped_gradient(seen.trace, post, groups) + (first * factor[:, None]).sum(0)
    assert_close(ours, expected, rtol=0, atol=1e-12)
    assert factor.abs().max() > 1e-2 and seen.spk.mean() > 0.02


@pytest.mark.parametrize("tail", [0, 3])
@pytest.mark.parametrize("engine", [TensorEngine, CompiledEngine])
def test_chunks_with_the_slow_eligibility_add_up_to_the_whole(double, engine, tail):
    """A readout without memory (κ = e^-50), so that nothing but the threshold reaches beyond a chunk."""
    policy, head = make_policy(9, 3, 3, tau_out=0.02, **NETWORKS[1])
    x, _, reset = random_window(policy, head, 40, 4)
    reset[1:] &= torch.rand(39, 4, generator=torch.Generator().manual_seed(5)) < 0.2
    error, feedback, drive = given(policy, 40, 4)
    made, state = engine(policy), policy.initial_state(4)
    whole, _ = made.gradients(made.run(x, state, reset).states, reset, error, feedback, drive)
    whole, past, slow = whole.clone(), Past(state, tail, 4), slow_trace(made, policy, 4, tail)
    total, without = torch.zeros_like(whole), torch.zeros_like(whole)
    for start in range(0, 40, 4):
        chunk = slice(start, start + 4)
        seen = past.extended(made, x[chunk], reset[chunk], 4).states
        resets = reset[chunk.stop - len(seen.data) : chunk.stop]
        total += made.gradients(seen, resets, error[chunk], feedback, drive, slow.eps)[0]
        without += made.gradients(seen, resets, error[chunk], feedback, drive)[0]
        slow.follow(seen, resets)
    assert_close(total, whole, **EXACT)
    assert (without - whole).abs().max() > 1e-2
    assert slow_trace(BpttEngine(policy), policy, 4, tail) is None


def test_what_a_window_that_begins_without_the_slow_eligibility_costs(double):
    """The figures of docs/rule.md: ‖g - exact‖/‖exact‖ of a chunk's gradient, its median over the later chunks."""
    policy = SpikingNetwork(8, 3, NetworkConfig(neurons=64, neuron="alif", tau_out=0.02), torch.Generator())
    g, steps, batch = torch.Generator().manual_seed(2), 384, 4
    with torch.no_grad():
        policy.readout.normal_(generator=g)
    x, error = (torch.randn(steps, batch, size, generator=g, dtype=torch.float64) for size in (8, 4))
    for t in range(1, steps):  # inputs that last for about ten steps
        x[t] = 0.9 * x[t - 1] + 0.44 * x[t]
    engine, never = CompiledEngine(policy), torch.zeros(steps, batch, dtype=torch.bool)
    states = engine.run(x, policy.initial_state(batch), never).states
    exact, by_window, without = [], [], []
    slow, own = (slow_trace(engine, policy, batch, 4) for _ in range(2))
    for start in range(4, steps, 4):
        if start % 64 == 0:
            own = slow_trace(engine, policy, batch, 4)
        seen, reset = states.at(slice(start - 4, start + 4)), never[:8]
        for found, eps in ((exact, slow.eps), (by_window, own.eps), (without, None)):
            given = (
                seen,
                reset,
                error[start : start + 4],
                policy.readout[:, :-1],
                torch.zeros(64, dtype=torch.float64),
                eps,
            )
            found.append(engine.gradients(*given)[0].clone())
        slow.follow(seen, reset)
        own.follow(seen, reset)
    missed = [
        torch.stack([(g - e).norm() / e.norm() for g, e in zip(found, exact, strict=True)])[31:].median()
        for found in (by_window, without)
    ]
    assert 0.07 < missed[0] < 0.13 and 0.16 < missed[1] < 0.24 and 0.05 < states.spk.mean() < 0.4


@pytest.mark.parametrize("form", ["window", "online"])
def test_a_threshold_that_does_not_adapt_is_lifs(form):
    more = {"rule__form": "online", "rule__tau_f": 12, "rule__normalise": False, "rule__replays": 1}
    given = {"agent": "e-prop"} | (more if form == "online" else {})
    runs = [small_trainer(network__neuron=n, network__adaptation=0.0, **given) for n in ("lif", "alif")]
    found = [[trainer.window() for _ in range(3)] for trainer in runs]
    assert found[0] == found[1] and found[0][-1]["spikes/rate_mean"] > 0.01
    for name in ("hidden", "readout"):
        assert torch.equal(*(getattr(trainer.learner.update.network, name) for trainer in runs))


def test_a_spike_raises_the_threshold_which_falls_back(double):
    policy, _ = make_policy(4, 1, 2, **ALIF)
    policy.hidden.zero_()
    policy.hidden[0] = 1.05  # one input is one spike
    x = torch.zeros(30, 1, 1, dtype=torch.float64)
    x[0] = 1.0
    seen = make_engine("fused", policy).run(x, policy.initial_state(1), torch.zeros(30, 1, dtype=torch.bool)).states
    assert seen.spk[0].all() and not seen.spk[1:].any()
    a = seen.of_neurons()[2][:, 0, 0]
    assert a[0] == 0.0
    assert_close(a[1:], torch.exp(-torch.arange(29.0, dtype=torch.float64) / 20.0), **EXACT)
    constant = make_engine("fused", policy).run(
        torch.ones(200, 1, 1, dtype=torch.float64), policy.initial_state(1), torch.zeros(200, 1, dtype=torch.bool)
    )
    early, late = constant.states.spk[:20].mean(), constant.states.spk[-50:].mean()
    assert early > 1.3 * late > 0.0


def test_it_trains_saves_and_loads(tmp_path):
    settings = {"network.neuron": "alif", "network.tau_m_max": 30.0, "network.neurons": 12, "train.final_episodes": 2}
    run = lfcs.train("toys:Guess-v0", steps=2000, settings=settings, run_dir=tmp_path / "run")
    policy = lfcs.load(run.path)
    assert isinstance(policy.network.neuron, neurons.ALIF) and len(policy.network.neuron.decays) == 4
    _, state = policy.predict(np.ones(3))
    assert state[0].shape == (1, (3 + 1) * 12 + 4 * (policy.encoder.size + 1 + 12))
    _, later = policy.predict(np.ones((1, 3)), state)
    assert not np.array_equal(state[0], later[0]) and run.summary["weight_updates"] > 0


def test_learning_online_goes_on_from_what_was_saved(double):
    settings = {"rule__form": "online", "rule__tau_f": 3, "rule__window": 3, "rule__tau_s": 3, "agent": "e-prop"}
    settings |= {"rule__normalise": False, "network__neuron": "alif", "network__input_gain": 4.0}
    one, other = (small_trainer(**settings) for _ in range(2))
    for _ in range(5):
        one.window()
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    assert one.learner.slow.eps.abs().max() > 1e-2
    for _ in range(3):
        assert one.window() == other.window()
    assert torch.equal(one.learner.slow.eps, other.learner.slow.eps)


def test_a_membrane_at_the_threshold_does_not_fire_and_one_above_does():
    neuron = neurons.ALIF(NetworkConfig(neurons=3, adaptation=0.5))
    spk, mem, adaptation = neuron.tick(  # a spike before: A = 1 + 0.5, and 1 is taken off the membrane
        torch.tensor([[2.5, 2.5 + 2**-20, 2.5 - 2**-20]]), (torch.ones(1, 3), torch.zeros(1, 3), torch.zeros(1, 3))
    )
    fields = spk, mem, adaptation
    assert torch.equal(neuron.threshold(fields), torch.full((1, 3), 1.5))
    assert mem[0, 0] == 1.5 and torch.equal(spk, torch.tensor([[0.0, 1.0, 0.0]]))
    assert torch.equal(neuron.threshold((spk, mem, 2.0 * adaptation)), torch.full((1, 3), 2.0))


@pytest.mark.parametrize("neuron", ["lif", "alif"])
@pytest.mark.parametrize("engine", ENGINES)
def test_no_engine_fires_at_the_threshold(double, neuron, engine):
    policy, _ = make_policy(3, 3, 2, neuron=neuron)
    policy.hidden.zero_()
    policy.hidden[:3] = torch.eye(3)  # neuron i gets input i
    x = torch.tensor([[[1.0, 1.0 + 2**-40, 1.0 - 2**-40]]], dtype=torch.float64)
    seen = engine(policy).run(x, policy.initial_state(1), torch.zeros(1, 1, dtype=torch.bool)).states
    assert seen.spk[0, 0].tolist() == [0.0, 1.0, 0.0]
