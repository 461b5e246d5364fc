"""Compiled classic tasks give gymnasium's numbers, bit for bit, and each implementation is the one asked for."""

from __future__ import annotations

import json
import subprocess
import sys

import gymnasium
import numba
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from lfcs import cli, run
from lfcs.compiled import tasks
from lfcs.envs import classic, described, make_vec
from lfcs.envs.classic import CompiledVectorEnv
from lfcs.envs.vector import make_sync
from lfcs.errors import UserError
from lfcs.rollout import final_observations

gymnasium.register(
    "SuttonCartPole-v0",
    entry_point="gymnasium.envs.classic_control.cartpole:CartPoleEnv",
    kwargs={"sutton_barto_reward": True},
    max_episode_steps=30,
)


def along(column):
    """Return a policy of three actions that pushes along a speed, and so pumps energy into a swing."""
    return lambda obs, rng: np.where(obs[:, column] > 0, 2, 0)


def torque(most):
    """Return a policy of random forces, beyond the bounds too, and exactly at them."""

    def act(obs, rng):
        force = rng.uniform(-1.5 * most, 1.5 * most, (len(obs), 1))
        return np.where(rng.random((len(obs), 1)) < 0.2, np.sign(force) * most, force).astype(np.float32)

    return act


def push(obs, rng):
    """Push along the speed with forces around the bound."""
    return (np.where(obs[:, 1:] >= 0, 1, -1) * rng.uniform(0.5, 1.2, (len(obs), 1))).astype(np.float32)


# the policies that are tried on a task besides one of random actions, and whether they reach its end
POLICIES = {
    "CartPole-v1": (None, True),
    "SuttonCartPole-v0": (None, True),
    "Acrobot-v1": (along(5), True),
    "MountainCar-v0": (along(1), True),
    "MountainCarContinuous-v0": (push, True),
    "Pendulum-v1": (torque(2.0), False),
}
TASKS = list(POLICIES)


def compiled(env_id, count):
    return CompiledVectorEnv(classic.find(env_id), count)


def random_action(envs, rng):
    if isinstance(envs.single_action_space, gymnasium.spaces.Discrete):
        return rng.integers(envs.single_action_space.n, size=envs.num_envs)
    return torque(float(envs.single_action_space.high[0]))(np.zeros((envs.num_envs, 1)), rng)


def assert_same_step(one, other, action):
    """Step both; return whether any episode terminated, and the observations."""
    *got, infos = one.step(action)
    *wanted, wanted_infos = other.step(action)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    over = got[2] | got[3]
    finals = final_observations(got[0], over, infos), final_observations(wanted[0], over, wanted_infos)
    np.testing.assert_array_equal(*finals, strict=True)
    return got[2], got[0]


@pytest.mark.parametrize("env_id", TASKS)
def test_trajectories_are_gymnasiums_bit_for_bit(env_id):
    ours, theirs, (policy, reaches) = compiled(env_id, 5), make_sync(env_id, 5), POLICIES[env_id]
    for name in ("single_observation_space", "single_action_space", "observation_space", "action_space"):
        assert getattr(ours, name) == getattr(theirs, name)
    ended = 0
    for seed, driven in ((0, False), (3, True), (None, True), (12, False)):  # None goes on with the generators
        rng = np.random.default_rng(seed)
        obs, _ = ours.reset(seed=seed)
        np.testing.assert_array_equal(obs, theirs.reset(seed=seed)[0], strict=True)
        for _ in range(1100):
            drive = driven and policy is not None and rng.random() < 0.9
            action = policy(obs, rng) if drive else random_action(ours, rng)
            terminated, obs = assert_same_step(ours, theirs, action)
            ended += int(terminated.sum())
    assert (ended > 0) == reaches


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(TASKS), st.integers(1, 40), st.integers(0, 2**31), st.integers(0, 90))
def test_any_number_of_environments_and_any_seed(env_id, count, seed, window):
    """Also where starts were drawn ahead for a loop over many steps."""
    ours, theirs, rng = compiled(env_id, count), make_sync(env_id, count), np.random.default_rng(seed)
    np.testing.assert_array_equal(ours.reset(seed=np.int64(seed))[0], theirs.reset(seed=seed)[0])
    for reset_seed in (seed, None, list(range(count))):
        obs, _ = ours.reset(seed=reset_seed)
        np.testing.assert_array_equal(obs, theirs.reset(seed=reset_seed)[0])
        for t in range(25):
            if t % 10 == 3:
                ours.ready(window)
                assert ours.starts.shape[1] - ours.used.max() > window
            assert_same_step(ours, theirs, random_action(ours, rng))


