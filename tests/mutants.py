"""Change one operator or number of the equations at a time, run their tests, and list the changes that none notices.

    python tests/mutants.py [rules heads neurons] [--every 1]

A changed module is compiled in a forked process and never written, so that the tree stays as it is. Functions that
numba compiles are left alone: their tests compare them with the ones in Python, and each change would compile anew.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = {
    "rules": ["test_independent.py", "test_rules.py", "test_rules_vs_autograd.py", "test_online.py"],
    "heads": ["test_heads.py", "test_actions.py", "test_rules.py"],
    "neurons": ["test_neurons.py", "test_alif.py"],
}
SECONDS = 600.0  # a change that makes a loop endless is noticed
SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.Mod: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.MatMult: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}  # fmt: skip


def is_compiled(node):
    """Return whether a function has a decorator of a compiled loop."""
    names = [ast.unparse(decorator) for decorator in getattr(node, "decorator_list", ())]
    return any(name.endswith("_pointer") or name in ("compiled", "inner", "alone", "part") for name in names)


def places(node):
    """Yield the nodes that can be changed, below functions that numba does not compile and outside annotations."""
    if is_compiled(node):
        return
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS:
        yield node
    if isinstance(node, ast.AugAssign) and type(node.op) in SWAPS:
        yield node
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield node
    if isinstance(node, ast.UnaryOp) or (isinstance(node, ast.Constant) and type(node.value) in (int, float, bool)):
        yield node
    for name, field in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list") or isinstance(node, ast.JoinedStr | ast.Raise):
            continue
        if isinstance(node, ast.keyword) and node.arg == "strict":  # of zip: it changes no number
            continue
        for child in field if isinstance(field, list) else [field]:
            if isinstance(child, ast.AST):
                yield from places(child)


def changed(node):
    """Change a node in place; return what is said of it."""
    before = ast.unparse(node)
    if isinstance(node, ast.Constant):
        node.value = (not node.value) if isinstance(node.value, bool) else node.value + 1
    elif isinstance(node, ast.UnaryOp):
        node.op = ast.UAdd() if isinstance(node.op, ast.USub) else node.op
        if isinstance(node.op, ast.Not | ast.Invert):
            node.operand = ast.UnaryOp(copy.deepcopy(node.op), node.operand)
    elif isinstance(node, ast.Compare):
        node.ops[0] = SWAPS[type(node.ops[0])]()
    else:
        node.op = SWAPS[type(node.op)]()
    return f"{before}  ->  {ast.unparse(node)}"


def mutants(path):
    """Yield the line, what is changed, and the changed tree of every mutant of a file."""
    source = path.read_text(encoding="utf-8")
    for number in range(len(list(places(ast.parse(source))))):
        tree = ast.parse(source)
        node = list(places(tree))[number]
        said = changed(node)
        yield node.lineno, said, ast.fix_missing_locations(tree)


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module a changed body."""

    def __init__(self, name, path, tree):
        self.name, self.path, self.tree = name, path, tree

    def find_spec(self, name, path, target=None):
        if name != self.name:
            return None
        package = self.path.name == "__init__.py"
        spec = importlib.util.spec_from_file_location(name, self.path, loader=self)
        spec.submodule_search_locations = [str(self.path.parent)] if package else None
        return spec

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile(self.tree, str(self.path), "exec"), module.__dict__)


def survives(name, path, tree, files):
    """Return whether the tests pass with a changed module, in a process of its own."""
    child = os.fork()
    if not child:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        status = 1
        try:
            sys.meta_path.insert(0, Changed(name, path, tree))
            import pytest

            status = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *(str(ROOT / "tests" / f) for f in files)]))
        finally:
            os._exit(status)
    begun = time.monotonic()
    while time.monotonic() - begun < SECONDS:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


def main():
    """Run every mutant and print those that survive; exit with status 1 where there are some."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=list(TESTS), help=f"of {', '.join(TESTS)}; all by default")
    parser.add_argument("--every", type=int, default=1, help="only every so many-th mutant")
    args = parser.parse_args()
    import gymnasium  # noqa: F401  imported once for all forks
    import numba  # noqa: F401
    import snntorch  # noqa: F401

    total, alive = 0, []
    for part in args.parts:
        at = ROOT / "lfcs" / part
        for path in sorted(at.rglob("*.py")) if at.is_dir() else [at.with_suffix(".py")]:
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for line, said, tree in list(mutants(path))[:: args.every]:
                total += 1
                if survives(name, path, tree, TESTS[part]):
                    alive.append(f"{path.relative_to(ROOT)}:{line}: {said}")
                    print(alive[-1], flush=True)
    print(f"{total} mutants, {len(alive)} survive")
    return bool(alive)


if __name__ == "__main__":
    sys.exit(main())
