"""Rows of results: written and read again, aggregated over seeds."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lfcs import experiments
from lfcs.study.results import (
    COLUMNS,
    Row,
    along_capacity,
    curves_of,
    diverged,
    finals,
    median,
    peer_rows,
    read_rows,
    write_rows,
)

RESULTS = Path(experiments.__file__).parent / "results"


def row(label, replays, seed, score, verdict="no", **changes):
    """Return a row of a made-up run, by default its last."""
    values = {
        "label": label, "replays": replays, "seed": seed, "learning_rate": 0.01, "step": 1000, "seconds": 2.0,
        "weight_updates": 50, "greedy_return": score + 1, "sampled_return": score, "kl": 0.1 * replays, "ess": 0.9,
        "entropy": 0.5 + seed**2, "diverged": verdict,
    }  # fmt: skip
    return Row(**values | changes)


def test_what_is_written_is_read_again(tmp_path):
    rows = [row("a, b", 4, 7, 0.125, ""), row("a, b", 4, 7, -3.5, "lost what it had learned", kl=math.inf)]
    rows += [row("PPO", 1, 7, 2.0, "not judged", learning_rate=None, kl=None, ess=None, entropy=None)]
    write_rows(tmp_path / "results.csv", rows)
    assert read_rows(tmp_path / "results.csv") == rows
    header = (tmp_path / "results.csv").read_text().splitlines()[0]
    assert header.split(",") == list(COLUMNS) == [
        "label", "replays", "capacity", "seed", "learning_rate", "step", "seconds", "weight_updates", "training_return",
        "greedy_return", "sampled_return", "kl", "ess", "entropy", "diverged",
    ]  # fmt: skip


@pytest.mark.parametrize("path", sorted(RESULTS.glob("compare_*/results.csv")), ids=lambda path: path.parent.name)
def test_committed_results_can_be_read_and_hold_whole_runs(path):
    rows = read_rows(path)
    runs = {(row.label, row.replays, row.capacity, row.seed) for row in rows}
    assert len(runs) == len([row for row in rows if row.diverged]) and rows[0].label == "lf-cs"
    assert all(math.isfinite(row.sampled_return) and row.step > 0 for row in rows)


def test_aggregates_are_over_last_rows():
    rows = [row("a", 1, seed, 10.0 * seed, "") for seed in (1, 2)] + [row("a", 1, seed, float(seed)) for seed in (1, 2)]
    rows += [row("a", 16, 1, 5.0, "entropy collapsed"), row("PPO", 1, 1, 9.0, "not judged", kl=None)]
    found = finals(rows)
    assert {label: {r: s.tolist() for r, s in by_r.items()} for label, by_r in found.items()} == {
        "a": {1: [1.0, 2.0], 16: [5.0]},
        "PPO": {1: [9.0]},
    }
    assert finals(rows, "greedy_return")["a"][16].tolist() == [6.0]
    assert diverged(rows) == {"a": {1: (0, 2), 16: (1, 1)}}  # peers are not judged
    assert median(rows[:4], "sampled_return") == 6.0 and math.isnan(median(rows, "kl"))


def test_rows_along_the_capacity():
    rows = [row("a", r, 0, 10.0 * r + c, capacity=c) for r in (1, 4) for c in (0, 16)]
    rows += [row("PPO", 1, 0, 9.0, "", step=5), row("PPO", 1, 0, 9.0, "not judged")]
    found = finals(along_capacity(rows, 4))
    assert {label: {c: s.tolist() for c, s in by_c.items()} for label, by_c in found.items()} == {
        "a": {0: [40.0], 16: [56.0]},
        "PPO": {1: [9.0]},
    }
    assert len(along_capacity(rows, 4)) == 4


def test_a_run_that_stopped_early_stays_in_the_curves():
    rows = [row("a", 1, 0, 10.0, "", step=s) for s in (100, 200)] + [row("a", 1, 0, 30.0)]
    rows += [row("a", 1, 1, 5.0, "a gradient was not finite", step=60)]
    steps, curves = curves_of(rows, "a", 1)
    assert steps.tolist() == [100, 200, 1000] and curves.tolist() == [[10, 10, 30], [5, 5, 5]]
    assert len(curves_of(rows, "a", 2)[1]) == 0


def test_only_the_last_evaluation_of_a_peer_has_a_verdict():
    found = [
        {"step": step, "seconds": 1.5, "weight_updates": 20.0, "greedy_return": 1.0, "sampled_return": step / 10}
        for step in (10.0, 20.0)
    ]
    rows = list(peer_rows("PPO", 3, found))
    assert [(r.label, r.replays, r.seed, r.step, r.sampled_return) for r in rows] == [
        ("PPO", 1, 3, 10, 1.0),
        ("PPO", 1, 3, 20, 2.0),
    ]
    assert [r.diverged for r in rows] == ["", "not judged"] and rows[0].learning_rate is None
