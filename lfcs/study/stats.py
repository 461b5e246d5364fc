"""Aggregates over seeds: interquartile mean, its bootstrap interval, and probability of improvement.

Source: Agarwal et al., Deep reinforcement learning at the edge of the statistical precipice, arXiv:2108.13264.
"""

from __future__ import annotations

import numpy as np


def iqm(scores: np.ndarray) -> np.ndarray:
    """Interquartile mean along the last axis, the mean of the middle half.

    The ⌊n/4⌋ lowest and highest of n scores are left out. ``scores`` [..., n]. Raises ValueError if n is 0.
    """
    scores = np.sort(np.asarray(scores, dtype=np.float64), axis=-1)
    n = scores.shape[-1]
    if n == 0:
        raise ValueError("no scores to aggregate")
    return scores[..., n // 4 : n - n // 4].mean(axis=-1)


def bootstrap_interval(scores: np.ndarray, level: float = 0.95, rounds: int = 10_000, seed: int = 0) -> np.ndarray:
    """Percentile bootstrap interval [2] of the interquartile mean of ``scores`` [n], over seeds.

    Raises ValueError if there are no scores.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if len(scores) == 0:
        raise ValueError("no scores to aggregate")
    rng, tail = np.random.default_rng(seed), (1.0 - level) / 2.0
    most = max(1, 1_000_000 // len(scores))  # rounds at a time, to bound the memory; the numbers drawn are the same
    sizes = [min(most, rounds - begun) for begun in range(0, rounds, most)]
    means = [iqm(scores[rng.integers(len(scores), size=(size, len(scores)))]) for size in sizes]
    return np.quantile(np.concatenate(means), [tail, 1.0 - tail])


def probability_of_improvement(
    scores: np.ndarray, others: np.ndarray, level: float = 0.95, rounds: int = 2_000, seed: int = 0
) -> np.ndarray:
    """P(X > Y) + P(X = Y) / 2 over all pairs of ``scores`` X [n] and ``others`` Y [m], and its interval: [3].

    Both are resampled, each on its own (a bootstrap stratified by group). Raises ValueError if either is empty.
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if not len(x) or not len(y):
        raise ValueError("no scores to compare")

    def mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        greater = a[..., :, None] > b[..., None, :]
        return (greater + 0.5 * (a[..., :, None] == b[..., None, :])).mean((-1, -2))

    rng, tail = np.random.default_rng(seed), (1.0 - level) / 2.0
    drawn = mean(x[rng.integers(len(x), size=(rounds, len(x)))], y[rng.integers(len(y), size=(rounds, len(y)))])
    return np.array([mean(x, y), *np.quantile(drawn, [tail, 1.0 - tail])])
