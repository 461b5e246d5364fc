"""Peers from outside, where they are installed."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from lfcs.errors import UserError
from lfcs.study import peers
from lfcs.study.peers import INSTALLED, PEERS, finish_peer, make_peer


@pytest.mark.skipif(not INSTALLED, reason="the extra 'peers' is not installed")
@pytest.mark.parametrize("env", PEERS)
@pytest.mark.parametrize("peer", ["PPO", "RecurrentPPO"])
def test_peers_are_trained_and_played_by_our_evaluator(tmp_path, env, peer):
    rows = finish_peer(peer, env, seed=1, steps=1, every=1, run_dir=tmp_path)
    low, high = (1, 500) if env == "CartPole-v1" else (-3, 3)
    assert rows[-1]["step"] >= 256 and rows[-1]["weight_updates"] > 0
    assert all(low <= rows[-1][key] <= high for key in ("greedy_return", "sampled_return"))
    kept = json.loads((tmp_path / "evaluations.json").read_text())
    (tmp_path / "evaluations.json").write_text(json.dumps(kept | {"evaluations": []}))
    assert finish_peer(peer, env, seed=1, steps=1, every=1, run_dir=tmp_path) == []  # what is finished is kept
    with pytest.raises(UserError, match="other settings"):
        finish_peer(peer, env, seed=1, steps=2, every=1, run_dir=tmp_path)


@pytest.mark.skipif(not INSTALLED, reason="the extra 'peers' is not installed")
def test_schedules_run_over_the_whole_of_the_training(tmp_path, monkeypatch):
    """A learning rate that falls linearly falls once, whatever the evaluations on the way; updates are batches."""
    seen = []
    small = {"PPO": {"num_envs": 2, "n_steps": 64, "batch_size": 32, "n_epochs": 3, "learning_rate": "linear 1.0"}}
    monkeypatch.setitem(peers.PEERS, "CartPole-v1", small)
    monkeypatch.setattr(peers, "make_peer", lambda *of: watched(make_peer(*of), seen))
    rows = finish_peer("PPO", "CartPole-v1", seed=1, steps=512, every=200, run_dir=tmp_path)
    assert seen == [0.75, 0.5, 0.25, 0.0]  # after each rollout of 128 steps
    assert [(row["step"], row["weight_updates"]) for row in rows] == [(200, 12), (400, 36), (512, 48)]


def watched(model, seen):
    """Return a peer's model that notes its learning rate at every update."""
    train = model.train

    def noted():
        seen.append(model.lr_schedule(model._current_progress_remaining))
        train()

    model.train = noted
    return model


@pytest.mark.skipif(INSTALLED, reason="the extra 'peers' is installed")
def test_without_the_extra_peers_are_one_line(tmp_path):
    with pytest.raises(UserError, match="make peers"):
        finish_peer("PPO", "CartPole-v1", seed=1, steps=1, every=1, run_dir=tmp_path)


class Learner:
    """A model with the parts of Stable-Baselines3's that are used: it learns nothing, 64 steps an update."""

    n_steps, n_envs, batch_size = 32, 2, 16

    def __init__(self):
        self.num_timesteps, self._n_updates, self.looks = 0, 0, 0

    def learn(self, steps, callback):
        while self.num_timesteps < steps:
            for _ in range(32):
                self.num_timesteps += 2
                callback({}, {})
            self._n_updates += 3  # epochs

    def predict(self, obs, state, starts, deterministic):
        self.looks += deterministic
        return np.zeros(len(obs), dtype=int), state


def test_a_peer_is_evaluated_on_its_way_and_at_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "INSTALLED", True)
    model = Learner()
    monkeypatch.setattr(peers, "make_peer", lambda *of: model)
    rows = finish_peer("RecurrentPPO", "CartPole-v1", seed=1, steps=256, every=100, run_dir=tmp_path)
    assert [(row["step"], row["weight_updates"]) for row in rows] == [(100, 12), (200, 36), (256, 48)]  # 4 an epoch
    assert all(5 < row["greedy_return"] < 20 for row in rows) and model.looks > 0  # the pole falls
    assert all(a["seconds"] < b["seconds"] for a, b in itertools.pairwise(rows))
    monkeypatch.setattr(peers, "make_peer", None)  # what is finished is kept
    assert finish_peer("RecurrentPPO", "CartPole-v1", seed=1, steps=256, every=100, run_dir=tmp_path) == rows
