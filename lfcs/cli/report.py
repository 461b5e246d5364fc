"""``lfcs report``: one page of one run or of several."""

from __future__ import annotations

import argparse
from pathlib import Path

from lfcs.cli.parsing import Command


def add(command: Command) -> None:
    """Add the command."""
    parser = command("report", report, "write one HTML page of a run, or of several a comparison")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="directories of runs, or folders of them")
    parser.add_argument("--out", type=Path, help="file of the page (default: report.html in the first directory)")


def report(args: argparse.Namespace) -> None:
    """Write the page."""
    from lfcs.report import page

    path = page.write(args.runs, args.out)
    print(f"{path}: one file of {path.stat().st_size / 1e6:.1f} MB, which needs no network")
    print(f"next: open {path} in a browser, or print it")
