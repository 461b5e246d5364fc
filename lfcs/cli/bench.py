"""``lfcs bench``: speed, as ratios taken in one run."""

from __future__ import annotations

import argparse
from pathlib import Path

from lfcs.cli.parsing import Command, whole
from lfcs.errors import UserError

HINT = "next: docs/performance.md says what the figures mean; --out FILE keeps them"


def add(command: Command) -> None:
    """Add the command."""
    parser = command("bench", bench, "measure speed, as ratios taken in one run")
    parser.add_argument("--quick", action="store_true", help="small sizes and few repeats: a smoke run")
    parser.add_argument("--threads", type=whole, default=1, help="threads of tensor operations")
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    parser.add_argument(
        "--to-threshold", action="store_true", help="instead: steps and seconds until CartPole is mastered; takes long"
    )
    parser.add_argument("--seeds", type=whole, default=5, help="runs of each with --to-threshold (default 5)")
    parser.add_argument("--device", help="instead: how fast cuda, or cpu, learns with thousands of environments on it")


def bench(args: argparse.Namespace) -> None:
    """Measure, and print tables."""
    from lfcs.config import parse
    from lfcs.study import benchmark, device, threshold

    if args.threads < 1:
        raise UserError(f"--threads must be at least 1, got {args.threads}")
    parse("train.threads", args.threads)  # whose upper bound is this one's
    if args.device and args.to_threshold:
        raise UserError("--device and --to-threshold cannot be given together")
    if args.seeds < 1:
        raise UserError(f"--seeds must be at least 1, got {args.seeds}")
    if args.device:
        device.run(args.device, args.quick, args.threads, args.out)
    elif args.to_threshold:
        threshold.run(args.seeds, args.threads, args.out)
    else:
        benchmark.run(args.quick, args.threads, args.out)
    print(HINT)
