"""``lfcs tune``: a search for settings."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from lfcs.cli.parsing import Command, pair, whole


def add(command: Command) -> None:
    """Add the command."""
    parser = command("tune", tune, "search for settings, with Optuna: the extra 'tune'")
    parser.add_argument("env", help="gymnasium id, package.module:Id, or the name of an experiment")
    parser.add_argument("--agent", help="learning rule, or your package.module:Class (default: the experiment's)")
    parser.add_argument(
        "--ranges",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY[=RANGE]",
        help="settings to search: KEY=LOW..HIGH, KEY=LOW..HIGH:log, KEY=A,B,C, or KEY with its declared range; "
        "'default' is all declared ranges (the default)",
    )
    parser.add_argument("--trials", type=whole, default=50, help="trials in all, those of other processes included")
    parser.add_argument("--steps", type=whole, help="environment steps of a run (default: the experiment's)")
    parser.add_argument("--seeds", nargs="+", default=["500..502"], help="seeds of every trial (default: 500..502)")
    parser.add_argument("--jobs", type=whole, default=2, help="trials side by side (default 2)")
    parser.add_argument(
        "--actions", choices=("greedy", "sampled"), default="greedy", help="of the returns that are scored"
    )
    parser.add_argument("--set", action="extend", nargs="+", default=[], metavar="KEY=VALUE", help="fixed settings")
    parser.add_argument("--print-plan", action="store_true", help="print what is searched as JSON, and run nothing")
    parser.add_argument("--out", type=Path, help="directory of trials, script and report (default: below runs/tune/)")


def tune(args: argparse.Namespace) -> None:
    """Search, and write an experiment script and a report."""
    from lfcs.study import tune, values
    from lfcs.study.search import Search

    seeds = values.seeds("--seeds", args.seeds)
    given = dict(pair(text) for text in args.set)
    search, left_out = Search.make(args.env, args.agent, args.steps, seeds, args.actions, given, args.ranges)
    if args.print_plan:
        print(search.to_json())
        return
    tune.tune(search, left_out, args.trials, args.jobs, args.out, shlex.join(["lfcs", *args.argv]))
