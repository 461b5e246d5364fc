"""Pong is the published task, encoders encode, vector environments load."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time

import gymnasium
import numpy as np
import pytest
import toys
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st

import lfcs
from lfcs import envs
from lfcs.config import EncoderConfig
from lfcs.envs import vector
from lfcs.envs.encoders import Identity
from lfcs.errors import UserError


def permutation_p_value(a, b, rounds=2000):
    """Return the p-value of a permutation test on the difference of means."""
    rng, both = np.random.default_rng(0), np.concatenate([a, b])
    observed = abs(a.mean() - b.mean())
    shuffled = (rng.permutation(both) for _ in range(rounds))
    return np.mean([abs(s[: len(a)].mean() - s[len(a) :].mean()) >= observed for s in shuffled])


BYTES = [49, 50, 51, 54]


def plain_pong():
    """Return the same game through gymnasium's own wrapper, after the warm-up."""
    env = gymnasium.make(
        "ALE/Pong-v5", obs_type="ram", frameskip=4, repeat_action_probability=0.25, difficulty=0
    ).unwrapped
    return env


@pytest.mark.parametrize("env_id", ["Pong100-v0", "PongRAM-v0"])
def test_gymnasium_accepts_pong(env_id):
    check_env(gymnasium.make(env_id, disable_env_checker=True).unwrapped, skip_render_check=True)


def test_pong100_lasts_100_decisions_and_pong_the_whole_game():
    env = gymnasium.make("Pong100-v0")
    env.reset(seed=0)
    ends = [env.step(0)[2:4] for _ in range(100)]
    assert ends[:-1] == [(False, False)] * 99 and ends[-1] == (False, True)
    game = gymnasium.make("PongRAM-v0")
    game.reset(seed=0)
    total, terminated, truncated = 0.0, False, False
    while not (terminated or truncated):
        _, reward, terminated, truncated, _ = game.step(0)
        total += reward
    assert terminated and total == -21.0


def test_pong_starts_as_after_21_noops_whatever_the_seed():
    plain = plain_pong()
    for seed in (0, 1, 2):
        plain.reset(seed=seed)
        for _ in range(21):
            ram = plain.step(0)[0]
        obs, _ = gymnasium.make("Pong100-v0").reset(seed=seed)
        assert np.array_equal(obs, ram[BYTES].astype(np.float32) / np.float32(255))


def test_sticky_actions_differ_between_episodes_and_repeat_with_the_seed():
    env = gymnasium.make("Pong100-v0")
    actions = np.random.default_rng(0).integers(3, size=60)

    def play(seed):
        first = [env.reset(seed=seed)[0]] + [env.step(a)[0] for a in actions]
        second = [env.reset()[0]] + [env.step(a)[0] for a in actions]
        return np.array(first), np.array(second)

    a, b = play(5), play(5)
    assert np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])
    assert not np.array_equal(a[0], a[1]) and not np.array_equal(a[0], play(6)[0])


def test_restoring_the_start_leaves_the_distribution_of_returns_unchanged():
    """A fixed open-loop policy: returns through our reset and through 21 NOOPs after a full reset."""
    actions = np.random.default_rng(1).integers(3, size=100)
    env, plain = gymnasium.make("Pong100-v0").unwrapped, plain_pong()
    env.reset(seed=1)
    plain.reset(seed=2)
    ours, theirs = [], []
    for _ in range(80):
        env.reset()
        ours.append([env.step(a)[1] for a in actions])
        plain.reset()
        for _ in range(21):
            plain.step(0)
        theirs.append([plain.step({0: 0, 1: 2, 2: 3}[a])[1] for a in actions])
    # the first point decides most of the return: compare when it falls, and the sum
    for statistic in (lambda r: r.sum(1), lambda r: (r != 0).argmax(1).astype(float)):
        assert permutation_p_value(statistic(np.array(ours)), statistic(np.array(theirs))) > 1e-3


def test_vector_environments_give_final_observations():
    vec = envs.make_vec("toys:Clock-v0", 2)
    assert vec.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    vec.reset(seed=0)
    for _ in range(5):
        obs, _, terminated, _, infos = vec.step(np.zeros(2, dtype=int))
    assert terminated.all() and (obs.argmax(1) == 0).all()
    assert [o.argmax() for o in infos["final_obs"]] == [5, 5]


