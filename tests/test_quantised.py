"""The study of few bits: every form of every seed is a row, what is there is not measured again, damage is a line."""

from __future__ import annotations

import argparse

import pytest

import lfcs
from lfcs.study import quantised


def test_every_form_is_a_row_and_rows_are_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(quantised.STEPS, "cartpole", 256)
    given = {"tasks": ["cartpole"], "seeds": ["3", "4"], "bits": [8, 2], "episodes": 3, "seed": 1, "jobs": 1}
    args = argparse.Namespace(**given, runs=tmp_path / "runs", out=tmp_path / "out.csv")
    quantised.main(args)
    rows = quantised.read(args.out)
    assert len(rows) == len(set(rows)) == 2 * (1 + 2 * 4)
    assert {(row.seed, row.bits, row.per_neuron, row.decay_shift) for row in rows if not row.bits} == {
        (3, 0, 0, 0), (4, 0, 0, 0),
    }  # fmt: skip
    assert all(row.steps == 256 and 1 <= row.greedy <= 500 for row in rows)
    told = capsys.readouterr().out
    assert "| cartpole | real |" in told and "| cartpole | 2 |" in told

    marked = [row._replace(greedy=123.0) for row in rows]
    quantised.write(args.out, marked)
    quantised.main(args)  # finished runs and rows are not made again
    assert quantised.read(args.out) == marked
    assert "| cartpole | 8 | 123 (100.0%)" in capsys.readouterr().out


def test_what_is_wrong_is_a_line(tmp_path):
    (tmp_path / "out.csv").write_text("task,seed\ncartpole,1\n")
    with pytest.raises(lfcs.UserError, match="damaged: remove it"):
        quantised.read(tmp_path / "out.csv")
    assert quantised.read(tmp_path / "none.csv") == []
    args = argparse.Namespace(tasks=["cart"], seeds=["1"])
    with pytest.raises(lfcs.UserError, match="no task 'cart'; did you mean cartpole"):
        quantised.main(args)