@pytest.mark.parametrize("env_id", TASKS)
def test_the_time_limit_truncates_and_the_next_episode_begins_at_once(env_id):
    envs, limit = compiled(env_id, 2), gymnasium.spec(env_id).max_episode_steps
    envs.reset(seed=0)
    envs.elapsed[:] = limit - 2
    still = np.ones(2, int) if envs.task.action_space.shape == () else np.zeros((2, 1), np.float32)
    assert not envs.step(still)[3].any()
    obs, _, _, truncated, infos = envs.step(still)
    assert truncated.all() and (envs.elapsed == 0).all() and not np.array_equal(obs, infos["final_obs"])


def test_starts_are_drawn_rarely():
    envs = compiled("CartPole-v1", 4)
    envs.reset(seed=0)
    envs.ready(100)
    starts = envs.starts
    drawn = starts.copy()
    envs.used += 3
    envs.ready(100)
    assert envs.starts is starts and np.array_equal(starts, drawn)


def test_bad_actions_and_seeds_are_one_line_and_step_nothing():
    cart, pendulum = compiled("CartPole-v1", 3), compiled("Pendulum-v1", 2)
    with pytest.raises(gymnasium.error.ResetNeeded):
        cart.step(np.zeros(3, int))
    cart.reset(seed=0), pendulum.reset(seed=0)
    before = cart.state.copy()
    for bad in ([0, 2, 1], [0, -1, 1]):
        with pytest.raises(UserError, match=r"environment 1 was given the action (2|-1), not in Discrete\(2\)"):
            cart.step(np.array(bad))
    for bad in (np.zeros(2, int), np.zeros(3), np.zeros((3, 1), int), np.zeros(3, bool)):
        with pytest.raises(UserError, match=r"actions must be \(3,\) of int64"):
            cart.step(bad)
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(UserError, match="environment 1 was given the action"):
            pendulum.step(np.array([[0.0], [bad]], np.float32))
    assert np.array_equal(cart.state, before) and not pendulum.elapsed.any()
    with pytest.raises(UserError, match="2 seeds for 3 environments"):
        cart.reset(seed=[1, 2])
    with pytest.raises(UserError, match="takes no options"):
        cart.reset(options={"low": -1.0})


def test_only_gymnasiums_own_class_without_wrappers_is_compiled():
    spec = gymnasium.spec("CartPole-v1")
    wrapped = gymnasium.envs.registration.WrapperSpec("TimeAware", "somewhere:TimeAware", {})
    for name, changes in {
        "Kwargs-v0": {"kwargs": {"another": 1}},
        "Wrapped-v0": {"additional_wrappers": (wrapped,)},
        "Mine-v0": {"entry_point": "toys:Clock"},
    }.items():
        given_spec = {"entry_point": spec.entry_point} | changes
        gymnasium.registry[name] = gymnasium.envs.registration.EnvSpec(name, **given_spec)
        assert classic.find(name) is None
        del gymnasium.registry[name]
    assert classic.find("Unknown-v0") is None
    for env_id in TASKS:
        task = classic.find(env_id)
        assert env_id in task.ids or not task.ids
        assert task.limit == gymnasium.spec(env_id).max_episode_steps
    assert compiled("CartPole-v1", 1).metadata["autoreset_mode"] == AutoresetMode.SAME_STEP


ONCE = """
import json, numpy as np
from lfcs import cli, run
from lfcs.envs import classic, described, make_vec
from lfcs.envs.classic import base
for env_id in ("CartPole-v1", "Pendulum-v1"):
    envs = classic.CompiledVectorEnv(classic.find(env_id), 2)
    envs.reset(seed=0)
    envs.step(np.zeros(envs.action_space.shape, envs.action_space.dtype))
stats = [(f.stats.cache_hits, f.stats.cache_misses) for f in (base.step_all, base.begin_all)]
print(json.dumps([[sum(kind.values()) for kind in pair] for pair in stats]))
"""


