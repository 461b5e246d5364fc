"""Encoders that emit spikes: what they emit, where their random numbers come from, and that runs with them repeat."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
import toys
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import lfcs
from lfcs import envs
from lfcs import run as runs
from lfcs.compiled.rollout import is_compiled, senses_of
from lfcs.config import EncoderConfig, NetworkConfig
from lfcs.configure import build_config
from lfcs.envs import Previous, WithPrevious, encodes_tensors, make_encoder, make_vec
from lfcs.errors import Interrupted, UserError
from lfcs.network import SpikingNetwork
from lfcs.spaces import flat_row, flat_space

SMALL = {
    "network.neurons": 16, "train.num_envs": 4, "rule.window": 16, "rule.tau_s": 32, "train.env_workers": "0",
    "train.eval_every": 300, "train.eval_episodes": 2, "train.final_episodes": 3, "train.checkpoint_every": 200,
    "encoder.cells": 6, "train.watch": "none",
}  # fmt: skip
BOX = Box(-1, 1, (2,), np.float64)
PREVIOUS = {"encoder.previous_observation": True}


def encoder_of(kind, space=BOX, **settings):
    return make_encoder(space, EncoderConfig(kind=kind, **settings))


def begin(path, **settings):
    config = build_config("CartPole-v1", steps=600, overrides=SMALL | settings)
    return runs.begin(config, path, progress=False)


@pytest.mark.parametrize("kind", ["bernoulli", "latency"])
def test_every_input_is_a_spike_or_none_and_a_binary_number_is_itself(kind):
    space = toys.Lights().observation_space
    flat = flat_space(space)
    space.seed(0)
    obs = np.stack([flat_row(space, space.sample()) for _ in range(40)])
    encoder = encoder_of(kind, flat, cells=7)
    encoder.observe(obs)
    code = encoder.encode(obs)
    assert code.shape == (40, encoder.size) and encoder.size == 5 + 2 * 7 and code.dtype == np.float32
    assert set(np.unique(code)) == {0.0, 1.0} and np.array_equal(code, encoder.encode(obs))
    where = np.repeat(flat.binary, np.where(flat.binary, 1, 7))
    assert np.array_equal(code[:, where], obs[:, flat.binary]) and code[:, ~where].any()
    assert not encodes_tensors(encoder.config)


def test_bernoulli_spikes_are_drawn_from_the_population_code():
    obs = np.random.default_rng(0).uniform(-1, 1, (20_000, 2))
    obs[1::2] = obs[::2]  # the same observation twice
    encoder, likely = encoder_of("bernoulli", cells=9), encoder_of("population", cells=9).encode(obs)
    encoder.seeded(5)
    code = encoder.encode(obs)
    assert np.array_equal(code[1::2], code[::2])  # nothing but the observation, the stream and its place counts
    code, likely = code[::2], likely[::2]
    noise = (code - likely) / np.sqrt(np.maximum(likely * (1 - likely), 1e-3))
    assert np.abs(noise.mean(0)).max() < 4 / np.sqrt(len(noise))
    varied = np.flatnonzero((likely * (1 - likely)).mean(0) > 0.02)
    correlated = np.corrcoef(noise[:, varied].T) - np.eye(len(varied))
    assert len(varied) > 10 and np.abs(correlated).max() < 5 / np.sqrt(len(noise))
    in_time = [np.corrcoef(noise[:-1, j], noise[1:, j])[0, 1] for j in varied]
    assert np.abs(in_time).max() < 5 / np.sqrt(len(noise))
    assert set(code[likely < 1e-12]) <= {0.0} and set(code[likely > 1 - 1e-12]) <= {1.0}


def test_bernoulli_has_a_stream_of_its_own_that_moves_on_with_training():
    obs = np.random.default_rng(0).uniform(-1, 1, (500, 2))
    one, other = encoder_of("bernoulli"), encoder_of("bernoulli")
    one.seeded(1)
    other.seeded(2)
    first = one.encode(obs)
    assert 0.05 < (first != other.encode(obs)).mean() < 0.5
    one.observe(obs[:1])
    later = one.encode(obs)
    assert 0.05 < (first != later).mean() < 0.5 and one.observed == 1
    other.load_state_dict(one.state_dict())
    assert np.array_equal(later, other.encode(obs))
    trainers = [runs.make_trainer(build_config("CartPole-v1", seed=s, overrides={"encoder.kind": "bernoulli"}))
                for s in (0, 1, 0)]  # fmt: skip
    streams = [trainer.policy.encoder.state_dict()["stream"] for trainer in trainers]
    assert streams[0] == streams[2] != streams[1] and streams[0] > 0
    for trainer in trainers:
        trainer.close()


def test_latency_is_the_tick_of_one_spike():
    encoder = encoder_of("latency", cells=5)
    code = encoder.encode(np.array([[-1.0, 1.0], [-0.26, -0.24], [0.3, 9.0]])).reshape(3, 2, 5)
    assert code.argmax(2).tolist() == [[0, 4], [1, 2], [3, 4]] and (code.sum(2) == 1).all()


def previous(space=BOX):
    return flat_space(gymnasium.spaces.Dict([("observation", space), ("previous_observation", space)]))


def test_delta_spikes_where_a_level_is_crossed():
    encoder = encoder_of("delta", previous(), cells=4)  # levels -0.75, -0.25, 0.25, 0.75
    rows = [([0.3, 0.0], [0.0, 0.0]), ([0.8, -0.3], [-0.8, 0.3]), ([-1.0, 0.25], [0.26, 0.2]), ([0.5, 0.5], [0.5, 0.5])]
    code = encoder.encode(np.array([[*now, *last] for now, last in rows])).reshape(4, 2, 4, 2)
    up, down = code[..., 0], code[..., 1]
    assert up.tolist() == [
        [[0, 0, 1, 0], [0, 0, 0, 0]], [[1, 1, 1, 1], [0, 0, 0, 0]], [[0] * 4, [0, 0, 1, 0]], [[0] * 4] * 2,
    ]  # fmt: skip
    assert down.tolist() == [
        [[0] * 4] * 2, [[0] * 4, [0, 1, 1, 0]], [[1, 1, 1, 0], [0] * 4], [[0] * 4] * 2,
    ]  # fmt: skip
    assert encoder.size == 2 * 2 * 4
    seen = encoder_of("delta", previous(Box(-np.inf, np.inf, (1,), np.float64)), cells=4)
    obs = np.random.default_rng(0).normal(5, 2, (400, 2))
    seen.observe(obs)
    mean, std = obs[:, 0].mean(), obs[:, 0].std()
    levels = mean + 3 * std * np.array([-0.75, -0.25, 0.25, 0.75])
    expected = (obs[:, 1:] < levels) & (levels <= obs[:, :1])
    assert np.array_equal(seen.encode(obs).reshape(400, 4, 2)[..., 0], expected) and expected.any()


def test_delta_wants_the_last_observation_and_nothing_else():
    message = r"encoder.kind=delta compares .* needs encoder.previous_observation=true and no other previous_"
    for settings in ({}, PREVIOUS | {"encoder.previous_action": True}):
        with pytest.raises(UserError, match=message):
            runs.make_trainer(build_config("CartPole-v1", overrides=SMALL | {"encoder.kind": "delta"} | settings))
    with pytest.raises(UserError, match="previous_observation wants observations that are a Box, not a Dict"):
        make_vec("toys:Lights-v0", 1, previous=Previous(observation=True))
    for kind in ("compiled", "vector", "device"):
        with pytest.raises(UserError, match=f"need plain environments, not {kind} ones"):
            make_vec("CartPole-v1", 1, kind=kind, previous=Previous(observation=True))


def test_the_last_observation_is_told_and_zero_where_an_episode_begins():
    env = WithPrevious(gymnasium.make("CartPole-v1"), Previous(observation=True))
    obs, _ = env.reset(seed=0)
    assert list(obs) == ["observation", "previous_observation"] and not obs["previous_observation"].any()
    for _ in range(3):
        following, *_ = env.step(1)
        assert np.array_equal(following["previous_observation"], obs["observation"])
        assert not np.array_equal(following["observation"], obs["observation"])
        obs = following
    obs, _ = env.reset()
    assert not obs["previous_observation"].any()
    away = toys.Echo(Box(2.0, 3.0, (1,), np.float32))
    away.observation_space = away.action_space  # which has no zero
    obs, _ = WithPrevious(away, Previous(observation=True)).reset(seed=0)
    assert obs["previous_observation"] == [2.0]


@pytest.mark.parametrize("kind,tolerance", [("bernoulli", 0.15), ("latency", 0.15)])
def test_spikes_drive_a_network_as_a_population_code_does(kind, tolerance):
    def current(kind):
        encoder = encoder_of(kind, cells=20)
        config = NetworkConfig(neurons=600, input_gain=1.0)
        network = SpikingNetwork(encoder.size, 2, config, torch.Generator().manual_seed(0), encoder.drive)
        obs = np.random.default_rng(0).uniform(-0.7, 0.7, (400, 2))
        return (torch.from_numpy(encoder.encode(obs)) @ network.input.weight.T).pow(2).mean().sqrt().item()

    assert current(kind) == pytest.approx(current("population"), rel=tolerance)


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder.kind": "bernoulli", "train.env_kind": "compiled"},
        {"encoder.kind": "bernoulli", "train.env_kind": "plain", "network.ticks": 2},
        {"encoder.kind": "latency"},
        {"encoder.kind": "delta"} | PREVIOUS,
    ],
    ids=lambda given: "-".join(map(str, given.values())),
)
def test_a_run_on_spikes_that_was_cut_ends_as_if_it_had_not_been(tmp_path, settings):
    whole, cut = (begin(tmp_path / name, **settings) for name in ("whole", "cut"))
    runs.complete(whole)
    cut.interrupt()
    with pytest.raises(Interrupted):
        runs.complete(cut)
    again = runs.proceed(tmp_path / "cut", progress=False)
    assert 0 < again.env_steps < 600
    runs.complete(again)
    assert torch.equal(again.reference.hidden, whole.reference.hidden)
    policy, obs = lfcs.load(tmp_path / "cut"), np.random.default_rng(0).normal(size=(20, 8))
    obs = obs[:, : 8 if "delta" in settings.values() else 4]
    assert np.array_equal(policy.encoder.encode(obs), whole.policy.encoder.encode(obs))
    assert len(runs.evaluate(tmp_path / "cut", 2, 1)[0]["greedy"]) == 2


def test_bernoulli_is_the_same_in_compiled_and_plain_environments_and_however_many_play(tmp_path):
    trainers = [begin(tmp_path / kind, **{"encoder.kind": "bernoulli", "train.env_kind": kind})
                for kind in ("compiled", "plain")]  # fmt: skip
    assert [is_compiled(trainer.envs) for trainer in trainers] == [True, False]
    assert senses_of(trainers[0].policy.encoder, True) is not None
    for trainer in trainers:
        runs.complete(trainer)
    assert torch.equal(trainers[0].reference.hidden, trainers[1].reference.hidden)
    policy = trainers[0].policy
    make = [lambda: gymnasium.make("CartPole-v1")] * 3
    plain = SyncVectorEnv(make, autoreset_mode=AutoresetMode.SAME_STEP)
    returns = [runs.play(policy, vec, 3, 7)[0] for vec in (plain, make_vec("CartPole-v1", 3))]
    alone = [runs.play(policy, make_vec("CartPole-v1", 1, kind="plain"), 1, 7 + i)[0][0] for i in range(3)]
    assert np.array_equal(*returns) and returns[0].tolist() == alone


def test_recordings_hold_the_spikes_that_were_acted_on(tmp_path):
    run = lfcs.train("CartPole-v1", steps=64, settings=SMALL | {"encoder.kind": "bernoulli"}, run_dir=tmp_path / "run")
    policy = run.policy
    episode = policy.record("CartPole-v1", seed=3)[0]
    state = policy.network.initial_state(1)
    for x, spikes in zip(episode["input"], episode["spikes"], strict=True):
        seen = policy.engine.run(torch.from_numpy(x)[None, None], state, torch.zeros(1, 1, dtype=torch.bool))
        state = seen.states.at(-1)
        assert np.array_equal(state.spk[0].numpy(), spikes)
    assert set(np.unique(episode["input"])) == {0.0, 1.0}


@pytest.mark.parametrize("kind", ["bernoulli", "latency"])
def test_input_synapses_learn_from_the_spikes_that_came_and_no_others(kind):
    settings = SMALL | {"encoder.kind": kind, "encoder.cells": 30, "encoder.bounds": "declared"}
    env = "Acrobot-v1"  # whose numbers have bounds, of which few steps reach all
    trainer = runs.make_trainer(build_config(env, steps=600, overrides=settings))
    trainer.rollout.refresh(0)
    traj = trainer.rollout.collect(16)
    before = trainer.learner.update.network.input.weight.clone()
    trainer.learner.learn(trainer.learner.update.scaled(traj), 1.0)
    trainer.close()
    came = traj.x.flatten(0, 1).any(0)
    changed = (trainer.learner.update.network.input.weight != before).any(0)
    assert set(traj.x.unique().tolist()) == {0.0, 1.0} and 0 < came.sum() < len(came)
    assert torch.equal(came, changed)


def test_the_spiking_encoders_are_in_the_face_of_envs():
    assert {"bernoulli", "latency", "delta"} <= set(envs.encoders.ENCODERS)
    with pytest.raises(UserError, match="unknown encoder 'bernouli'; did you mean bernoulli"):
        encoder_of("bernouli")
    assert make_encoder(flat_space(Discrete(3)), EncoderConfig(kind="latency")).size == 3


@pytest.mark.slow
def test_all_spiking_input_learns_cartpole(tmp_path):
    settings = {"encoder.kind": "bernoulli", "encoder.cells": 60, "encoder.width": 6.0, "rule.lr_path": 0.01}
    found = [
        lfcs.train(
            "CartPole-v1", steps=50_000, seed=seed, settings=settings, watch="none", run_dir=tmp_path / str(seed)
        )
        for seed in range(1000, 1005)
    ]
    assert np.median([run.summary["mean_return"] for run in found]) >= 475
