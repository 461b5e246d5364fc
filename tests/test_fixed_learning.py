"""Learning in whole numbers: each part is that of rules.py but for rounding, and together they learn."""

from __future__ import annotations

import argparse
from contextlib import closing

import numpy as np
import pytest
import torch
import toys  # noqa: F401
from conftest import make_policy

from lfcs import rules
from lfcs.engines import TensorEngine
from lfcs.errors import UserError
from lfcs.hardware import fixed_rule as of
from lfcs.hardware.fixed_learning import Learner, at_rest, initial
from lfcs.study import fixed_learning


def test_changes_are_rounded_by_chance_without_a_bias_or_to_the_nearest():
    generator = np.array([12345], np.uint64)
    for n in (-37, -8, 3, 5, 100):
        drawn = np.array([of.rounded(n, 4, generator, 1) for _ in range(4000)])
        assert set(drawn) <= {n // 16, -(-n // 16)} and drawn.mean() == pytest.approx(n / 16, abs=0.04)
        assert of.rounded(n, 4, generator, 0) == np.floor(n / 16 + 0.5)
    assert all(of.rounded(0, 20, generator, 1) == 0 for _ in range(100))


def test_probabilities_are_those_of_a_softmax():
    logits, pi = np.random.default_rng(0).normal(0, 2, (50, 3)), np.empty(3, np.int64)
    for row in logits:
        of.softmax(np.rint(row * 2**of.THETA).astype(np.int64), pi)
        wanted = torch.tensor(row).softmax(0).numpy()
        assert np.abs(pi / 2**of.PROB - wanted).max() < 0.01 and pi.min() >= 1


def test_credit_is_generalised_estimation():
    g = np.random.default_rng(0)
    reward, value, following = g.integers(0, 3, (30, 4)), g.integers(0, 5000, (30, 4)), g.integers(0, 5000, 4)
    ends, cut = g.random((2, 30, 4)) < 0.1
    cut &= ~ends
    window = of.Window(None, None, None, None, reward, ends, cut)
    window = of.Window(*(np.zeros((1, 1), np.int64) if part is None else part for part in window))
    advantage, target = np.empty((2, 30, 4), np.int64)
    rates = of.Rates()
    of.credit(window, value, following, rates, advantage, target)
    v, after = torch.tensor(value / 2**of.VALUE), torch.tensor(following / 2**of.VALUE)
    v_next = torch.cat((v[1:], after[None]))
    v_next = torch.where(torch.tensor(ends), 0.0, torch.where(torch.tensor(cut), v, v_next))
    gamma, lam = rates.gamma / 256, rates.lam / 256
    wanted = rules.advantages(
        rules.td_error(torch.tensor(reward), v, v_next, gamma), torch.tensor(ends | cut), gamma, lam
    )
    assert np.abs(advantage / 2**of.VALUE - wanted.numpy()).max() < 0.1
    assert np.array_equal(target, advantage + value)
    of.normalise(advantage)
    assert abs(advantage.mean()) < 2 and np.abs(advantage).mean() == pytest.approx(2**of.NORMAL, rel=0.2)


def test_the_change_of_hidden_weights_is_that_of_e_prop():
    """The sum over time of L̂ ψ x̄ from rest, beside the engine's, with the same spikes."""
    steps, batch, n, d, k = 8, 3, 30, 5, 2
    network, _ = make_policy(n, d, k, tau_out=-1 / np.log(0.5), dampening=1.0)
    network.neuron.decays = (0.75,)
    network.neuron.betas = [0.75] * n
    network = network.double()
    net = of.Net(
        np.rint(network.hidden.numpy() * 2**of.THETA).astype(np.int32),
        np.rint(network.readout.numpy() * 2**of.THETA).astype(np.int32),
        np.zeros(d, np.int32),
    )
    g = np.random.default_rng(2)
    x, reset = g.integers(0, 256, (steps, batch, d)), np.zeros((steps, batch), bool)
    reset[4, 1] = True
    seen = of.Seen(
        np.empty((steps, batch, d + 1 + n), np.int64), np.empty((steps, batch, n), np.int64),
        np.empty((steps, batch, n + 1), np.int64), np.empty((steps, batch, k + 1), np.int64),
    )  # fmt: skip
    filled = np.full((steps, batch), 1 << of.PROB)
    window = of.Window(x, reset, g.integers(0, k, (steps, batch)), filled, filled, reset, reset)
    zeros, state = np.zeros((steps, batch), np.int64), at_rest(batch, net)
    of.see(0, window, net, state, zeros, zeros, zeros.copy(), 1 << 20, seen)
    seen.error[:] = g.integers(-1000, 1000, seen.error.shape)
    seen.error[..., -1] = 0
    total = np.zeros(net.hidden.shape, np.int64)
    of.hidden_change(reset, net.readout, seen, total)
    engine, start = TensorEngine(network), network.initial_state(batch)
    real = engine.run(torch.tensor(x / 256.0), start, torch.tensor(reset))
    spikes = seen.y[..., :n] >= 1 << (of.TRACE - of.LEAK_Y)
    assert real.states.spk.mean() > 0.05 and np.array_equal(spikes, real.states.spk.numpy() > 0)
    error = torch.tensor(seen.error / 2.0**10)
    feedback = network.readout[:, :-1].clone()
    wanted, _ = engine.gradients(real.states, torch.tensor(reset), error, feedback, torch.zeros(n, dtype=torch.float64))
    whole = torch.tensor(total / 2.0 ** (of.THETA + of.INPUT))
    whole[-n:].fill_diagonal_(0.0)
    assert wanted.abs().max() > 0.1
    torch.testing.assert_close(whole, wanted, atol=0.02 * float(wanted.abs().max()), rtol=0)


def test_weights_saturate_and_stay_as_they_were_by_seed():
    def weights(rates):
        learner = Learner("CartPole-v1", 3, rates, neurons=16)
        with closing(learner.vec):
            learner.train(600)
        return learner.net

    once, again, other = weights(of.Rates()), weights(of.Rates()), weights(of.Rates(stochastic=0))
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))
    assert not np.array_equal(once.hidden, other.hidden)
    assert not np.array_equal(once.hidden, initial(60, 2, 16, 3).hidden)
    assert not once.hidden[-16:].diagonal().any()
    wild = weights(of.Rates(hidden=0, policy=0, critic=0, path=0))
    assert all(np.abs(part).max() == of.MOST for part in wild)


def test_it_learns_which_button_is_lit():
    learner = Learner("toys:Guess-v0", 0, neurons=64)
    with closing(learner.vec):
        before = learner.evaluate(20)
        learner.train(6000)
    assert before < 6 < 7.5 < learner.evaluate(20)


def test_seeds_are_told_one_by_one(capsys):
    given = argparse.Namespace(env="toys:Guess-v0", seeds=["1,2"], steps=300, nearest=True)
    fixed_learning.main(given)
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()[:2]] == ["seed 1", "seed 2"]
    with pytest.raises(UserError, match="--steps must be at least 1"):
        fixed_learning.main(argparse.Namespace(**vars(given) | {"steps": 0}))


def test_actions_that_are_not_discrete_are_refused():
    with pytest.raises(UserError, match="Discrete"):
        Learner("MountainCarContinuous-v0", 0)


@pytest.mark.slow
def test_cartpole_is_learned_from_nothing():
    learner = Learner("CartPole-v1", 1000)
    with closing(learner.vec):
        learner.train(100_000)
    assert learner.evaluate() >= 400
