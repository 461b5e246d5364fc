"""What return trained policies keep in few bits: tasks x seeds x forms.

    python -m lfcs.study.quantised [--tasks cartpole acrobot pong] [--seeds 1000..1004] [--jobs 2]

Runs are kept below --runs: finished ones are not run again. experiments/results/quantised.csv has a row for each policy
and form, greedy over 100 episodes, 0 bits being full
precision; rows of tasks that are not run this time stay.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lfcs import experiments
from lfcs.checkpoint import whole
from lfcs.configure import build_config
from lfcs.errors import UserError, guarded, nearest
from lfcs.hardware.low_bits import Trained, kept
from lfcs.hardware.quantise import Format, quantise
from lfcs.study import many, values
from lfcs.study.compare import RESULTS
from lfcs.study.stats import iqm

ROOT = Path("runs/quantised")  # where run directories go by default
STEPS = {"cartpole": 20_000, "acrobot": 100_000, "pong": 60_000}
BITS = 8, 6, 5, 4, 3, 2
EPISODES = 100


class Row(NamedTuple):
    """The return of a policy in a form; 0 bits are full precision."""

    task: str
    seed: int
    steps: int
    bits: int
    per_neuron: int
    decay_shift: int
    greedy: float


def measured(task: str, run_dir: Path, seed: int) -> Iterator[Row]:
    """Yield the returns of a run's policy in full precision and in every form."""
    trained, way = Trained(run_dir), ("greedy",)
    at = task, trained.config.seed, trained.steps

    def score(policy: Any) -> float:
        return float(trained.score(policy, EPISODES, seed, ways=way)["greedy"].mean())

    yield Row(*at, 0, 0, 0, score(trained.policy))
    for bits, per_neuron, shift in itertools.product(BITS, (False, True), (False, True)):
        policy = quantise(trained.policy, Format(bits, per_neuron, shift))
        yield Row(*at, bits, int(per_neuron), int(shift), score(policy))


def read(path: Path) -> list[Row]:
    """Return the rows of a file, none where there is none. Raises UserError on one that is damaged."""
    if not path.exists():
        return []
    kinds: tuple[Any, ...] = str, int, int, int, int, int, float
    try:
        with open(path, newline="", encoding="utf-8") as file:
            named = [[row[name] for name in Row._fields] for row in csv.DictReader(file)]
        return [Row(*(kind(text) for kind, text in zip(kinds, row, strict=True))) for row in named]
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path} is damaged: remove it") from None


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write rows, whole or not at all."""
    lines = [",".join(Row._fields), *(",".join(map(str, row)) for row in rows)]
    with whole(path) as file:
        file.write(("\n".join(lines) + "\n").encode())


def table(rows: Sequence[Row]) -> str:
    """Return a Markdown table of interquartile means over seeds, with the share that is kept of full precision."""
    heads = "tensor", "tensor, shifts", "neuron", "neuron, shifts"
    lines = ["| task | bits | " + " | ".join(heads) + " |", "|---" * 6 + "|"]
    for task in dict.fromkeys(row.task for row in rows):
        real = float(iqm(np.array([row.greedy for row in rows if row.task == task and not row.bits])))
        lines.append(f"| {task} | real | {real:.4g} | | | |")
        for bits in BITS:
            cells = []
            for form in itertools.product((0, 1), (0, 1)):
                own = [r.greedy for r in rows if (r.task, r.bits, r.per_neuron, r.decay_shift) == (task, bits, *form)]
                mean = float(iqm(np.array(own)))
                cells.append(f"{mean:.4g} ({kept(real, mean):.1%})")
            lines.append(f"| {task} | {bits} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(args: argparse.Namespace) -> None:
    """Train what is missing, quantise, evaluate; write the file after each task and print the table."""
    seeds = values.seeds("--seeds", args.seeds)
    known = {found["name"]: found for found in experiments.literals("SETTINGS").values()}
    for task in args.tasks:
        if task not in STEPS:
            raise UserError(f"no task {task!r}{nearest(task, STEPS)}; known: {', '.join(STEPS)}")
    for task in args.tasks:
        given, fixed = known[task], {"train.env_workers": "0", "train.watch": "scalars"}
        configs = [
            build_config(given["env"], steps=STEPS[task], seed=seed, overrides=fixed, experiment=given)
            for seed in seeds
        ]
        runs = many.prepare(configs, args.runs / task, args.jobs)
        outcomes = many.finish_all(runs, args.jobs)
        if any(of.summary is None for of in outcomes):
            many.judge(runs, outcomes)
        found = [row for _, run_dir in runs for row in measured(task, run_dir, args.seed)]
        rows = [row for row in read(args.out) if row.task != task] + found
        write(args.out, rows)
        print(table(found), flush=True)
    print(f"\n{args.out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(STEPS), help="names of experiments (default: all three)")
    parser.add_argument("--seeds", nargs="+", default=["1000..1004"], help="of the runs (default 1000..1004)")
    parser.add_argument("--seed", type=int, default=1, help="of the evaluations (default 1)")
    parser.add_argument("--jobs", type=int, help="runs side by side (default: as many as there are cores)")
    parser.add_argument("--runs", type=Path, default=ROOT, help="where run directories go")
    parser.add_argument("--out", type=Path, default=RESULTS / "quantised.csv", help="the file of all rows")
    raise SystemExit(guarded(main, parser.parse_args()))
