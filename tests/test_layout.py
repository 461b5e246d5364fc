"""Imports point down: experiments -> agents, envs -> lfcs. Only the command line looks upwards, inside functions."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "lfcs": {"lfcs"},
    "envs": {"envs", "lfcs"},
    "agents": {"agents", "lfcs"},
    "experiments": {"experiments", "agents", "envs", "lfcs"},
}


def imported(node):
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    return [(node.module or "").split(".")[0]]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_down(package):
    for path in (ROOT / package).rglob("*.py"):
        tree = ast.parse(path.read_text())
        lazy = [n for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)]
        for node in ast.walk(tree):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            ours = set(imported(node)) & MAY_IMPORT.keys()
            if path.name == "cli.py" and node in lazy:
                continue
            assert ours <= MAY_IMPORT[package], f"{path}:{node.lineno} imports {ours - MAY_IMPORT[package]}"


def test_the_library_knows_no_environment_and_no_agent_by_name():
    for path in (ROOT / "lfcs").glob("*.py"):
        names = {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)}
        known = {"CartPole-v1", "Pong100-v0", "lf-cs", "e-prop"} & {n for n in names if isinstance(n, str)}
        assert not known or path.name in ("cli.py", "config.py"), f"{path} names {known}"
