"""Experiments: one script a task with its tuned settings, one plan a comparison. All of it is literal data."""

from __future__ import annotations

import ast
from pathlib import Path
from threading import Lock
from typing import Any

ONE_AT_A_TIME = Lock()  # runs may begin in several threads, which the parser of Python 3.11 does not bear


def literals(name: str) -> dict[str, dict[str, Any]]:
    """Return every literal called ``name`` at the top of a file here, by the file's name; nothing is executed."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        with ONE_AT_A_TIME:
            body = ast.parse(path.read_text(encoding="utf-8")).body
        for node in body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
                found[path.stem] = ast.literal_eval(node.value)
    return found


def find(env: str) -> dict[str, Any] | None:
    """Return the settings of the experiment for an environment id or an experiment's name, or None."""
    known = literals("SETTINGS").values()
    return next((found for found in known if env in (found["name"], found["env"])), None)
