"""Aggregates against hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest

from lfcs.study.stats import bootstrap_interval, iqm, probability_of_improvement


def test_iqm_by_hand():
    assert iqm([3.0]) == 3.0
    assert iqm([0.0, 10.0]) == 5.0
    assert iqm([100.0, 1.0, 2.0, -50.0]) == 1.5
    assert iqm([[1, 2, 3, 4, 5], [5, 5, 5, 5, 500]]).tolist() == [3.0, 5.0]


def test_bootstrap_interval_holds_the_mean_and_narrows_with_more_scores():
    rng = np.random.default_rng(0)
    few, many = rng.normal(2.0, 1.0, 8), rng.normal(2.0, 1.0, 400)
    low, high = bootstrap_interval(many)
    assert low < 2.0 < high < low + 0.5 < np.ptp(bootstrap_interval(few)) + low
    assert bootstrap_interval([7.0, 7.0, 7.0]).tolist() == [7.0, 7.0]


def test_the_bootstrap_of_many_scores_draws_the_same_numbers_piece_by_piece():
    scores, rng = np.random.default_rng(1).normal(size=301), np.random.default_rng(0)
    whole = np.quantile(iqm(scores[rng.integers(301, size=(10_000, 301))]), [0.025, 0.975])
    assert bootstrap_interval(scores).tolist() == whole.tolist()


def test_no_scores_are_refused():
    for call in (iqm, bootstrap_interval):
        with pytest.raises(ValueError):
            call([])


def test_probability_of_improvement_by_hand():
    assert probability_of_improvement([3.0, 4.0], [1.0, 2.0]).tolist() == [1.0, 1.0, 1.0]
    assert probability_of_improvement([1.0], [1.0]).tolist() == [0.5, 0.5, 0.5]
    value, low, high = probability_of_improvement([1.0, 3.0, 5.0], [2.0, 3.0])
    assert value == pytest.approx((0 + 1.5 + 2) / 6) and low < value < high
    with pytest.raises(ValueError):
        probability_of_improvement([], [1.0])
