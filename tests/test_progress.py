"""Progress is told on a terminal and elsewhere, of evaluations too, and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

import lfcs
from lfcs import envs, evaluation, progress, run
from lfcs.callbacks import Callback

SMALL = {"network.neurons": 8, "train.num_envs": 2, "rule.window": 10, "rule.tau_s": 10, "train.final_episodes": 25}
SMALL |= {"train.eval_every": 100, "train.eval_episodes": 3}


@pytest.mark.parametrize(
    ("kind", "env"), [("auto", "CartPole-v1"), ("plain", "CartPole-v1"), ("plain", "toys:Guess-v0")]
)
def test_all_episodes_of_an_evaluation_are_counted(tmp_path, kind, env):
    policy = lfcs.train(env, steps=60, settings=SMALL, run_dir=tmp_path / "a", tuned=False).policy
    heard = []

    def hear(ended, steps):
        heard.append((ended, steps))

    with_news, without = (
        run.play(policy, vec, 20, 5, True, heard=listening)
        for listening, vec in ((hear, envs.make_vec(env, 20, kind=kind)), (None, envs.make_vec(env, 20, kind=kind)))
    )
    assert [np.array_equal(a, b) for a, b in zip(with_news, without, strict=True)] == [True, True]
    assert sum(ended for ended, _ in heard) == 20
    assert sum(steps for _, steps in heard) >= with_news[1].sum()


def test_a_model_of_others_is_counted_too():
    class Always:
        def predict(self, obs, state=None, start=None, deterministic=False):
            return np.zeros(len(obs), int), None

    count = evaluation.Count(30, lambda *_: None)
    vec = envs.make_vec("CartPole-v1", 20, kind="plain")
    evaluation.evaluate(Always(), vec, 30, 1, heard=count)
    assert count.episodes == 30 and count.steps > 30 * 8


def test_a_count_tells_not_often_and_never_of_more_than_there_are():
    told = []
    count = evaluation.Count(10, lambda *given: told.append(given), every=0.0)
    for _ in range(3):
        count(4, 100)
    assert told == [(4, 100), (8, 200), (10, 300)]
    seldom = evaluation.Count(10, lambda *given: told.append(given), every=3600.0)
    seldom(4, 100)
    assert len(told) == 3


def test_a_callback_hears_of_evaluations(tmp_path, monkeypatch):
    class Hears(Callback):
        def __init__(self):
            self.heard = []

        def evaluating(self, trainer, where, episodes, total, steps):
            self.heard.append((where, episodes, total))

    monkeypatch.setattr(evaluation.Count.__init__, "__defaults__", (0.0,))
    hears = Hears()
    lfcs.train("CartPole-v1", steps=200, settings=SMALL, run_dir=tmp_path / "a", callbacks=[hears], tuned=False)
    assert {(where, total) for where, _, total in hears.heard} == {
        (w, t) for w in ("greedy", "sampled") for t in (3, 25)
    }
    assert ("greedy", 25, 25) in hears.heard


def test_lines_where_there_is_no_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress.Lines.__init__, "__defaults__", (0.0,))
    monkeypatch.setattr(evaluation.Count.__init__, "__defaults__", (0.0,))
    lfcs.train("CartPole-v1", steps=200, settings=SMALL, run_dir=tmp_path / "a", progress=True, tuned=False)
    lines = capsys.readouterr().err.splitlines()
    assert any("step 100 of 200 (50 %), return " in line and line.endswith(" left") for line in lines)
    assert any(line.startswith("step 200: evaluation, greedy: 25 of 25 episodes, ") for line in lines)
    assert not any("\r" in line or "left" in line for line in lines if line.startswith("step 200"))


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (41, "41 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_a_span_in_words(seconds, text):
    assert progress.span(seconds) == text


def test_news_counts_each_episode_and_each_step_once():
    heard, ends = [], np.array([10, 40, 70])
    news = evaluation.News(lambda *given: heard.append(given))
    for step in range(1, 71):
        news.step(step < ends)
    assert heard == [(1, 96), (1, 96), (1, 18)], "after 32 steps, after 64, and at the end"
