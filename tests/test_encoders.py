"""Every kind of observation becomes numbers by gymnasium's flattening, and numbers become currents."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
import toys
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Sequence, Text, Tuple
from gymnasium.spaces.utils import flatten, flatten_space
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array
from torch.testing import assert_close

import lfcs
from lfcs import cli, envs
from lfcs import run as runs
from lfcs.config import EncoderConfig, NetworkConfig
from lfcs.configure import build_config
from lfcs.envs import Previous, WithPrevious, make_encoder, make_vec
from lfcs.envs.vector import make_sync
from lfcs.errors import Interrupted, UserError
from lfcs.network import SpikingNetwork
from lfcs.rollout import final_observations
from lfcs.spaces import batched, flat_row, flat_rows, flat_space

SMALL = {
    "network.neurons": 16, "train.num_envs": 4, "rule.window": 16, "rule.tau_s": 32, "train.env_workers": "0",
    "train.eval_every": 300, "train.eval_episodes": 2, "train.final_episodes": 3, "train.checkpoint_every": 200,
}  # fmt: skip
MIXED = toys.Lights().observation_space
SPACES = [  # and how many of their numbers are not binary
    (Discrete(5, start=-2), 0),
    (MultiDiscrete([3, 4], start=[1, 0]), 0),
    (MultiDiscrete([[2, 3], [4, 2]]), 0),
    (MultiBinary((2, 2)), 0),
    (Tuple([Discrete(3), Box(-1, 1, (2, 2), np.float32)]), 4),
    (Dict({"b": Tuple([MultiBinary(2), Discrete(2)]), "a": MultiDiscrete([2, 2])}), 0),
    (MIXED, 2),
]


def samples(space, count=6):
    space.seed(0)
    return [space.sample() for _ in range(count)]


def as_batch(space, rows):
    return concatenate(space, rows, create_empty_array(space, len(rows)))


def begin(path, env, steps=600, **settings):
    return runs.begin(build_config(env, steps=steps, overrides=SMALL | settings), path, progress=False)


@pytest.mark.parametrize("space,coded", SPACES, ids=str)
def test_flat_observations_are_gymnasiums(space, coded):
    flat, theirs, rows = flat_space(space), flatten_space(space), samples(space)
    assert flat == theirs and flat.of is space and batch_space(flat, 3) == batch_space(theirs, 3)
    expected = np.stack([flatten(space, row) for row in rows])
    for row, wanted in zip(rows, expected, strict=True):
        np.testing.assert_array_equal(flat_row(space, row), wanted)
        np.testing.assert_array_equal(batched(space, row)[0], wanted[None])
        assert batched(space, row)[1]
    many, single = batched(space, as_batch(space, rows))
    np.testing.assert_array_equal(many, expected)
    assert not single and many.dtype == flat.dtype
    ones = expected[:, flat.binary]
    assert set(np.unique(ones)) == {0, 1} and ones.sum(1).max() <= flat.active
    assert (~flat.binary).sum() == coded


def test_a_box_stays_as_it_is():
    space = Box(-1, 1, (3, 2), np.float32)
    assert flat_space(space) is space
    one, single = batched(space, np.zeros((3, 2)))
    assert one.shape == (1, 3, 2) and single
    assert make_encoder(space, EncoderConfig(kind="identity")).size == 6


@pytest.mark.parametrize(
    "space,message",
    [
        (Text(4), "is not supported: it must be a Box, Discrete, MultiDiscrete or MultiBinary, or a Dict or Tuple"),
        (Graph(Box(0, 1, (2,)), None), "Graph.* is not supported"),
        (Sequence(Discrete(2)), "Sequence.* is not supported"),
        (Dict({"eye": Box(0, 255, (84, 84), np.uint8)}), "is an image: there is no front end for images yet"),
        (Box(0, 255, (96, 96, 3), np.uint8), "is an image"),
        (Dict({}), "is empty"),
    ],
)
def test_what_no_numbers_stand_for_is_one_line(space, message):
    class Odd(toys.Guess):
        observation_space = space

        def __init__(self):
            self.action_space = Discrete(3)

    with pytest.raises(UserError, match=message) as raised:
        make_vec(Odd, 2)
    assert "\n" not in str(raised.value)


def test_an_observation_outside_its_space_is_one_line():
    class Liar(toys.Lights):
        def _seen(self):
            return super()._seen() | {"lit": self.lit}

    with pytest.raises(UserError, match=r"not in its space: 1 is not in Discrete\(3, start=2\)"):
        vec = make_vec(Liar, 2)
        vec.reset(seed=4)
        for _ in range(9):
            vec.step(np.full(2, 5))


@pytest.mark.parametrize(
    "obs",
    [
        {"lit": 1, "parts": ([0.0], [0.0]), "flags": [0, 1]},
        {"lit": 2, "parts": ([0.0], [0.0]), "flags": [0, 2]},
        {"lit": 2, "parts": ([0.0], [0.0, 1.0]), "flags": [0, 1]},
        {"lit": 2, "parts": ([0.0], [np.nan]), "flags": [0, 1]},
        {"lit": 2, "parts": ([0.0],), "flags": [0, 1]},
        {"lit": 2, "parts": ([0.0], [0.0])},
        {"lit": [2, 3], "parts": ([[0.0]], [[0.0]]), "flags": [[0, 1]]},
        {"lit": [], "parts": ([], []), "flags": []},
        5,
    ],
)
def test_an_observation_that_does_not_fit_is_refused(obs):
    with pytest.raises(ValueError, match=r"is not in|wants a|not finite|rows"):
        batched(MIXED, obs)


@pytest.mark.parametrize("kind", ["identity", "standardised", "population"])
def test_binary_numbers_are_currents_as_they_are(kind):
    """Beside numbers that are encoded; in the compiled form and on tensors."""
    flat, rows = flat_space(MIXED), samples(MIXED, 50)
    encoder, config = make_encoder(flat, EncoderConfig(kind=kind, cells=7)), EncoderConfig(kind=kind, cells=7)
    obs = np.stack([flat_row(MIXED, row) for row in rows])
    encoder.observe(obs)
    code, cells = encoder.encode(obs), 7 if kind == "population" else 1
    assert code.shape == (50, encoder.size) and encoder.size == 5 + 2 * cells
    alone = make_encoder(Box(np.array([-np.inf, 0.0]), np.array([np.inf, 4.0]), dtype=np.float64), config)
    alone.observe(obs[:, ~flat.binary])
    expected = [obs[:, flat.binary], alone.encode(obs[:, ~flat.binary])]
    where = np.repeat(flat.binary, np.where(flat.binary, 1, cells))
    np.testing.assert_array_equal(code[:, where], expected[0])
    np.testing.assert_array_equal(code[:, ~where], expected[1])
    own, double = encoder.loops(), torch.from_numpy(obs).double()
    std = np.sqrt(own.m2 / own.observed[0])
    std = np.where(std > 1e-8, std, 1.0)
    given = (torch.from_numpy(np.array(part)) for part in (own.mean, std, own.constants))
    assert_close(encoder.encode_tensor(double, *given), torch.from_numpy(code).double(), rtol=1e-6, atol=1e-6)


def test_seen_bounds_are_the_mean_and_three_deviations():
    space = Box(np.array([-1e3, -np.inf]), np.array([1e3, np.inf]), dtype=np.float64)
    obs = np.random.default_rng(0).normal([3.0, -20.0], [0.5, 4.0], size=(4000, 2))
    config = {"kind": "population", "cells": 5, "width": 0.7}
    seen, auto = (make_encoder(space, EncoderConfig(bounds=bounds, **config)) for bounds in ("seen", "auto"))
    for encoder in (seen, auto):
        encoder.observe(obs)
    v = ((obs - obs.mean(0)) / obs.std(0) / 3).clip(-1, 1)
    centres, sigma = np.linspace(-1, 1, 5), 0.7 * 0.5
    expected = np.exp(-((v[..., None] - centres) ** 2) / (2 * sigma**2))
    np.testing.assert_allclose(seen.encode(obs).reshape(-1, 2, 5), expected, rtol=1e-5, atol=1e-30)
    code = auto.encode(obs).reshape(-1, 2, 5)
    np.testing.assert_array_equal(code[:, 1], seen.encode(obs).reshape(-1, 2, 5)[:, 1])  # it has no others
    assert (code[:, 0].argmax(1) == 2).all() and len(np.unique(expected[:, 0].argmax(1))) == 5  # declared: too wide
    with pytest.raises(UserError, match=r"encoder.bounds=declared: number 1 of an observation has no bounds"):
        make_encoder(space, EncoderConfig(bounds="declared", **config))
    box = Box(-1, 1, (2,), np.float64)
    declared, auto = (make_encoder(box, EncoderConfig(bounds=bounds, **config)) for bounds in ("declared", "auto"))
    np.testing.assert_array_equal(declared.encode(obs), auto.encode(obs))
    tuple_of = flat_space(Tuple([Discrete(3), box]))
    assert make_encoder(tuple_of, EncoderConfig(bounds="declared", **config)).size == 13  # a one-hot needs none


@pytest.mark.parametrize("kind", ["population", "identity"])
def test_a_one_hot_drives_the_network_as_a_coded_number_does(kind):
    def current(space, obs):
        encoder = make_encoder(space, EncoderConfig(kind=kind))
        network = SpikingNetwork(encoder.size, 2, NetworkConfig(neurons=400), torch.Generator(), encoder.drive)
        return (torch.from_numpy(encoder.encode(obs)) @ network.input.weight.T).std().item()

    number = current(Box(-1, 1, (1,), np.float64), np.linspace(-0.7, 0.7, 60)[:, None] if kind != "identity" else
                     np.ones((1, 1)))  # fmt: skip
    for space, obs in ((flat_space(Discrete(500)), np.eye(500)), (flat_space(MultiDiscrete([3, 9])), None)):
        obs = np.stack([flat_row(space.of, row) for row in samples(space.of, 60)]) if obs is None else obs
        assert current(space, obs) == pytest.approx(number, rel=0.15)
    box = make_encoder(Box(-1, 1, (4,)), EncoderConfig(kind=kind))
    assert box.drive == box.size


@pytest.mark.parametrize("env", ["FrozenLake-v1", "Blackjack-v1", "toys:Lights-v0"])
def test_a_run_on_observations_of_parts_is_trained_saved_and_loaded(tmp_path, env):
    run = lfcs.train(env, steps=400, settings=SMALL, run_dir=tmp_path / "run")
    assert all(0.01 < row["spikes/rate_mean"] < 0.6 for row in lfcs.monitor.read_metrics(run.path))
    policy, source = lfcs.load(run.path), gymnasium.make(env)
    assert policy.observation_space == source.observation_space
    rows = samples(source.observation_space, 5)
    together, state = policy.predict(as_batch(source.observation_space, rows), deterministic=True)
    assert state[0].any() and together.shape == (5,)
    for b, row in enumerate(rows):
        alone, own = policy.predict(row, deterministic=True)
        assert alone == together[b] and np.array_equal(own[0][0], state[0][b])
    found = [runs.evaluate(run.path, 3, 1)[0]["greedy"] for _ in range(2)]
    assert np.array_equal(*found)


def test_predict_plays_as_the_evaluation_does(tmp_path):
    """The same episodes through predict on what the environment gives, and by the evaluation's own way."""
    run = lfcs.train("toys:Lights-v0", steps=400, settings=SMALL, run_dir=tmp_path / "run")
    expected = runs.evaluate(run.path, 4, 1)[0]["greedy"]
    seed = runs.stream_seed(1, "evaluation")
    for engine in ("fused", "snntorch"):
        policy = lfcs.load(run.path, engine=engine)
        assert np.array_equal(runs.play(policy, make_vec("toys:Lights-v0", 4), 4, seed)[0], expected)
        for i, wanted in enumerate(expected):
            env = toys.Lights()
            obs, _ = env.reset(seed=seed + i)
            total, over, state = 0.0, False, None
            while not over:
                action, state = policy.predict(obs, state, deterministic=True)
                obs, reward, terminated, truncated, _ = env.step(action)
                total, over = total + reward, terminated or truncated
            assert total == wanted