def test_workers_step_the_same_environments():
    alone, spread = envs.make_vec("toys:Guess-v0", 5), envs.make_vec("toys:Guess-v0", 5, "2")
    assert np.array_equal(alone.reset(seed=3)[0], spread.reset(seed=3)[0])
    actions = np.random.default_rng(0).integers(3, size=(25, 5)) + 5
    for action in actions:
        *one, infos = alone.step(action)
        *other, other_infos = spread.step(action)
        for a, b in zip(one, other, strict=True):
            assert np.array_equal(a, b) and a.dtype == b.dtype
        for row in np.flatnonzero(one[2] | one[3]):
            assert np.array_equal(infos["final_obs"][row], other_infos["final_obs"][row])
    with pytest.raises(UserError, match=r"^environment 0, in step 26 after seed 3: ValueError: no button 0$") as raised:
        spread.step(actions[0] * 0)
    assert "\n" not in str(raised.value) and "Traceback" in raised.value.trace
    spread.close()
    assert not any(process.is_alive() for process in spread.team.processes)
    with pytest.raises(UserError, match="must be auto, 0 or more"):
        envs.make_vec("toys:Guess-v0", 5, "-1")


PAIRS = gymnasium.spaces.Box(-1, 1, (2,), np.float32), gymnasium.spaces.MultiDiscrete([3, 4])


@pytest.mark.parametrize("space", PAIRS)
def test_workers_carry_actions_as_they_are(space):
    alone, spread = (envs.make_vec(lambda: toys.Echo(space), 3, workers) for workers in ("0", "2"))
    alone.reset(seed=0), spread.reset(seed=0)
    actions = np.array([[0.9, -0.7], [0.25, 1.0], [-1.0, 0.5]], np.float32)
    actions = actions if space.dtype == np.float32 else np.array([[2, 3], [1, 0], [0, 1]])
    for vec in (alone, spread):
        obs = vec.step(actions)[0]
        np.testing.assert_array_equal(obs, actions)
    spread.close()


def test_a_worker_that_dies_is_one_line():
    vec = envs.make_vec(lambda: toys.Echo(gymnasium.spaces.Discrete(2), dies=True), 2, "1")
    vec.reset(seed=0)
    with pytest.raises(UserError, match="environment 0, in step 1 after seed 0: the worker process ended"):
        vec.step(np.zeros(2, dtype=int))
    vec.close()


def test_what_cannot_be_sent_to_workers_is_one_line():
    lock = threading.Lock()
    with pytest.raises(UserError, match=r"cannot be sent to worker processes .*use train\.env_workers=0"):
        envs.make_vec(lambda: toys.Guess() if lock else None, 2, "1")


def test_running_moments_equal_numpys():
    rng = np.random.default_rng(0)
    batches = [rng.normal(3, 2, size=(n, 4)) for n in (1, 5, 17)]
    encoder = envs.make_encoder(gymnasium.spaces.Box(-np.inf, np.inf, (4,)), EncoderConfig(kind="standardised"))
    for batch in batches:
        encoder.observe(batch)
    everything = np.concatenate(batches)
    np.testing.assert_allclose(encoder.mean, everything.mean(0))
    np.testing.assert_allclose(encoder.m2 / encoder.observed, everything.var(0))
    standardised = (everything - everything.mean(0)) / everything.std(0)
    np.testing.assert_allclose(encoder.encode(everything), standardised, rtol=1e-5)


@given(st.integers(2, 40), st.floats(0.05, 20.0), st.lists(st.floats(-2, 6), min_size=1, max_size=5))
def test_population_code_is_a_gaussian_of_the_distance(cells, width, numbers):
    """Whatever cells, width and observation: the compiled form multiplies its way outwards."""
    space = gymnasium.spaces.Box(0.0, 4.0, (1,), dtype=np.float64)
    encoder = envs.make_encoder(space, EncoderConfig(kind="population", cells=cells, width=width))
    code = encoder.encode(np.array(numbers)[:, None])
    v, centres = np.clip(np.array(numbers) / 2 - 1, -1, 1), np.linspace(-1, 1, cells)
    sigma = width * 2 / (cells - 1)
    expected = np.exp(-((v[:, None] - centres) ** 2) / (2 * sigma**2))
    np.testing.assert_allclose(code, expected, rtol=1e-6, atol=1e-30)


