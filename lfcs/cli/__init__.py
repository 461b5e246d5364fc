"""The command line: it parses and prints. All else is imported when a command needs it; a file a group of commands."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from lfcs import __version__, stopping

if TYPE_CHECKING:
    import argparse


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    # when signals are handled
    from lfcs.cli import bench, compare, export, look, play, plot, profile, quantise, report, train, tune
    from lfcs.cli.parsing import Parser

    parser = Parser(prog="lfcs", description="Recurrent spiking policies that learn with lf-cs.")
    parser.add_argument("--version", action="version", version=f"lfcs {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")

    def command(name: str, call: Any, help_: str, hidden: bool = False, **given: Any) -> argparse.ArgumentParser:
        told: dict[str, Any] = {} if hidden else {"help": help_}
        made = commands.add_parser(name, description=help_, **told, **given)
        made.set_defaults(call=call)
        return made

    for group in (train, plot, play, report, profile, quantise, export, compare, tune, bench, look):
        group.add(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    from lfcs.errors import guarded

    parser = make_parser()
    args = parser.parse_args(argv)
    args.argv = list(sys.argv[1:] if argv is None else argv)  # what a report says of how it was made
    if not hasattr(args, "call"):
        parser.print_help()
        return 0
    return guarded(args.call, args)


def console() -> NoReturn:
    """Run the command line and leave. A signal ends it at once, in one line, until a command handles it otherwise.

    By then everything is written and closed. What follows an interpreter's end, taking the libraries apart piece by
    piece, would take longer than a short run learns.
    """
    with stopping.handled(stopping.at_once):
        status = main()
        leave(status)


def leave(status: int) -> NoReturn:
    """End the process as the interpreter would, but leave its memory to the system."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # who read it is gone
            status = status or 1
    os._exit(status)


def experiment_main(module_settings: dict[str, Any], argv: Sequence[str] | None = None) -> int:
    """Run an experiment script: its settings, with the flags of ``lfcs train``."""
    from lfcs.cli import train
    from lfcs.cli.parsing import Parser
    from lfcs.errors import guarded

    parser = Parser(description=f"Train on {module_settings['env']}.", add_help=False)
    train.add_flags(parser)
    args = parser.parse_args(argv)
    args.env, args.experiment = module_settings["env"], module_settings
    return guarded(train.train, args)
