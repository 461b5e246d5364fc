"""Returns, V-trace and aggregates against versions written apart from ours: plain loops, SciPy, Stable-Baselines3."""

from __future__ import annotations

import fractions
import itertools
import re
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from lfcs import rules
from lfcs.agents import AGENTS
from lfcs.config import RuleConfig
from lfcs.study.stats import iqm, probability_of_improvement

GAMMA, LAM, RHO_BAR, C_BAR = 0.97, 0.9, 1.3, 0.8
SINGLE = 1e-4


def experience(seed, steps=40, batch=3):
    """Return rewards, values, following values, ends and ratios [T, B] in double precision, as NumPy arrays."""
    rng = np.random.default_rng(seed)
    r, v, last = rng.normal(size=(steps, batch)), rng.normal(size=(steps, batch)), rng.normal(size=(1, batch))
    ends, rho = rng.random((steps, batch)) < 0.15, np.exp(rng.normal(size=(steps, batch)))
    v_next = np.where(ends, np.where(rng.random(ends.shape) < 0.5, 0.0, rng.normal(size=ends.shape)), 0.0)
    v_next += ~ends * np.concatenate((v[1:], last))
    return r, v, v_next, ends, rho


def gae_by_sums(r, v, v_next, ends, gamma, lam):
    """Return Σ_l (γλ)^l δ_{t+l} as it is written, a sum for each step up to the end of its episode."""
    out = np.zeros_like(r)
    for t, b in itertools.product(*map(range, r.shape)):
        factor = 1.0
        for s in range(t, len(r)):
            out[t, b] += factor * (r[s, b] + gamma * v_next[s, b] - v[s, b])
            if ends[s, b]:
                break
            factor *= gamma * lam
    return out


def vtrace_by_sums(r, v, v_next, ends, rho, gamma, lam, rho_bar, c_bar):
    """Return advantages and targets of Espeholt et al. (2018), eq. (1), a sum of products for each step."""
    target = v.copy()
    for t, b in itertools.product(*map(range, r.shape)):
        factor = 1.0
        for s in range(t, len(r)):
            target[t, b] += factor * min(rho_bar, rho[s, b]) * (r[s, b] + gamma * v_next[s, b] - v[s, b])
            if ends[s, b]:
                break
            factor *= gamma * lam * min(c_bar, rho[s, b])
    advantage = np.zeros_like(r)
    for t, b in itertools.product(*map(range, r.shape)):
        goes_on = t + 1 < len(r) and not ends[t, b]
        following = lam * target[t + 1, b] + (1.0 - lam) * v[t + 1, b] if goes_on else v_next[t, b]
        advantage[t, b] = r[t, b] + gamma * following - v[t, b]
    return advantage, target


def tensors(*arrays, dtype=torch.float64):
    return [torch.from_numpy(a) if a.dtype == bool else torch.from_numpy(a).to(dtype) for a in arrays]


def error(found, expected):
    return float(np.abs(found.numpy() - expected).max())


@pytest.mark.parametrize("seed", range(5))
def test_generalised_advantages_are_exact_in_double_precision(seed):
    r, v, v_next, ends, _ = experience(seed)
    expected = gae_by_sums(r, v, v_next, ends, GAMMA, LAM)
    r_, v_, v_next_, ends_ = tensors(r, v, v_next, ends)
    found = rules.advantages(rules.td_error(r_, v_, v_next_, GAMMA), ends_, GAMMA, LAM)
    assert found.dtype == torch.float64 and error(found, expected) <= 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_vtrace_is_exact_in_double_precision(seed):
    given = experience(seed)
    expected = vtrace_by_sums(*given, GAMMA, LAM, RHO_BAR, C_BAR)
    found = rules.vtrace(*tensors(*given), GAMMA, LAM, RHO_BAR, C_BAR)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.float64 and error(ours, theirs) <= 1e-12


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("critic", [0.0, 0.99])
def test_every_rule_keeps_the_precision_it_is_given(name, critic):
    given, rule = experience(7), RuleConfig(gamma=GAMMA, lam=LAM, lam_critic=critic)
    agent = AGENTS[name](rule)
    for dtype, most in ((torch.float64, 1e-12), (torch.float32, SINGLE)):
        advantage, target = agent.credit(*tensors(*given, dtype=dtype))
        assert advantage.dtype == target.dtype == dtype
        if name in ("v-trace", "acer"):  # whose critic has the policy's λ
            expected = vtrace_by_sums(*given, GAMMA, LAM, 1.0, 1.0)
            targets = vtrace_by_sums(*given, GAMMA, LAM if name == "acer" else max(LAM, critic), 1.0, 1.0)[1]
        else:
            expected = (gae_by_sums(*given[:4], GAMMA, LAM),)
            targets = gae_by_sums(*given[:4], GAMMA, max(LAM, critic)) + given[1]
        assert error(advantage, expected[0]) <= most and error(target, targets) <= most


