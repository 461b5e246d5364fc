"""A smoke run of the benchmark: it measures every figure it promises. No times are judged here."""

from __future__ import annotations

import json
import math

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
    for title in ("Network step", "One update", "peak memory", "Whole learning", "grows", "limit", "Online cost"):
        assert title in titles
    assert all(math.isfinite(figure) for figure in figures(result))
    steps = next(value for name, value in result.items() if name.startswith("Whole learning"))
    assert all(row["steps_per_s"] > 0 for row in steps.values())