def test_what_calls_tasks_is_compiled_once_for_all_and_kept(tmp_path):
    """The second process finds it in the cache, for whichever task."""
    run = [sys.executable, "-c", ONCE]
    for _ in range(2):
        found = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    assert found == [[1, 0], [1, 0]]


@numba.njit
def step_three(given):
    for b in range(3):
        tasks.step_one(given, b)


def test_one_environment_is_stepped_in_compiled_code_as_by_a_call():
    """A loop over many steps of ours, which takes the arrays, goes on where ``step`` was."""
    envs, other = compiled("CartPole-v1", 3), compiled("CartPole-v1", 3)
    envs.reset(seed=5), other.reset(seed=5)
    actions = np.random.default_rng(0).integers(2, size=(60, 3))
    envs.ready(60)
    for action in actions:
        given = envs.tasks()
        given.action[:] = action[:, None]
        step_three(given)
        obs, reward, terminated, truncated, _ = other.step(action)
        assert np.array_equal(envs.obs, obs) and np.array_equal(given.outcome.T, [reward, terminated, truncated])


class Masked(CartPoleVectorEnv):
    """gymnasium's vectorised cart-pole, in a mode in which it is told what to reset."""

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}
    heeds = True

    def reset(self, *, seed=None, options=None):
        mask = (options or {}).get("reset_mask")
        if mask is None or not self.heeds:
            return super().reset(seed=seed)
        self.state[:, mask] = self.np_random.uniform(self.low, self.high, (4, mask.sum()))
        self.steps[mask] = 0
        return self.state.T.astype(np.float32), {}

    def step(self, action):
        outcome = super().step(action)
        self.prev_done[:] = False
        return outcome


class Deaf(Masked):
    """Resets all, whatever the mask."""

    heeds = False


class Same(Masked):
    """Resets itself within the step, where it is asked to."""

    def __init__(self, num_envs, max_episode_steps=500, autoreset_mode=AutoresetMode.NEXT_STEP, tells=True):
        super().__init__(num_envs, max_episode_steps)
        self.metadata, self.tells = {"autoreset_mode": autoreset_mode}, tells

    def step(self, action):
        obs, reward, terminated, truncated, _ = super().step(action)
        infos = {"final_obs": obs.copy()} if self.tells else {}
        if (terminated | truncated).any():
            obs, _ = self.reset(options={"reset_mask": terminated | truncated})
        return obs, reward, terminated, truncated, infos


ENTRY = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"
for cls in (Masked, Deaf, Same):
    vector = {"entry_point": ENTRY, "vector_entry_point": cls, "max_episode_steps": 40}
    gymnasium.register(f"{cls.__name__}CartPole-v0", **vector)
gymnasium.register("SilentCartPole-v0", **(vector | {"kwargs": {"tells": False}}))
gymnasium.register("OnlyVector-v0", vector_entry_point=Masked, max_episode_steps=40)


