"""A smoke run of the benchmark: it measures every figure it promises. No times are judged here."""

from __future__ import annotations

import json
import math

import pytest
import torch

from lfcs import cli


def figures(tree):
    """Yield every number."""
    if isinstance(tree, dict):
        for value in tree.values():
            yield from figures(value)
    elif isinstance(tree, int | float):
        yield tree


def test_the_quick_benchmark_measures_everything(tmp_path, capsys):
    assert cli.main(["bench", "--quick", "--out", str(tmp_path / "bench.json")]) == 0
    result = json.loads((tmp_path / "bench.json").read_text())
    titles = capsys.readouterr().out
    for title in (
        "Network step",
        "One update",
        "peak memory",
        "Whole learning",
        "grows",
        "limit",
        "Online cost",
        "watching costs",
    ):
        assert title in titles
    assert all(math.isfinite(figure) for figure in figures(result))
    steps = next(value for name, value in result.items() if name.startswith("Whole learning"))
    assert all(row["steps_per_s"] > 0 for row in steps.values())


def test_the_benchmark_of_a_device(tmp_path, capsys):
    assert cli.main(["bench", "--device", "cpu", "--quick", "--out", str(tmp_path / "bench.json")]) == 0
    rows = next(v for k, v in json.loads((tmp_path / "bench.json").read_text()).items() if k.startswith("CartPole-v1"))
    assert list(rows) == ["8 environments", "32 environments"]
    assert all(figure > 0 and math.isfinite(figure) for figure in figures(rows))
    assert "**CartPole-v1 on " in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_benchmark_of_no_device_is_one_line(capsys):
    assert cli.main(["bench", "--device", "cuda"]) == 1
    assert capsys.readouterr().err.endswith("error: device cuda: this machine has no usable CUDA device\n")
    assert cli.main(["bench", "--device", "cpu", "--to-threshold"]) == 1
    assert "cannot be given together" in capsys.readouterr().err


def test_the_steps_to_a_threshold_are_counted_and_endless_where_it_is_not_reached(tmp_path, capsys, monkeypatch):
    from lfcs.study import threshold

    monkeypatch.setattr(threshold.peers_jax, "INSTALLED", False)
    monkeypatch.setattr(threshold, "SPIKING_STEPS", 3000)
    found = {}
    for score in (1.0, 501.0):  # any policy, and none
        monkeypatch.setattr(threshold, "SCORE", score)
        assert cli.main(["bench", "--to-threshold", "--seeds", "1", "--out", str(tmp_path / "bench.json")]) == 0
        (rows,) = [v for k, v in json.loads((tmp_path / "bench.json").read_text()).items() if k.startswith("Until")]
        found[score] = rows["ours"]
    assert 2048 <= float(found[1.0]["steps"]) < 3000 and 0 < found[1.0]["seconds"] < math.inf
    assert found[501.0]["steps"] == "inf" and found[501.0]["seconds"] == math.inf
    assert "greedy mean of 501 on CartPole-v1" in capsys.readouterr().out
    assert cli.main(["bench", "--to-threshold", "--seeds", "0"]) == 1
    assert "--seeds must be at least 1" in capsys.readouterr().err
