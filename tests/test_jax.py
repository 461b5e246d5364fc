"""The rule in JAX has our numbers, its network fires, and what is measured there learns; where JAX is installed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from lfcs import experiments
from lfcs.configure import build_config
from lfcs.run import make_trainer
from lfcs.study import measure
from lfcs.study.measure import PLAIN

jax = pytest.importorskip("jax", reason="the extra 'peers-jax' is not installed")

from lfcs.study.jax import cartpole, ppo, rule, updates  # noqa: E402
from lfcs.study.jax.cartpole_rule import make_rule  # noqa: E402

SMALL = {"train.env_workers": "0", "train.num_envs": 5, "network.neurons": 40, "network.input_gain": 4.0} | {
    key: value for key, value in PLAIN.items() if key != "train.num_envs"
}
EXACT = {"rtol": 0.0, "atol": 1e-8}


@pytest.fixture
def wide(double):
    """Make float64 the default of both libraries within a test."""
    with jax.enable_x64(True):
        yield


def config_of(**settings):
    return build_config("CartPole-v1", experiment=experiments.find("CartPole-v1"), overrides=SMALL | settings)


def our_window(config):
    """Return a trainer and a window of it in which episodes end in both ways."""
    trainer = make_trainer(config)
    trainer.rollout.refresh(3)
    traj = trainer.rollout.collect(config.rule.window)
    at = len(traj.x) // 2
    env = int((~(traj.terminated | traj.truncated))[at].nonzero()[0])
    traj.truncated[at, env] = traj.reset[at + 1, env] = True
    traj.final[at], traj.bootstrap[at] = traj.x[at + 1].clone(), 0.3
    return trainer, traj


@pytest.mark.parametrize("replays,window,tau_f,tail", [(1, 64, 4, 4), (4, 64, 4, 4), (2, 24, 8, 3), (1, 24, 24, 0)])
def test_a_window_changes_the_weights_as_ours_does(wide, replays, window, tau_f, tail):
    of_rule = {"replays": replays, "window": window, "tau_s": window, "tau_f": tau_f, "tail": tail}
    config = config_of(**{f"rule.{key}": value for key, value in of_rule.items()})
    trainer, traj = our_window(config)
    update, lived = trainer.learner.update, updates.lived_of(traj)
    weights, start = updates.weights_of(update.network), updates.state_of(traj)
    assert lived.x.dtype == np.float64 and lived.terminated.any() and lived.truncated.any()
    settings = rule.Settings(config.network, config.rule, config.options.eps)
    learn = jax.jit(rule.learn, static_argnums=0)
    learning, figures = learn(settings, rule.begin(weights, settings), start, lived, 0.7)
    trainer.learner.learn(traj, 0.7)
    np.testing.assert_allclose(learning.weights.hidden, update.network.hidden.numpy(), **EXACT)
    np.testing.assert_allclose(learning.weights.readout, update.network.readout.numpy(), **EXACT)
    np.testing.assert_allclose(learning.firing_rate, update.firing_rate.numpy(), **EXACT)
    moved = np.abs(np.array(learning.weights.hidden - weights.hidden))
    assert (moved.max(axis=1) > 1e-5).mean() > 0.8  # far beyond the tolerance
    assert 0.02 < float(figures["rate"]) < 0.5  # silent networks agree with anything


def test_backpropagation_through_time_is_that_of_snntorch(wide):
    policy = measure.policy_of(40)
    traj = measure.window_of(policy, 30, 4)
    given = updates.weights_of(policy), policy.config, updates.state_of(traj), updates.lived_of(traj)
    hidden, readout = map(np.array, jax.grad(updates.loss)(*given))
    measure.autograd_update(policy, traj, detach=False)()
    assert 0.01 < np.linalg.norm(hidden) + np.linalg.norm(readout) < 0.5  # theirs is not clipped
    for mine, parameter in (
        (hidden[: measure.INPUTS].T, policy.input.weight),
        (hidden[measure.INPUTS], policy.input.bias),
        (hidden[measure.INPUTS + 1 :].T, policy.recurrent),
        (readout[:-1, :-1], policy.policy_readout.weight),
        (readout[-1:, :-1], policy.value_readout.weight),
        (readout[-1:, -1], policy.value_readout.bias),
    ):
        assert np.abs(mine).max() > 1e-5
        np.testing.assert_allclose(mine, parameter.grad.numpy(), rtol=0.0, atol=1e-12)


def test_carts_move_as_in_gymnasium():
    import gymnasium

    env = gymnasium.make("CartPole-v1")
    obs, _ = env.reset(seed=0)
    carts = cartpole.Carts(obs[None], np.zeros(1, int))
    for t in range(200):
        action = int(obs[2] + 0.5 * obs[3] > 0) if t < 100 else 1
        obs, _, terminated, truncated, _ = env.step(action)
        carts, outcome = cartpole.step(carts, np.array([action]), np.zeros((1, 4)))
        np.testing.assert_allclose(outcome.following[0], obs, rtol=1e-3, atol=1e-4)
        assert (bool(outcome.terminated[0]), bool(outcome.truncated[0])) == (terminated, truncated)
        if terminated:
            break
    assert 100 < t < 199 and not np.any(carts.state) and not np.any(carts.age)
    late = cartpole.step(cartpole.Carts(np.zeros((1, 4)), np.array([499])), np.array([0]), np.ones((1, 4)))
    assert late[1].truncated[0] and not late[1].terminated[0] and np.all(late[0].state == 1.0)


@pytest.mark.parametrize(
    "make,steps", [(lambda: make_rule(config_of(**{"train.num_envs": 16})), 1024), (ppo.make_ppo_mlp, 256)]
)
def test_programs_learn(make, steps):
    program = make()
    before = program.greedy(20)
    assert program.compile_s > 0 and 5 < before < 200
    while program.env_steps < 8 * 1024:
        assert program.step() == steps
    assert program.greedy(20) > max(100.0, 1.5 * before)


def test_the_recurrent_program_runs():
    program = ppo.make_ppo_gru(8)
    assert [program.step(), program.step()] == [512, 512] and program.env_steps == 1024
    assert 5 < program.greedy(3) <= 500


def test_what_is_not_written_in_jax_is_refused():
    with pytest.raises(ValueError, match="tau_s = window"):
        make_rule(config_of(**{"rule.tau_s": 128}))
    with pytest.raises(ValueError, match="sided mask"):
        make_rule(config_of(**{"agent.mask": "two-sided"}))


def test_the_benchmark_imports_no_jax():
    code = "import sys, lfcs.cli, lfcs.study.benchmark, lfcs.study.threshold; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