@pytest.mark.parametrize("env_id", ["MaskedCartPole-v0", "SameCartPole-v0", "OnlyVector-v0"])
def test_vector_implementations_step_as_plain_ones_from_the_same_state(env_id):
    plain, ours = make_sync("MaskedCartPole-v0", 6), make_vec(env_id, 6, kind="vector")
    assert ours.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    plain.reset(seed=0)
    obs, _ = ours.reset(seed=0)
    rng, ended, firsts = np.random.default_rng(0), np.zeros(2), [obs]
    for _ in range(300):
        for b, env in enumerate(plain.envs):
            env.unwrapped.state = ours.envs.state[:, b].copy()
            env.unwrapped.steps_beyond_terminated = None
        action = rng.integers(2, size=6) | (np.arange(6) == 5)  # the last one falls soon
        action[0] = obs[0, 2] + obs[0, 3] > 0  # the first is held up until the time limit
        obs, reward, terminated, truncated, infos = ours.step(action)
        theirs = plain.step(action)
        over = terminated | truncated
        for a, b in zip((reward, terminated, truncated), theirs[1:4], strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
        seen = (final_observations(o, over, i) for o, i in ((obs, infos), (theirs[0], theirs[4])))
        np.testing.assert_array_equal(*seen)
        np.testing.assert_array_equal(obs[~over], theirs[0][~over])
        firsts.append(obs[over])
        ended += terminated.sum(), truncated.sum()
    starts = np.concatenate(firsts)
    assert ended.all() and (np.abs(starts) <= 0.05).all() and (np.abs(starts).max(0) > 0.04).all()
    assert np.abs(starts.mean(0)).max() < 0.02


def test_what_cannot_reset_within_the_step_is_one_line():
    for env_id, message in {
        "CartPole-v1": r"cannot reset within the step .*\(its autoreset mode is NEXT_STEP\)",
        "Acrobot-v1": "no vector form of its own",
        "CartPoll-v1": "unknown environment 'CartPoll-v1'; did you mean CartPole-v1",
    }.items():
        with pytest.raises(UserError, match=message):
            make_vec(env_id, 2, kind="vector")
    for env_id, message in {"DeafCartPole-v0": "ignores reset_mask", "SilentCartPole-v0": "gives no final_obs"}.items():
        envs = make_vec(env_id, 2, kind="vector")
        envs.reset(seed=0)
        with pytest.raises(UserError, match=message):
            for _ in range(20):
                envs.step(np.array([0, 1]))


def test_the_kind_that_steps_is_the_one_asked_for():
    def kind(*args, **given):
        envs = make_vec(*args, **given)
        said = described(envs)
        envs.close()
        return said

    assert kind("CartPole-v1", 3) == kind("CartPole-v1", 3, "auto") == "3 environments, compiled"
    assert kind("toys:Clock-v0", 2) == kind("CartPole-v1", 2, kind="plain") == "2 environments, plain"
    assert kind(lambda: gymnasium.make("CartPole-v1"), 2) == "2 environments, plain"
    assert kind("CartPole-v1", 2, "1") == "2 environments, plain, in 1 worker"
    assert kind("MaskedCartPole-v0", 2, "auto", "vector") == "2 environments, vector"
    for args, message in (
        (("toys:Clock-v0", 2, "0", "compiled"), "there is no compiled form of 'toys:Clock-v0'"),
        (("CartPole-v1", 2, "1", "compiled"), "needs train.env_workers=0"),
        ((lambda: gymnasium.make("CartPole-v1"), 2, "0", "compiled"), "wants the id of a registered environment"),
        (("CartPole-v1", 2, "0", "fast"), "must be one of auto, compiled, vector, plain"),
    ):
        with pytest.raises(UserError, match=message):
            make_vec(*args)


def test_a_run_says_what_steps_its_environments_and_does_not_depend_on_it(tmp_path, capsys):
    small = ["network.neurons=8", "train.num_envs=4", "train.final_episodes=2", "rule.window=32"]
    said, weights = {}, {}
    for name in ("auto", "plain"):
        path = tmp_path / name
        argv = ["train", "CartPole-v1", "--steps", "600", "--run-dir", str(path), "--env-workers", "0"]
        assert cli.main([*argv, "--set", f"train.env_kind={name}", *small]) == 0
        said[name] = capsys.readouterr().out.splitlines()[0]
        assert json.loads((path / "config.json").read_text())["environments"] == said[name].partition(": ")[2]
        weights[name] = run.load(path).network.hidden.detach().numpy()
        assert run.load_config(path).train.env_kind == name
    assert said["auto"] == "CartPole-v1: 4 environments, compiled"
    assert said["plain"] == "CartPole-v1: 4 environments, plain"
    assert np.array_equal(*weights.values())
    assert (
        run.evaluate(tmp_path / "auto", 2, 1)[0]["greedy"].tolist()
        == run.evaluate(tmp_path / "plain", 2, 1)[0]["greedy"].tolist()
    )
    trainer = run.proceed(tmp_path / "auto", progress=False)  # goes on where it was
    assert trainer.env_steps >= 600
    trainer.close()
