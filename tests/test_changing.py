"""Worlds that change: on time, the same after a checkpoint, evaluated as they are; and the study of them."""

from __future__ import annotations

import argparse
import math

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from test_learner import small_trainer

from lfcs import experiments, run
from lfcs.configure import build_config
from lfcs.envs import changing, make_vec
from lfcs.errors import Interrupted, UserError
from lfcs.study import changing as study

POINTS = ((0, 0.5), (30, 1.5), (60, 0.25))
gymnasium.register(
    "QuickCartPole-v0", entry_point="lfcs.envs.changing:ChangingCartPole", kwargs={"points": POINTS},
    max_episode_steps=20,
)  # fmt: skip
gymnasium.register(
    "QuickChain-v0", entry_point="lfcs.envs.changing:ReversingChain", kwargs={"points": ((0, 0), (100, 1)), "length": 2}
)
ALL = ["ChangingCartPole-v0", "ExchangedCartPole-v0", "ReversingChain-v0", "QuickCartPole-v0", "QuickChain-v0"]


@pytest.mark.parametrize("env_id", ALL)
def test_gymnasium_accepts_them(env_id):
    check_env(gymnasium.make(env_id, disable_env_checker=True).unwrapped, skip_render_check=True)


def test_a_world_changes_on_time_and_may_drift():
    jumps, drifts = changing.World(POINTS), changing.World(POINTS, drifts=True)
    at = []
    for _ in range(70):
        at.append((jumps.now, drifts.now))
        jumps.pass_step(), drifts.pass_step()
    at = np.array(at)
    assert at[:30, 0].tolist() == [0.5] * 30 and at[30:60, 0].tolist() == [1.5] * 30 and (at[60:, 0] == 0.25).all()
    np.testing.assert_allclose(at[:31, 1], np.linspace(0.5, 1.5, 31))
    np.testing.assert_allclose(at[30:61, 1], np.linspace(1.5, 0.25, 31))
    jumps.begin({"steps": 45, "frozen": True})
    for _ in range(99):
        jumps.pass_step()
    assert jumps.now == 1.5
    jumps.begin(None), jumps.begin({})
    assert jumps.now == 1.5 and jumps.frozen  # an episode's begin changes nothing
    for bad in ((), ((5, 1.0),), ((0, 1.0), (9, 2.0), (9, 3.0)), ((0, 1.0), (9, 2.0), (4, 3.0))):
        with pytest.raises(UserError, match="wants points"):
            changing.World(bad)


@pytest.mark.parametrize("quantity", ["length", "gravity", "force"])
def test_the_pole_is_gymnasiums_with_the_number_of_now(quantity):
    """Step by step, over ends of episodes."""
    ours = changing.ChangingCartPole(((0, 2.0), (8, 5.0), (20, -3.0)), quantity)
    theirs = gymnasium.make("CartPole-v1").unwrapped
    obs, _ = ours.reset(seed=0)
    np.testing.assert_array_equal(obs, theirs.reset(seed=0)[0])
    for t in range(60):
        number = 2.0 if t < 8 else 5.0 if t < 20 else -3.0
        setattr(theirs, {"length": "length", "gravity": "gravity", "force": "force_mag"}[quantity], number)
        theirs.polemass_length = theirs.masspole * theirs.length
        one, other = ours.step(t % 2), theirs.step(t % 2)
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1:4] == other[1:4]
        if one[2]:
            np.testing.assert_array_equal(ours.reset()[0], theirs.reset()[0])
    with pytest.raises(UserError, match="must be one of length, gravity, force"):
        changing.ChangingCartPole(POINTS, "mass")


def test_a_chain_reverses_between_episodes():
    env, right = changing.ReversingChain(((0, 0), (10, 1), (20, 0)), length=2), []
    for episode in range(10):  # of three steps each: the world changes within the fourth, and is seen by the fifth
        obs, _ = env.reset(seed=0 if episode == 0 else None)
        shown = int(obs[2] > 0)
        env.step(0), env.step(0)
        _, reward, over, _, info = env.step(shown)
        assert over and reward == (1.0 if info["correct"] else -1.0)
        right.append(info["correct"])
    assert right == [True] * 4 + [False] * 3 + [True] * 3


@pytest.mark.parametrize("workers", ["0", "1"])
def test_the_steps_are_told_by_a_reset_in_workers_too(workers):
    one, other = make_vec("QuickCartPole-v0", 2, workers), make_vec("QuickCartPole-v0", 2)
    one.reset(seed=0, options={"steps": 40, "frozen": False}), other.reset(seed=0)
    for _ in range(40):
        other.step(np.zeros(2, int))
    seen = [vec.reset(seed=3)[0] for vec in (one, other)]
    np.testing.assert_array_equal(*seen)
    for t in range(30):
        np.testing.assert_array_equal(*(vec.step(np.full(2, t % 2))[0] for vec in (one, other)))
    assert [env.unwrapped.world.steps for env in other.envs] == [70, 70]
    one.close()


def world_of(vec):
    return [env.unwrapped.world for env in vec.envs]