def test_generalised_advantages_are_those_of_stable_baselines3():
    """Of its buffer of rollouts, which has no truncation of its own: following values are those of the next step."""
    buffers = pytest.importorskip("stable_baselines3.common.buffers", reason="the extra 'peers' is not installed")
    r, v, v_next, ends, _ = experience(3, steps=64, batch=4)
    v_next[:-1] = np.where(ends[:-1], 0.0, v[1:])
    v_next[-1] = np.where(ends[-1], 0.0, v_next[-1])
    observed, acts = gymnasium.spaces.Box(-1.0, 1.0, (1,)), gymnasium.spaces.Discrete(2)
    buffer = buffers.RolloutBuffer(64, observed, acts, device="cpu", gae_lambda=LAM, gamma=GAMMA, n_envs=4)
    begins = np.concatenate((np.ones((1, 4), dtype=bool), ends[:-1]))
    for t in range(64):
        value = torch.from_numpy(v[t])
        buffer.add(np.zeros((4, 1)), np.zeros((4, 1)), r[t], begins[t], value, torch.zeros(4))
    buffer.compute_returns_and_advantage(torch.from_numpy(v_next[-1]), ends[-1])
    r_, v_, v_next_, ends_ = tensors(r, v, v_next, ends)
    found = rules.advantages(rules.td_error(r_, v_, v_next_, GAMMA), ends_, GAMMA, LAM)
    assert np.abs(buffer.advantages).max() > 2.0
    assert error(found, buffer.advantages) < 1e-5, "theirs are in single precision"
    assert error(found + v_, buffer.returns) < 1e-5


def exact_iqm(scores):
    """Return the mean of the middle half as a fraction, without a sort: each score by its rank."""
    n, kept = len(scores), []
    for i, score in enumerate(scores):
        rank = sum(other < score or (other == score and j < i) for j, other in enumerate(scores))
        if n // 4 <= rank < n - n // 4:
            kept.append(fractions.Fraction(score))
    return float(sum(kept) / len(kept))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 10, 33])
def test_the_interquartile_mean_is_exact(n):
    scores = np.round(np.random.default_rng(n).normal(size=n), 1)  # some are equal
    assert float(iqm(scores)) == pytest.approx(exact_iqm(scores.tolist()), abs=1e-12)


@pytest.mark.parametrize("n", [3, 4, 9, 40])
def test_the_interquartile_mean_is_scipys_trimmed_mean(n):
    stats = pytest.importorskip("scipy.stats")
    scores = np.random.default_rng(n).normal(size=(6, n))
    np.testing.assert_allclose(iqm(scores), stats.trim_mean(scores, 0.25, axis=-1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("sizes", [(1, 1), (3, 5), (10, 10), (20, 7)])
def test_the_probability_of_improvement_is_exact(sizes):
    """By pairs as fractions, and by ranks: U / (n m) of Mann and Whitney."""
    rng = np.random.default_rng(sum(sizes))
    x, y = (np.round(rng.normal(size=size), 1) for size in sizes)
    wins = sum(2 * (a > b) + (a == b) for a, b in itertools.product(x.tolist(), y.tolist()))
    value, low, high = probability_of_improvement(x, y)
    assert value == pytest.approx(float(fractions.Fraction(wins, 2 * len(x) * len(y))), abs=1e-12)
    assert 0.0 <= low <= value <= high <= 1.0
    both = np.concatenate((x, y))
    ranks = [(both < a).sum() + ((both == a).sum() + 1) / 2 for a in x]
    assert value == pytest.approx((sum(ranks) - len(x) * (len(x) + 1) / 2) / (len(x) * len(y)), abs=1e-12)


def test_no_test_hides_a_leak_of_torchs_default_precision():
    for path in Path(__file__).parent.glob("*.py"):
        hides = re.search(r"torch\.set_default_(d)type", path.read_text())
        assert not hides or path.name in ("hostile_envs.py", "test_hostile.py"), (
            path.name
        )  # which does what nobody should