def test_workers_carry_flat_observations_and_what_came_before():
    alone, spread = (make_vec("toys:Lights-v0", 3, workers, previous=Previous(True, True)) for workers in ("0", "2"))
    assert alone.single_observation_space == spread.single_observation_space
    assert np.array_equal(alone.reset(seed=1)[0], spread.reset(seed=1)[0])
    for action in np.random.default_rng(0).integers(3, size=(25, 3)) + 5:
        *one, infos = alone.step(action)
        *other, other_infos = spread.step(action)
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
        over = one[2] | one[3]
        assert np.array_equal(final_observations(one[0], over, infos), final_observations(other[0], over, other_infos))
    spread.close()


class Parts(SyncVectorEnv):
    """A vector form whose observations are a Dict."""

    def __init__(self, num_envs, autoreset_mode=AutoresetMode.DISABLED):
        super().__init__([toys.Lights] * num_envs, autoreset_mode=autoreset_mode)


class Told(Parts):
    """The same, which cannot be asked to reset itself."""

    def __init__(self, num_envs):
        super().__init__(num_envs)


gymnasium.register("SameParts-v0", entry_point=toys.Lights, vector_entry_point=Parts)
gymnasium.register("ToldParts-v0", entry_point=toys.Lights, vector_entry_point=Told)


