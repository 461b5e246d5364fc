"""lf-cs against e-prop on pong-100, 10 seeds, with the published curves of Capone & Muratore (2024), Figure 1c, behind.

    python -m lfcs.study.figure1 [--jobs N] [--seeds ...]

Safe to kill and start again. Writes figure1.csv and figure1.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lfcs import experiments
from lfcs.errors import guarded
from lfcs.study import values
from lfcs.study.compare import RESULTS
from lfcs.study.seeds import run_experiment

SEEDS = "10..19"


def main(args: argparse.Namespace) -> None:
    """Run what is missing, then print the table and draw."""
    run_experiment(
        experiments.literals("SETTINGS")["pong"],
        ["lf-cs", "e-prop"],
        values.seeds("--seeds", args.seeds),
        args.jobs,
        args.runs,
        args.out / "figure1.csv",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", nargs="+", default=[SEEDS], help="0..15, 0,3,7 or 0..3,8")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--runs", type=Path, default=Path("runs/figure1"), help="where run directories go")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where curves and picture go")
    raise SystemExit(guarded(main, parser.parse_args()))
