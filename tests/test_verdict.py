"""The verdict on made-up runs of 100 steps."""

from __future__ import annotations

import pytest

from lfcs.verdict import Verdict


def judge(returns, entropy=0.5):
    """Return the verdict at every step, and the steps at which it had just become bad."""
    verdict, reasons, warned = Verdict(100), [], []
    for step, value in enumerate(returns, start=1):
        if verdict.update(step, {"rollout/ep_rew_mean": value, "train/entropy": entropy}):
            warned.append(step)
        reasons.append(verdict.reason)
    return reasons, warned


def test_a_run_that_learns_and_stays_has_not_diverged():
    assert judge([min(100, t) for t in range(1, 101)]) == ([None] * 100, [])


def test_a_run_that_loses_half_of_its_gain_for_a_fifth_of_its_steps_has():
    reasons, warned = judge([20] * 20 + [100] * 30 + [59] * 50)
    assert warned == [70]  # 20 of 100 steps after the last good one at 50
    assert reasons[68] is None and set(reasons[69:]) == {"lost what it had learned"}
    assert judge([20] * 20 + [100] * 30 + [61] * 50)[1] == []  # half of 80 is 40


def test_a_run_that_recovers_is_cleared():
    reasons, warned = judge([20] * 10 + [100] * 20 + [30] * 30 + [90] * 40)
    assert warned == [50] and reasons[-1] is None


def test_collapsed_entropy_counts_only_with_a_falling_return():
    assert judge([20] * 20 + [100] * 80, entropy=0.01)[1] == []
    reasons, warned = judge([20] * 20 + [100] * 30 + [75] * 50, entropy=0.01)
    assert warned == [70] and reasons[-1] == "entropy collapsed"
    assert judge([20] * 20 + [100] * 30 + [75] * 50, entropy=0.06)[1] == []


@pytest.mark.parametrize("returns", [[20] * 20 + [29] * 20 + [20] * 60, [-1.8] * 20 + [-1.0] * 20 + [-1.8] * 60])
def test_what_was_never_learned_cannot_be_lost(returns):
    assert judge(returns)[1] == []


def test_restoring_a_verdict_goes_on_with_it():
    whole, cut = Verdict(100), Verdict(100)
    returns = [20] * 20 + [100] * 30 + [50] * 50
    for step, value in enumerate(returns, start=1):
        if step == 40:
            restored = Verdict(100)
            restored.load_state_dict(cut.state_dict())
            cut = restored
        for verdict in (whole, cut):
            verdict.update(step, {"rollout/ep_rew_mean": value, "train/entropy": 0.5})
        assert cut.state_dict() == whole.state_dict()
    assert whole.reason
