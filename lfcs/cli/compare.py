"""``lfcs compare``: learning rules side by side."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lfcs.cli.parsing import Command, whole


def add(command: Command) -> None:
    """Add the command."""
    parser = command("compare", compare, "compare learning rules under replay")
    parser.add_argument(
        "comparison",
        help="cartpole[-parts, -stale, -levers], pong[-one-rate, -parts, -stale], a JSON file, or an environment",
    )
    parser.add_argument("--agents", nargs="+", help="learning rules, also package.module:Class")
    parser.add_argument("--replays", type=whole, nargs="+", help="numbers of passes R over a window")
    parser.add_argument("--capacities", type=whole, nargs="+", help="numbers of windows kept: older ones are replayed")
    parser.add_argument("--seeds", nargs="+", help="one number: so many seeds; or the seeds: 0..15, 0,3,7")
    parser.add_argument("--steps", type=whole, help="environment steps of a run")
    parser.add_argument(
        "--rates", type=float, nargs="+", help="learning rates of the readout to pick from (default: the agent's own)"
    )
    parser.add_argument("--print-plan", action="store_true", help="print the whole plan as JSON, and run nothing")
    parser.add_argument("--jobs", type=whole, default=2, help="runs side by side")
    parser.add_argument("--peers", action="store_true", help="add Stable-Baselines3's PPO and RecurrentPPO")
    parser.add_argument("--out", type=Path, help="directory of runs and report (default: below runs/compare/)")


def compare(args: argparse.Namespace) -> None:
    """Run a comparison and write its report."""
    from lfcs.study import compare, values
    from lfcs.study.sources import command_line, load

    wanted = ("agents", "replays", "capacities", "seeds", "steps", "rates")
    flags = {key: value for key in wanted if (value := getattr(args, key)) is not None}
    if "seeds" in flags:
        so_many = len(args.seeds) == 1 and args.seeds[0].isdecimal()
        flags["seeds"] = int(args.seeds[0]) if so_many else values.seeds("--seeds", args.seeds)
    plan = load(args.comparison, flags)
    if args.print_plan:
        print(json.dumps(plan.to_dict(), indent=2))
        return
    command = command_line(args.comparison, flags, args.peers)
    compare.compare(plan, args.comparison, args.out, args.jobs, args.peers, command)
