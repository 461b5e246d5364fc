"""The rule in JAX has our numbers, its network fires, and what is measured there learns; where JAX is installed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lfcs import experiments
from lfcs.configure import build_config
from lfcs.run import make_trainer

jax = pytest.importorskip("jax", reason="the extra 'peers-jax' is not installed")

from lfcs.study.jax import acting, network, rule  # noqa: E402

SMALL = {"train.env_workers": "0", "train.num_envs": 5, "network.neurons": 40, "network.input_gain": 4.0}


@pytest.fixture
def wide():
    """Make float64 the default of both libraries within a test."""
    torch.set_default_dtype(torch.float64)
    with jax.enable_x64(True):
        yield
    torch.set_default_dtype(torch.float32)


def our_window(**settings):
    """Return a trainer and a window of it in which an episode was truncated, with its next observation."""
    config = build_config("CartPole-v1", experiment=experiments.find("CartPole-v1"), overrides=SMALL | settings)
    trainer = make_trainer(config)
    trainer.rollout.refresh(3)
    traj = trainer.rollout.collect(config.rule.window)
    at, env = 21, int((~(traj.terminated | traj.truncated))[21].nonzero()[0])
    traj.truncated[at, env] = traj.reset[at + 1, env] = True
    traj.final[at] = traj.x[at + 1].clone()
    traj.bootstrap[at] = 0.3
    return trainer, traj


def as_jax(trainer, traj):
    """Return settings, weights, state and window as the program in JAX has them."""
    config, new = trainer.config, trainer.learner.update.network
    settings = rule.Settings(config.network, config.rule, config.options.eps)
    weights = network.Weights(*(jax.numpy.array(w.numpy()) for w in (new.hidden, new.readout)))
    state = network.State(*(jax.numpy.array(part.numpy()) for part in (*traj.state.of_neurons(),)), *(
        jax.numpy.array(part.numpy()) for part in (traj.state.readout, traj.state.trace)
    ))
    names = {"logp": "logp_ref"}
    whole = {f: getattr(traj, names.get(f, f)).numpy() for f in acting.Lived._fields if f not in ("final", "following")}
    final = np.array([t in traj.final for t in range(len(traj.x))])
    following = np.stack([traj.final.get(t, torch.zeros_like(traj.x[0])).numpy() for t in range(len(traj.x))])
    return settings, weights, state, acting.Lived(**whole, final=final, following=following)


@pytest.mark.parametrize("replays,window,tau_f,tail", [(1, 64, 4, 4), (4, 64, 4, 4), (2, 24, 8, 3), (1, 24, 24, 0)])
def test_a_window_changes_the_weights_as_ours_does(wide, replays, window, tau_f, tail):
    of_rule = {"replays": replays, "window": window, "tau_s": window, "tau_f": tau_f, "tail": tail}
    trainer, traj = our_window(**{f"rule.{key}": value for key, value in of_rule.items()})
    settings, weights, state, lived = as_jax(trainer, traj)
    assert lived.x.dtype == np.float64 and lived.terminated.any() and lived.truncated.any()
    learn = jax.jit(rule.learn, static_argnums=0)
    learning, figures = learn(settings, rule.begin(weights, settings), state, lived, 0.7)
    trainer.learner.learn(traj, 0.7)
    update = trainer.learner.update
    for mine, theirs in ((update.network.hidden, learning.weights.hidden), (update.network.readout, learning.weights.readout)):
        assert 1e-4 < np.abs(theirs - mine.numpy()).max() + np.abs(mine.numpy()).max()
        np.testing.assert_allclose(theirs, mine.numpy(), rtol=0.0, atol=1e-8)
    moved = np.abs(np.array(learning.weights.hidden - weights.hidden)).max(axis=1)
    assert (moved > 1e-6).mean() > 0.5
    np.testing.assert_allclose(learning.firing_rate, update.firing_rate.numpy(), rtol=0.0, atol=1e-10)
    assert 0.02 < float(figures["rate"]) < 0.5  # silent networks agree with anything
