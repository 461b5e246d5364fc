"""A policy acts alone: single or batched, with or without its environment, in others' hands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
import toys

import lfcs
from lfcs import checkpoint, evaluation
from lfcs.envs import make_vec
from lfcs.errors import UserError
from lfcs.heads import named_head
from lfcs.policy import pack_space, unpack_space

SMALL = {
    "network.neurons": 16, "network.input_gain": 4.0, "train.num_envs": 2, "rule.window": 10, "rule.tau_s": 10,
    "train.final_episodes": 2, "train.eval_every": 1000,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return lfcs.train("toys:Guess-v0", steps=200, settings=SMALL, run_dir=tmp_path_factory.mktemp("run") / "it")


def observations(steps, batch, seed=0):
    return np.eye(3)[np.random.default_rng(seed).integers(3, size=(steps, batch))]


def test_predict_takes_one_observation_or_many(run):
    policy, obs = run.policy, observations(12, 4)
    many, one = None, [None] * 4
    fired = 0.0
    for t in range(12):
        starts = np.full(4, t in (0, 7))
        actions, many = policy.predict(obs[t], many, starts, deterministic=True)
        assert actions.shape == (4,) and actions.dtype == np.int64 and ((actions >= 5) & (actions < 8)).all()
        fired += many[0][:, :16].sum()
        for b in range(4):
            action, one[b] = policy.predict(obs[t, b], one[b], starts[b : b + 1], deterministic=True)
            assert action.shape == () and action == actions[b]
            assert np.array_equal(one[b][0][0], many[0][b])
    assert fired > 0  # a silent network would pass all of this


def test_an_episodes_start_clears_that_environments_state_alone(run):
    obs = observations(2, 3)
    _, state = run.policy.predict(obs[0])
    assert state[0].any(axis=1).all()
    _, fresh = run.policy.predict(obs[1])
    _, going = run.policy.predict(obs[1], state)
    _, mixed = run.policy.predict(obs[1], state, np.array([False, True, False]))
    assert np.array_equal(mixed[0][1], fresh[0][1]) and np.array_equal(mixed[0][[0, 2]], going[0][[0, 2]])
    assert not np.array_equal(fresh[0][0], going[0][0])


def test_actions_are_drawn_with_the_policys_probabilities_and_seed(run):
    policy, obs = run.policy, np.repeat(observations(1, 1)[0], 4000, axis=0)
    x, state = policy.encode(obs[:1]), policy.network.initial_state(1)
    expected = policy.look(x, state).params[0, 0].softmax(-1).numpy()
    drawn, _ = policy.seeded(1).predict(obs)
    np.testing.assert_allclose(np.bincount(drawn - 5, minlength=3) / 4000, expected, atol=0.04)
    assert np.array_equal(drawn, policy.seeded(1).predict(obs)[0])
    assert not np.array_equal(drawn, policy.seeded(2).predict(obs)[0])


def test_wrong_shapes_are_refused(run):
    for obs in (np.zeros(4), np.zeros((2, 4)), np.zeros((2, 2, 3))):
        with pytest.raises(ValueError, match="observations have shape"):
            run.policy.predict(obs)
    with pytest.raises(ValueError, match="the state is of 3 environments, the observations of 2"):
        run.policy.predict(np.zeros((2, 3)), run.policy.predict(np.zeros((3, 3)))[1])


def test_a_saved_policy_is_the_same_policy(run, tmp_path):
    path = run.policy.save(tmp_path / "mine")
    for source in (run.path, path):
        loaded, obs = lfcs.load(source), observations(5, 2)
        assert loaded.observation_space == run.policy.observation_space
        assert loaded.action_space == gymnasium.spaces.Discrete(3, start=5)
        state = other = None
        for t in range(5):
            (a, state), (b, other) = loaded.predict(obs[t], state), run.policy.predict(obs[t], other)
            assert np.array_equal(state[0], other[0]) and a.shape == b.shape
    assert torch.equal(loaded.network.hidden, run.policy.network.hidden)


def test_what_holds_no_policy_is_one_line(tmp_path):
    for path, message in ((tmp_path, "no checkpoint in"), (tmp_path / "none.npz", "no run and no policy at")):
        with pytest.raises(UserError, match=message):
            lfcs.load(path)
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match="damaged or not an lfcs checkpoint"):
        lfcs.load(tmp_path / "bad.npz")


def test_spaces_survive(tmp_path):
    for space in (
        gymnasium.spaces.Box(np.array([-1.0, -np.inf]), np.array([2.0, np.inf]), dtype=np.float64),
        gymnasium.spaces.Box(0, 255, (2, 3), np.uint8),
        gymnasium.spaces.Discrete(4, start=-1),
        gymnasium.spaces.Discrete(4, dtype=np.int32),
        gymnasium.spaces.MultiDiscrete([[3, 2], [4, 5]], start=[[0, 1], [-1, 0]]),
        gymnasium.spaces.MultiBinary(3),
        gymnasium.spaces.MultiBinary((2, 3)),
        toys.Lights().observation_space,
        gymnasium.spaces.Dict([("z", gymnasium.spaces.Discrete(2)), ("a", gymnasium.spaces.Box(0, 1, (2,)))]),
    ):
        checkpoint.save(tmp_path / "space.npz", pack_space(space))
        again = unpack_space(checkpoint.load(tmp_path / "space.npz", torch.device("cpu")))
        assert again == space and again.dtype == space.dtype and str(again) == str(space)  # parts in order
    with pytest.raises(UserError, match="cannot be saved"):
        pack_space(gymnasium.spaces.Text(3))
    with pytest.raises(UserError, match="unknown head 'categorial'; did you mean categorical"):
        named_head("categorial", gymnasium.spaces.Discrete(2))


def test_a_policy_acts_where_its_environment_is_not_installed(tmp_path):
    settings = SMALL | {"encoder.cells": 4}
    run = lfcs.train("Pong100-v0", steps=40, settings=settings, tuned=False, run_dir=tmp_path / "pong")
    code = (
        "import sys; sys.modules['ale_py'] = None\n"
        "import numpy as np, lfcs\n"
        f"policy = lfcs.load({str(run.path)!r})\n"
        "action, state = policy.predict(np.full((2, 4), 0.5, np.float32), deterministic=True)\n"
        "print(action.shape, [m for m in sys.modules if 'ale_py' in m and sys.modules[m]])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    assert out.strip() == "(2,) []"


def test_evaluation_loops_over_predict(run):
    """Any model with that method is played; the policy's scores are those of the run's own evaluation."""

    class Right:
        def predict(self, obs, state, episode_start, deterministic):
            return obs.argmax(1) + 5, state

    vec = make_vec("toys:Guess-v0", 4)
    returns, lengths = evaluation.evaluate(Right(), vec, 6, seed=0)
    assert returns.tolist() == [10.0] * 6 and lengths.tolist() == [10] * 6
    again = [evaluation.evaluate(run.policy.seeded(3), vec, 6, 3, greedy=False)[0] for _ in range(2)]
    assert np.array_equal(*again)


def test_stable_baselines_evaluates_our_policy(run):
    pytest.importorskip("stable_baselines3", reason="the extra 'peers' is not installed")
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.vec_env import DummyVecEnv

    for env in (DummyVecEnv([toys.Guess] * 3), toys.Guess()):
        returns, lengths = evaluate_policy(run.policy, env, n_eval_episodes=6, return_episode_rewards=True, warn=False)
        assert lengths == [10] * 6 and all(0 <= r <= 10 for r in returns)


def test_importing_is_quick_and_the_help_is_a_front_page():
    code = "import sys, lfcs; assert 'torch' not in sys.modules; import lfcs.cli; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"
    front = lfcs.__doc__ or ""
    assert all(name in front for name in lfcs.__all__ if name not in ("Recorder", "StopAt"))
    assert set(lfcs.__all__) <= set(dir(lfcs)) and Path(lfcs.__file__).exists()
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        lfcs.trian  # noqa: B018


def test_names_of_files_are_kept_and_nothing_beside_them_is_touched(run, tmp_path):
    (tmp_path / "a.tmp").write_text("mine")
    names = ["a", "a_lr0.5", "a_lr0.25", "a.pt", "b.npz"]
    paths = [run.policy.save(tmp_path / name).name for name in names]
    assert paths == ["a.npz", "a_lr0.5.npz", "a_lr0.25.npz", "a.pt.npz", "b.npz"]
    assert {p.name for p in tmp_path.iterdir()} == {*paths, "a.tmp"} and (tmp_path / "a.tmp").read_text() == "mine"
    with pytest.raises(UserError, match="is not the name of a file"):
        run.policy.save(".")


def test_numbers_that_are_none_are_refused(run):
    with pytest.raises(ValueError, match="not finite"):
        run.policy.predict(np.array([np.nan, 0.0, 0.0]))
    with pytest.raises(ValueError, match="or a batch of them"):
        run.policy.predict(np.zeros((0, 3)))
