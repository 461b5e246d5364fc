"""Things by name: ours from a table, a user's own as ``package.module:Name``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

from lfcs.errors import UserError, nearest

# what brings a package that an environment needs
EXTRAS = {"ale_py": "atari", "Box2D": "box2d", "mujoco": "mujoco", "pygame": "video", "jax": "peers-jax"}


def import_module(name: str, what: str) -> Any:
    """Import a user's module, also from the folder where the command is started. Raises UserError if that fails."""
    if not all(name.split(".")):
        raise UserError(f"{what} is not of the form package.module:Name: {name!r} names no module")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever a user's module does when it is imported
        where = f" ({type(error).__name__})" if not isinstance(error, ImportError) else ""
        raise UserError(f"cannot import {name!r} for {what}: {' '.join(str(error).split())}{where}") from error


def lookup(name: str, table: Mapping[str, Any], kind: str) -> Any:
    """Return what ``name`` stands for: an entry of ``table``, or ``package.module:Name``.

    Raises UserError on an unknown name, with the nearest known, and on a module or attribute that is not there.
    """
    if name in table:
        return table[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        known = ", ".join(table)
        raise UserError(f"unknown {kind} {name!r}{nearest(name, table)}; known: {known}, or your package.module:Name")
    if not module or not attribute:
        raise UserError(f"{kind} {name!r} is not of the form package.module:Name")
    found = import_module(module, f"{kind} {name!r}")
    try:
        for part in attribute.split("."):
            found = getattr(found, part, None)
    except Exception as error:  # a module's own __getattr__
        raise UserError(f"{kind} {name!r}: {' '.join(str(error).split())} ({type(error).__name__})") from error
    if found is None:
        hint = "; it was given as an object: give it again" if module == "__main__" else ""
        raise UserError(f"{kind} {name!r}: module {module!r} has no {attribute!r}{hint}")
    return found


def name_of(thing: Any, table: Mapping[str, Any]) -> str:
    """Return the name by which :func:`lookup` finds ``thing``."""
    known = (name for name, entry in table.items() if entry is thing)
    own = thing if hasattr(thing, "__qualname__") else type(thing)  # a partial, say
    return next(known, f"{own.__module__}:{own.__qualname__}")


def missing(what: str, error: BaseException) -> str:
    """Return the line of what needs a package that is not installed, with the extra that brings it."""
    chain: BaseException | None = error
    while chain is not None and not (isinstance(chain, ModuleNotFoundError) and chain.name):
        chain = chain.__cause__ or chain.__context__
    package = getattr(chain, "name", "").partition(".")[0]
    if not package:
        return f"{what} cannot be imported: {' '.join(str(error).split())}"
    if package in EXTRAS:
        extra = EXTRAS[package]
        return f"{what} needs the package {package!r}, the extra {extra!r}: pip install 'lfcs[{extra}]'"
    return f"{what} needs the package {package!r}, which is not installed"
