"""``lfcs watch`` and the commands that list what there is."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from lfcs.cli.parsing import Command
from lfcs.errors import UserError


def add(command: Command) -> None:
    """Add the commands."""
    watched = command("watch", watch, "open runs in TensorBoard")
    watched.add_argument("runs", type=Path, nargs="?", default=Path("runs"))
    for what in ("experiments", "agents", "envs"):
        command(what, list_all, f"list the {what} that there are, a line each").set_defaults(what=what)


def watch(args: argparse.Namespace) -> None:
    """Run TensorBoard until it is stopped."""
    if not args.runs.is_dir():
        raise UserError(f"no directory {args.runs}: train something first")
    from lfcs.trackers.logdir import named

    with named(args.runs) as folder:
        code = subprocess.call([sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)])
    if code:
        raise UserError(f"TensorBoard stopped with exit status {code}")


def list_all(args: argparse.Namespace) -> None:
    """Print a list of the catalogue."""
    from lfcs import catalogue

    rows = catalogue.LISTS[args.what]()
    width = max(len(name) for name, _ in rows)
    for name, line in rows:
        print(f"{name:<{width}}  {line}")
