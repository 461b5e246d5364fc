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
