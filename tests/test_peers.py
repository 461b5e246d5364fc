"""Peers from outside, where they are installed."""

from __future__ import annotations

import json

import pytest

from experiments.peers import INSTALLED, PEERS, finish_peer
from lfcs.errors import UserError


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


@pytest.mark.skipif(INSTALLED, reason="the extra 'peers' is installed")
def test_without_the_extra_peers_are_one_line(tmp_path):
    with pytest.raises(UserError, match="make peers"):
        finish_peer("PPO", "CartPole-v1", seed=1, steps=1, every=1, run_dir=tmp_path)