def test_training_changes_it_and_evaluation_is_in_the_world_as_it_is(monkeypatch):
    trainer = small_trainer("QuickCartPole-v0")  # 4 environments, windows of 12 steps
    seen, inner = [], changing.ChangingCartPole.step

    def step(env, action):
        seen.append((env.world.frozen, env.world.now))
        return inner(env, action)

    monkeypatch.setattr(changing.ChangingCartPole, "step", step)
    for window in range(6):
        trainer.window()
        assert {world.steps for world in world_of(trainer.envs)} == {12 * (window + 1)}
        trainer.refresh()  # as at a checkpoint: time goes on
        seen.clear()
        trainer.play(8, 0, window % 2 == 0)
        now = changing.World(POINTS)
        now.begin({"steps": 12 * (window + 1)})
        assert set(seen) == {(True, now.now)}
    assert {world.steps for world in world_of(trainer.envs)} == {72}


class Cut(run.Callback):
    """Interrupts the run at its third window."""

    def window(self, trainer, metrics):
        if trainer.env_steps == 3 * 48:
            trainer.interrupt()


def test_a_cut_run_ends_as_if_it_had_not_been(tmp_path):
    """Cut at 36 steps of each environment: after the first change, 12 after the latest fresh start."""
    settings = {"train.num_envs": 4, "rule.window": 12, "rule.tau_s": 12, "network.neurons": 12, "rule.tau_f": 4}
    settings |= {"train.final_episodes": 4, "train.eval_every": 100, "train.eval_episodes": 4}
    settings |= {"train.checkpoint_every": 96}
    config = build_config("QuickCartPole-v0", steps=400, overrides=settings)
    whole = run.complete(run.begin(config, tmp_path / "whole", progress=False))
    with pytest.raises(Interrupted):
        run.complete(run.begin(config, tmp_path / "cut", callbacks=[Cut()], progress=False))
    trainer = run.proceed(tmp_path / "cut", callbacks=[Cut()], progress=False)
    assert {world.steps for world in world_of(trainer.envs)} == {36}
    cut = run.complete(trainer)
    times = {"seconds", "evaluation_seconds"}
    assert {k: v for k, v in cut.items() if k not in times} == {k: v for k, v in whole.items() if k not in times}
    steps = run.evaluate(tmp_path / "cut", 4, 0)[1]
    assert steps == 400


def curve(returns, agent="lf-cs", seed=0):
    return study.Curve(agent, seed, np.arange(1, len(returns) + 1) * 10, np.array(returns, float))


def test_before_at_after_and_recovery_by_hand():
    found = study.around(curve([5, 9, 2, 4, 8.5, 9, 10, 3, 3, 3, 8.5]), (30, 75, 95))
    assert found.tolist() == [[9, 2, 10, 20], [10, 3, 3, math.inf], [3, 3, 8.5, 15]]
    assert study.around(curve([5, 4, 6, 7]), (25,)).tolist() == [[4, 6, 7, 0]]  # nothing was lost
    with pytest.raises(UserError, match="no evaluation on both sides of step 95"):
        study.around(curve([5, 4, 6, 7]), (95,))


def test_the_table_and_its_changes():
    text = study.table([curve([5, 9, 2, 9], seed=s) for s in range(3)] + [curve([1, 1, 0, 0], "e-prop")], (25,))
    assert "| lf-cs | 3 | 25 | 9 [9, 9] | 2 [2, 2] | 9 [9, 9] | 15 |" in text
    assert "| e-prop | 1 | 25 | 1 | 0 | 0 | not recovered |" in text
    assert study.changes_of("QuickCartPole-v0", 4) == [120, 240]
    with pytest.raises(UserError, match="the world of CartPole-v1 does not change"):
        study.changes_of("CartPole-v1", 4)


def test_the_study_runs_and_draws(tmp_path, monkeypatch, capsys):
    settings = {"network.neurons": 8, "train.num_envs": 4, "rule.window": 12, "rule.tau_s": 12, "train.eval_every": 48}
    settings |= {"train.eval_episodes": 2, "train.final_episodes": 2}
    tiny = {"name": "tiny", "env": "QuickChain-v0", "agent": "lf-cs", "steps": 600, "settings": settings, "agents": {}}
    monkeypatch.setattr(experiments, "find", lambda name: tiny if name == "tiny" else None)
    monkeypatch.setattr(study.many, "finish_all", finish_here)
    asked = {"seeds": ["0..1"], "agents": ["lf-cs", "e-prop"], "steps": None, "jobs": 1}
    asked |= {"runs": tmp_path / "runs", "out": tmp_path / "out"}
    study.main(argparse.Namespace(experiment="tiny", **asked))
    assert "| lf-cs | 2 | 400 |" in capsys.readouterr().out
    assert (tmp_path / "out/tiny.png").stat().st_size > 5000
    assert len((tmp_path / "out/tiny.csv").read_text().splitlines()) == 1 + 4 * 12
    with pytest.raises(UserError, match="no experiment 'tinny'"):
        study.main(argparse.Namespace(experiment="tinny", **asked))


def finish_here(runs, jobs):
    """Finish runs in this process, which has registered what they need."""
    return [study.many.Outcome(study.many.finish(*of)) for of in runs]