@pytest.mark.parametrize("name", ["SameParts-v0", "ToldParts-v0"])
def test_vector_forms_are_flattened_too(name):
    plain, ours = make_sync("toys:Lights-v0", 3), make_vec(name, 3, kind="vector")
    assert ours.single_observation_space.of == MIXED and ours.observation_space == plain.observation_space
    np.testing.assert_array_equal(plain.reset(seed=0)[0], ours.reset(seed=0)[0])
    ended = 0
    for action in np.random.default_rng(0).integers(3, size=(25, 3)) + 5:
        one, other = plain.step(action), ours.step(action)
        over = one[2] | one[3]
        for a, b in zip(one[:4], other[:4], strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(*(final_observations(got[0], over, got[4]) for got in (one, other)))
        ended += over.sum()
    assert ended == 6


SEEN = {"encoder.bounds": "seen", "encoder.kind": "population"}


@pytest.mark.parametrize(
    "env,kind", [("CartPole-v1", "compiled"), ("CartPole-v1", "plain"), ("toys:Lights-v0", "plain")]
)
def test_seen_bounds_are_saved_frozen_in_evaluation_and_resumed_exactly(tmp_path, env, kind):
    settings = SEEN | {"train.env_kind": kind}
    whole, cut = (begin(tmp_path / name, env, **settings) for name in ("whole", "cut"))
    runs.complete(whole)
    cut.interrupt()
    with pytest.raises(Interrupted):
        runs.complete(cut)
    again = runs.proceed(tmp_path / "cut", progress=False)
    assert 0 < again.env_steps < 600
    runs.complete(again)
    for name in ("observed", "mean", "m2"):
        own = getattr(again.policy.encoder, name)
        assert np.array_equal(own, getattr(whole.policy.encoder, name)) and own.any()
        assert np.array_equal(own, getattr(lfcs.load(tmp_path / "cut").encoder, name))
    assert again.policy.encoder.observed == again.env_steps  # what was seen in training, and not in evaluations
    assert torch.equal(again.reference.hidden, whole.reference.hidden)


def test_what_was_acted_on_is_kept_while_the_bounds_move():
    """The reference judges a window's actions as when it acted, though the encoder has moved on within the window."""
    trainer = runs.make_trainer(build_config("CartPole-v1", steps=600, overrides=SMALL | SEEN))
    trainer.rollout.refresh(0)
    trainer.rollout.collect(3)
    before = trainer.policy.encoder.mean.copy()
    traj = trainer.rollout.collect(16)
    seen = trainer.engine.run(traj.x, traj.state, traj.reset)
    assert not np.allclose(before, trainer.policy.encoder.mean, rtol=1e-3)
    assert torch.equal(seen.params, traj.params) and seen.states.data.any()
    trainer.close()


def test_what_came_before_is_a_part_of_the_observation():
    env = WithPrevious(toys.Lights(), Previous(action=True, reward=True))
    obs, _ = env.reset(seed=0)
    assert obs in env.observation_space and not obs["previous_action"].any() and obs["previous_reward"] == [0.0]
    for button in (5, 7, 6):
        obs, reward, *_ = env.step(button)
        assert obs in env.observation_space
        assert obs["previous_action"].tolist() == np.eye(3)[button - 5].tolist() and obs["previous_reward"] == [reward]
    assert not env.reset()[0]["previous_action"].any()
    only = WithPrevious(toys.Guess(), Previous(reward=True)).observation_space
    assert list(only.spaces) == ["observation", "previous_reward"]


def test_actions_of_any_kind_are_told_in_their_own_units():
    low, high = np.array([-2.0, 0.0, -np.inf], np.float32), np.array([2.0, 4.0, np.inf], np.float32)
    space = Dict({"a": Box(low, high), "b": Tuple([MultiDiscrete([2, 3]), MultiBinary(2)])})
    told = envs.previous.told(space, {"a": np.array([1.0, 9.0, 30.0]), "b": (np.array([1, 2]), np.array([0, 1]))})
    assert told in envs.previous.told_space(space)
    assert told["a"].tolist() == [0.5, 1.0, 30.0]
    assert told["b"][0].tolist() == [0, 1, 0, 0, 1] and told["b"][1].tolist() == [0, 1]


def test_the_next_episode_knows_nothing_of_the_last_one():
    vec = make_vec("toys:Clock-v0", 2, previous=Previous(True, True))
    assert vec.single_observation_space.shape == (6 + 2 + 1,)
    vec.reset(seed=0)
    for step in range(1, 6):
        obs, _, over, _, infos = vec.step(np.ones(2, int))
        told = final_observations(obs, over, infos)[:, 6:]
        assert told.tolist() == [[0.0, 1.0, 1.0]] * 2 and over.all() == (step == 5)
    assert not obs[:, 6:].any()


def test_a_run_that_observes_what_came_before(tmp_path, capsys):
    settings = {"encoder.previous_action": True, "encoder.previous_reward": True}
    run = lfcs.train("CartPole-v1", steps=300, settings=SMALL | settings, tuned=False, run_dir=tmp_path / "run")
    policy, env = lfcs.load(run.path), WithPrevious(gymnasium.make("CartPole-v1"), Previous(True, True))
    obs, _ = env.reset(seed=0)
    action, state = policy.predict(obs, deterministic=True)
    obs, *_ = env.step(action)
    policy.predict(obs, state)
    assert policy.encoder.size == 15 * 5 + 2 and len(runs.evaluate(run.path, 2, 1)[0]["greedy"]) == 2
    for kind in ("compiled", "vector", "device"):
        with pytest.raises(UserError, match=f"need plain environments, not {kind} ones"):
            begin(tmp_path / kind, "CartPole-v1", **settings, **{"train.env_kind": kind})


def test_the_command_line_says_what_is_flattened(tmp_path, capsys):
    small = [f"{key}={value}" for key, value in SMALL.items()]
    assert (
        cli.main(["train", "toys:Lights-v0", "--steps", "64", "--run-dir", str(tmp_path / "a"), "--set", *small]) == 0
    )
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith("observations: Dict('flags': MultiBinary(2), 'lit': Discrete(3, start=2), 'parts': Tuple(")
    assert line.endswith(" flattened to 7 numbers")
    assert envs.flattening(make_vec("CartPole-v1", 2)) is None
    assert envs.flattening(make_sync(lambda: toys.Echo(Box(-1, 1, (3, 2))), 1)).endswith("to 6 numbers")


def test_a_policy_of_before_these_settings_is_continued(tmp_path):
    trainer = begin(tmp_path / "run", "CartPole-v1", steps=64)
    saved = trainer.policy.state_dict()
    saved["encoder"] = {key: saved["encoder"][key] for key in ("kind", "cells", "width")}
    del saved["action_space"]["dtype"]
    trainer.policy.load_state_dict(saved)
    assert runs.revive(saved, torch.device("cpu"), "fused").encoder.config == trainer.policy.encoder.config
    with pytest.raises(ValueError, match="its encoder is"):
        trainer.policy.load_state_dict(saved | {"encoder": saved["encoder"] | {"cells": 3}})
    trainer.close()


def test_flat_rows_want_parts_of_the_same_size():
    with pytest.raises(ValueError, match=r"parts of \[1, 2\] rows"):
        flat_rows(Tuple([Discrete(2), Discrete(2)]), ([0, 1], [0]))


def apart(encoder):
    """Return how far the codes of -1 and 1 are apart, at most 1."""
    return float(np.abs(np.subtract(*encoder.encode(np.array([[-1.0], [1.0]])))).max())


@pytest.mark.parametrize("size", [1e12, -1e12, 1e200, 1e308])
@pytest.mark.parametrize("before", [8, 120, 1200])
@pytest.mark.parametrize("kind", ["population", "standardised"])
def test_one_huge_observation_does_not_blind_for_good(kind, before, size):
    encoder = make_encoder(Box(-np.inf, np.inf, (1,), np.float64), EncoderConfig(kind=kind))
    rng = np.random.default_rng(0)
    for _ in range(before // 8):
        encoder.observe(rng.normal(size=(8, 1)))
    first = apart(encoder)
    assert encoder.far is None
    encoder.observe(np.array([[0.0], [0.0], [0.0], [size], [0.0], [0.0], [0.0], [size]]))
    assert encoder.far == (3, before)
    for _ in range(2000):
        encoder.observe(rng.normal(size=(8, 1)))
    assert apart(encoder) > 0.4 * first and np.isfinite(encoder.m2).all()
    assert encoder.far == (3, before)


def test_a_huge_first_observation_is_finite_and_a_change_of_scale_is_followed():
    encoder = make_encoder(Box(-np.inf, np.inf, (1,), np.float64), EncoderConfig(kind="standardised"))
    encoder.observe(np.array([[1e300], [0.0]]))
    assert np.isfinite(encoder.m2).all() and np.isfinite(encoder.encode(np.ones((1, 1)))).all()
    encoder, rng = make_encoder(Box(-np.inf, np.inf, (1,), np.float64), EncoderConfig()), np.random.default_rng(0)
    for scale, batches in ((1.0, 200), (1e6, 2000)):
        for _ in range(batches):
            encoder.observe(rng.normal(scale=scale, size=(8, 1)))
    assert encoder.m2[0] / encoder.observed[0] == pytest.approx(1e12, rel=0.2)


def test_what_is_not_far_is_followed_as_ever_bit_for_bit():
    rng = np.random.default_rng(1)
    encoder = make_encoder(Box(-np.inf, np.inf, (3,), np.float64), EncoderConfig(kind="standardised"))
    count, mean, m2 = 0.0, np.zeros(3), np.zeros(3)
    for n in range(400):
        batch = rng.normal(size=(8, 3)) * [1.0, 1e-3, 50.0] + [0.0, 5.0, -2e3]
        batch[:, 1] = 5.0 if n < 100 else batch[:, 1]  # a number that is constant at first
        encoder.observe(batch)
        own = np.array([sum(batch[:, i]) / 8.0 for i in range(3)])
        square = np.array([sum((batch[:, i] - own[i]) ** 2) for i in range(3)])
        delta, total = own - mean, count + 8
        m2 += square + delta * delta * count * 8.0 / total
        mean += delta * 8.0 / total
        count = total
    assert np.array_equal(encoder.mean, mean) and np.array_equal(encoder.m2, m2) and encoder.far is None


class Leaps(gymnasium.Env):
    """Numbers of normal size, but for one in the 310th step of the first one made."""

    observation_space, action_space = Box(-np.inf, np.inf, (2,), np.float64), gymnasium.spaces.Discrete(2)
    made = 0

    def __init__(self):
        self.number, self.time = Leaps.made, 0
        Leaps.made += 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.normal(size=2), {}

    def step(self, action):
        self.time += 1
        obs = self.np_random.normal(size=2)
        return obs * 1e15 if self.number == 0 and self.time == 310 else obs, 1.0, False, self.time % 50 == 0, {}


def test_a_leap_is_said_once_with_environment_and_step(tmp_path):
    said = []

    class Hears(lfcs.Callback):
        def warning(self, trainer, message):
            said.append(message)

    settings = {"network.neurons": 8, "train.num_envs": 4, "train.final_episodes": 2, "train.watch": "none"}
    lfcs.train(Leaps, steps=2048, settings=settings, run_dir=tmp_path, callbacks=[Hears()])
    assert len(said) == 1 and said[0].startswith("environment 0 gave an observation more than 100 standard deviations")
    assert "at environment step 1,240:" in said[0]
