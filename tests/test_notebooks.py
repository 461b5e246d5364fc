"""The notebooks run from top to bottom, each in a process and a folder of its own, and hold no outputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
# what a notebook does with the last line of a cell: it shows it
SHOW = """
import ast, sys
import matplotlib
matplotlib.use("Agg")
names = {"__name__": "__main__"}
for number, cell in enumerate(json.loads(open(sys.argv[1], encoding="utf-8").read())["cells"]):
    if cell["cell_type"] != "code":
        continue
    tree = ast.parse("".join(cell["source"]))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, f"cell {number}", "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
        for form in ("_repr_html_", "_repr_png_"):
            seen = getattr(value, form, lambda: None)()
            assert seen is None or len(seen) > 1000, form
        print(repr(value))
"""


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def test_there_are_four():
    assert [path.stem for path in BOOKS] == ["deploy", "first_look", "reading_a_comparison", "your_own"]


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_no_outputs(path):
    for cell in cells(path):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    pytest.importorskip("matplotlib")
    if path.stem == "deploy":
        pytest.importorskip("nir")
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", f"import json{SHOW}", str(path)]
    given = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": paths}, "capture_output": True, "text": True}
    done = subprocess.run(command, timeout=600, **given)
    assert done.returncode == 0, done.stderr[-3000:]
