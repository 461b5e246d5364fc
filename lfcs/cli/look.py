"""``lfcs watch``, ``lfcs list`` and ``lfcs completion``."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from lfcs.cli.parsing import Command, whole
from lfcs.errors import UserError

LISTS = "envs", "agents", "experiments", "runs"


def add(command: Command) -> None:
    """Add the commands."""
    watched = command("watch", watch, "open runs in TensorBoard")
    watched.add_argument("runs", type=Path, nargs="?", default=Path("runs"), help="a run or a folder of runs")
    watched.add_argument("--port", type=whole, help="port to serve at (default: the first that is free from 6006)")
    watched.add_argument("--host", default="localhost", help="address to serve at (default: this machine alone)")
    listed = command("list", list_all, "list what there is, a line each")
    listed.add_argument("what", nargs="?", choices=LISTS, help="of what (default: a line on each list)")
    listed.add_argument("folder", type=Path, nargs="?", help="of runs (default: runs)")
    for what in ("experiments", "agents", "envs"):  # as before there was ``list``
        command(what, list_all, f"see lfcs list {what}", hidden=True).set_defaults(what=what, folder=None)
    completed = command("completion", completion, "print the completion script of a shell: the extra 'completion'")
    completed.add_argument("shell", choices=("bash", "zsh"))


def watch(args: argparse.Namespace) -> None:
    """Run TensorBoard until it is stopped: in this process, so that none stays behind."""
    if not args.runs.is_dir():
        raise UserError(f"no directory {args.runs}: train something first")
    from tensorboard import program

    from lfcs.trackers.logdir import named

    board = program.TensorBoard()
    port = {} if args.port is None else {"port": args.port}
    with named(args.runs) as folder:
        board.configure(logdir=str(folder), host=args.host, **port)
        print("next: open the address below, its page Custom Scalars first; Ctrl-C ends it", flush=True)
        code = board.main()
    if code:
        raise UserError(f"TensorBoard stopped with exit status {code}")


def list_all(args: argparse.Namespace) -> None:
    """Print a list of the catalogue, or of runs."""
    if args.folder is not None and args.what != "runs":
        raise UserError(f"a folder is of runs: lfcs list runs {args.folder}")
    if args.what == "runs":
        from lfcs import directory

        folder = args.folder or Path("runs")
        show(directory.rows(folder))
        print(f"next: lfcs report {folder}, or lfcs watch {folder}")
        return
    from lfcs import catalogue

    if args.what is None:
        show([(f"lfcs list {what}", f"{len(rows())} of them") for what, rows in sorted(catalogue.LISTS.items())])
        print("lfcs list runs [DIR]: the runs below a folder, by default runs")
        return
    show(catalogue.LISTS[args.what]())
    print({"agents": "next: lfcs train cartpole --agent NAME"}.get(args.what, "next: lfcs train NAME"))


def show(rows: list[tuple[str, str]]) -> None:
    """Print names and what there is to say of them."""
    width = max(len(name) for name, _ in rows)
    for name, line in rows:
        print(f"{name:<{width}}  {line}")


def completion(args: argparse.Namespace) -> None:
    """Print a script that completes commands and flags."""
    if importlib.util.find_spec("shtab") is None:
        raise UserError("completion needs the extra 'completion': pip install 'lfcs[completion]'")
    import shtab

    from lfcs.cli import make_parser

    print(shtab.complete(make_parser(), args.shell))
