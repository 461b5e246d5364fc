"""Who may import whom: arrows point down, without circles, and the command line stands alone on top."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {"lfcs": "lfcs", "agents": "lfcs.agents", "envs": "lfcs.envs", "experiments": "lfcs.experiments"}
# from the ground up; a module may import what stands below its own line, and what stands on it without a circle
FLOORS = [
    {
        "lfcs.stopping",
        "lfcs.errors",
        "lfcs.lock",
        "lfcs.rules",
        "lfcs.kernels",
        "lfcs.pointers",
        "lfcs.tiles",
        "lfcs.spawn",
        "lfcs.nested",
        "lfcs.machine",
        "lfcs.measured",
    },
    {"lfcs.names", "lfcs.config", "lfcs.checkpoint", "lfcs.optimiser", "lfcs.spaces"},
    {"lfcs.neurons"},
    {"lfcs.footprint", "lfcs.network"},
    {"lfcs.engines", "lfcs.heads"},
    {"lfcs.policy", "lfcs.trajectory"},
    {"lfcs.rollout"},
    {"lfcs.evaluation", "lfcs.agent", "lfcs.callbacks", "lfcs.average", "lfcs.episodes"},
    {
        "lfcs.update",
        "lfcs.monitor",
        "lfcs.recorder",
        "lfcs.verdict",
        "lfcs.pictures",
        "lfcs.recording",
        "lfcs.progress",
        "lfcs.trackers",
    },
    {"lfcs.learner", "lfcs.online", "lfcs.compiled", "lfcs.device_rollout"},
    {"lfcs.trainer"},
    {"lfcs.agents", "lfcs.envs", "lfcs.experiments"},
    {
        "lfcs.configure",
        "lfcs.notes",
        "lfcs.run",
        "lfcs.catalogue",
        "lfcs.playing",
        "lfcs.watching",
        "lfcs.directory",
        "lfcs.faults",
        "lfcs.watch",
    },
    {"lfcs.hardware"},
    {"lfcs.study"},
    {"lfcs.report"},
    {"lfcs"},
    {"lfcs.cli"},
]
# conveniences that import what stands above when they are called, and annotations of what they return
REACHES_UP = {
    ("lfcs.policy", "lfcs.playing"),
    ("lfcs.policy", "lfcs.recording"),
    ("lfcs.run", "lfcs.study.curves"),
    ("lfcs.run", "lfcs.hardware.reading"),
    ("lfcs.configure", "lfcs.hardware.reading"),
}


def modules():
    """Return every module of ours with its syntax tree."""
    found = {}
    for folder, package in ROOMS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join([package, *parts]).removesuffix(".__init__")
            found.setdefault(name, ast.parse(path.read_text()))
    return found


MODULES = modules()


def imports(name, lazy=True):
    """Return our modules that a module imports; with ``lazy``, inside functions and its main block too."""
    tree, found = MODULES[name], set()
    for node in ast.walk(tree) if lazy else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole == "lfcs.__version__":  # a number, not the face
                    continue
                found.add(whole if whole in MODULES else node.module)
    return {module for module in found if module in MODULES} - {name}


def floor(name):
    """Return the number of the floor of a module, by the longest name of its room."""
    at = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    while name not in at:
        name = name.rpartition(".")[0]
    return at[name]


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name):
    if name.startswith("lfcs.experiments.") or name == "lfcs":  # scripts start the command line; the face is lazy
        assert not imports(name, lazy=False)
        return
    for other in imports(name):
        assert floor(other) <= floor(name) or (name, other) in REACHES_UP, f"{name} imports {other}"


def test_there_are_no_circles():
    state = {}

    def visit(name, path):
        assert state.get(name) != "open", " -> ".join([*path, name])
        if name in state:
            return
        state[name] = "open"
        for other in imports(name, lazy=False):
            visit(other, [*path, name])
        state[name] = "done"

    for name in MODULES:
        visit(name, [])


def test_the_library_knows_no_environment_and_no_agent_by_name():
    for name, tree in MODULES.items():
        if name == "lfcs" or floor(name) >= floor("lfcs.agents"):
            continue
        names = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
        known = {"CartPole-v1", "Pong100-v0", "lf-cs", "e-prop"} & {n for n in names if isinstance(n, str)}
        assert not known or name == "lfcs.config", f"{name} names {known}"


def test_functions_fit_on_a_screen():
    """At most 40 lines beside the docstring; a compiled loop is one function for the compiler's sake."""
    long = []
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                lines = node.end_lineno - node.lineno + 1
                described = isinstance(node.body[0], ast.Expr) and ast.get_docstring(node) is not None
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1 if described else 0
                if lines > 40:
                    long.append(f"{name}.{node.name} has {lines} lines")
    assert not long
