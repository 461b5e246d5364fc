"""Aggregates against hand-computed values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lfcs.study.stats import FEW, SPREAD, STUDENT, in_words, interval, iqm, probability_of_improvement


def test_iqm_by_hand():
    assert iqm([3.0]) == 3.0
    assert iqm([0.0, 10.0]) == 5.0
    assert iqm([100.0, 1.0, 2.0, -50.0]) == 1.5
    assert iqm([[1, 2, 3, 4, 5], [5, 5, 5, 5, 500]]).tolist() == [3.0, 5.0]


def test_the_interval_holds_the_mean_and_narrows_with_more_scores():
    rng = np.random.default_rng(0)
    few, many = rng.normal(2.0, 1.0, 8), rng.normal(2.0, 1.0, 400)
    low, high = interval(many)
    assert low < 2.0 < high < low + 0.5 < np.ptp(interval(few)) + low
    assert interval([7.0, 7.0, 7.0]).tolist() == [7.0, 7.0]


def test_few_scores_have_the_interval_of_students_t():
    """Of three scores the interquartile mean is the mean: 2 ± 4.3027 · 1 / √3."""
    assert interval([1.0, 2.0, 3.0]).tolist() == pytest.approx([2 - 2.48414, 2 + 2.48414], abs=1e-4)
    assert interval([0.0, 1.0]).tolist() == pytest.approx([0.5 - 6.3531, 0.5 + 6.3531], abs=1e-3)
    assert in_words(np.array([1.0, 2.0, 3.0]), ".2f") == "2.00 [-0.48, 4.48]"


def test_one_score_has_no_interval():
    assert np.isnan(interval([3.0])).all() and in_words(np.array([3.0]), ".3g") == "3"


def test_the_constants_of_few_scores():
    rng = np.random.default_rng(0)
    for n, spread in enumerate(SPREAD, 2):
        assert n**0.5 * iqm(rng.normal(size=(400_000, n))).std() == pytest.approx(spread, abs=4e-3)
        t = rng.normal(size=400_000) / np.sqrt(rng.chisquare(n - 1, size=400_000) / (n - 1))
        assert (np.abs(t) < STUDENT[n - 2]).mean() == pytest.approx(0.95, abs=2e-3)
    assert len(SPREAD) == len(STUDENT) == FEW - 2


def ceiling(rng, size):
    """Return scores that are skewed and end at 500, as returns of CartPole do."""
    return np.minimum(500.0, 536.0 - 60.0 * np.exp(0.8 * rng.normal(size=size)))


SCORES = {
    "normal": lambda rng, size: rng.normal(size=size),
    "skewed": lambda rng, size: np.exp(rng.normal(size=size)),
    "bounded": lambda rng, size: rng.beta(5.0, 1.0, size),
    "uniform": lambda rng, size: rng.random(size),
    "ceiling": ceiling,
    "one in five fails": lambda rng, size: rng.normal(200.0, 10.0, size) - 80.0 * (rng.random(size) < 0.2),
}


@pytest.mark.parametrize("kind", SCORES)
def test_the_interval_of_the_interquartile_mean_covers_what_is_told(kind):
    """91 to 97 %, and the error of 1,500 trials; a bootstrap of three scores covers 74 %."""
    rng = np.random.default_rng(0)
    truth = float(iqm(SCORES[kind](rng, 2_000_000)))
    for n in (3, 5, 7, 8, 10):
        found = np.array([interval(scores, rounds=400) for scores in SCORES[kind](rng, (1500, n))])
        covered = ((found[:, 0] <= truth) & (truth <= found[:, 1])).mean()
        assert 0.895 <= covered <= 0.98, (n, covered)


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_the_interval_of_the_probability_covers_what_is_told(shift):
    """90 to 98 %, and the error of 600 trials; a bootstrap of three and three scores covers down to 37 %."""
    rng = np.random.default_rng(0)
    truth = 0.5 * (1.0 + math.erf(shift / 2.0))
    for n in (3, 5, 10):
        found = np.array(
            [probability_of_improvement(rng.normal(shift, 1.0, n), rng.normal(size=n)) for _ in range(600)]
        )
        covered = ((found[:, 1] <= truth) & (truth <= found[:, 2])).mean()
        assert 0.87 <= covered <= 0.99, (n, covered)


def test_the_bootstrap_of_many_scores_draws_the_same_numbers_piece_by_piece():
    scores, rng = np.random.default_rng(1).normal(size=301), np.random.default_rng(0)
    whole = np.quantile(iqm(scores[rng.integers(301, size=(10_000, 301))]), [0.025, 0.975])
    assert interval(scores).tolist() == whole.tolist()


def test_no_scores_are_refused():
    for call in (iqm, interval):
        with pytest.raises(ValueError):
            call([])


def test_probability_of_improvement_by_hand():
    value, low, high = probability_of_improvement([3.0, 4.0], [1.0, 2.0])
    assert value == high == 1.0 and 0.2 < low < 0.5, "four pairs are no certainty"
    value, low, high = probability_of_improvement([1.0], [1.0])
    assert value == 0.5 and low == pytest.approx(1.0 - high) and low < 0.1
    value, low, high = probability_of_improvement([1.0, 3.0, 5.0], [2.0, 3.0])
    assert value == pytest.approx((0 + 1.5 + 2) / 6) and low < value < high
    with pytest.raises(ValueError):
        probability_of_improvement([], [1.0])