def test_population_code_by_hand():
    space = gymnasium.spaces.Box(np.array([0.0, -np.inf]), np.array([4.0, np.inf]), dtype=np.float64)
    encoder = envs.make_encoder(space, EncoderConfig(kind="population", cells=3, width=0.5))
    code = encoder.encode(np.array([[4.0, 0.0], [1.0, 0.0]])).reshape(2, 2, 3)
    assert encoder.size == 6 and code.dtype == np.float32
    np.testing.assert_allclose(code[0, 0], np.exp([-8, -2, 0]), rtol=1e-6)  # centres -1, 0, 1; sigma 0.5; v = 1
    np.testing.assert_allclose(code[1, 0], np.exp([-0.5, -0.5, -4.5]), rtol=1e-6)  # v = -0.5
    np.testing.assert_allclose(code[:, 1], [np.exp([-2, 0, -2])] * 2, rtol=1e-6)  # no bounds, nothing observed: v = 0


@pytest.mark.parametrize("kind", ["identity", "standardised", "population"])
def test_encoders_encode_without_learning_and_keep_their_state(kind):
    space = gymnasium.spaces.Box(-np.inf, np.inf, (2, 2), np.float32)
    one, other = (envs.make_encoder(space, EncoderConfig(kind=kind)) for _ in range(2))
    obs = np.random.default_rng(0).normal(5, 3, size=(50, 2, 2)).astype(np.float32)
    one.observe(obs)
    code = one.encode(obs)
    assert code.shape == (50, one.size) and code.dtype == np.float32
    assert np.array_equal(code, one.encode(obs))
    other.load_state_dict(one.state_dict())
    assert np.array_equal(code, other.encode(obs))
    assert np.array_equal(one.encode(obs[:1]), code[:1])


class Signs(Identity):
    """An encoder from outside: the sign of every number."""

    def encode(self, obs):
        return np.sign(super().encode(obs))


def test_an_encoder_from_outside_is_found_by_name(tmp_path):
    settings = {"encoder.kind": "test_envs:Signs", "network.neurons": 8, "train.final_episodes": 2}
    run = lfcs.train("CartPole-v1", steps=200, settings=settings, tuned=False, run_dir=tmp_path / "run")
    encoder = lfcs.load(run.path).encoder
    assert isinstance(encoder, Signs) and encoder.encode(np.array([[0.5, -2.0, 0.0, 3.0]])).tolist() == [[1, -1, 0, 1]]


def test_no_worker_stays_behind_where_a_run_cannot_begin(tmp_path):
    before = set(multiprocessing.active_children())
    for env in ("toys:Written-v0", toys.Forgetful):
        with pytest.raises(UserError):
            given = {"settings": {"train.env_workers": 2, "network.neurons": 8}, "run_dir": tmp_path / str(env)[:9]}
            lfcs.train(env, steps=20, callbacks=[Cut()], **given)
    assert set(multiprocessing.active_children()) <= before


class Cut(lfcs.Callback):
    """Cannot begin."""

    def begin(self, trainer):
        raise UserError("not today")


class Slow(toys.Guess):
    """Slow in its first steps, or in all of them."""

    slow = 3

    def __init__(self):
        super().__init__()
        self.observed = 0

    def step(self, action):
        self.observed += 1
        if self.observed <= self.slow:
            time.sleep(0.01)
        return super().step(action)


class AlwaysSlow(Slow):
    """Slow in every step."""

    slow = 10**9


def test_automatic_workers_are_not_misled_by_slow_first_steps_or_by_cores_of_others(monkeypatch):
    def count(env, cores):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
        return vector._worth(env, 3)

    assert count(Slow, 2) == 0 and count(AlwaysSlow, 1) == 0
    assert count(AlwaysSlow, 2) == 2
    monkeypatch.delattr(os, "sched_getaffinity")  # as on other systems
    assert vector._worth(AlwaysSlow, 3) == (os.cpu_count() if os.cpu_count() > 1 else 0)
