"""What return trained policies keep in few bits: tasks x seeds x forms.

    python -m lfcs.study.quantised [--tasks cartpole acrobot pong] [--seeds 1000..1004] [--bits 8 6 5 4 3 2] [--jobs 2]

Runs are kept below --runs: finished ones are not run again. Rows of experiments/results/quantised.csv are
kept too: one for each policy and form, greedy over --episodes, 0 bits being full precision.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Container, Iterable, Iterator, Sequence
from operator import attrgetter
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


class Row(NamedTuple):
    """The return of a policy in a form; 0 bits are full precision."""

    task: str
    seed: int
    steps: int
    bits: int
    per_neuron: int
    decay_shift: int
    greedy: float


def measured(
    task: str, run_dir: Path, bits: Sequence[int], episodes: int, seed: int, have: Container[Any]
) -> Iterator[Row]:
    """Yield the returns of a run's policy in full precision and in every form, but those that we ``have``."""
    trained = Trained(run_dir)
    at = task, trained.config.seed, trained.steps
    for form in [(0, 0, 0), *itertools.product(bits, (0, 1), (0, 1))]:
        if (*at, *form) in have:
            continue
        of, per_neuron, shift = form
        policy = quantise(trained.policy, Format(of, bool(per_neuron), bool(shift))) if of else trained.policy
        yield Row(*at, *form, float(trained.score(policy, episodes, seed, ways=("greedy",))["greedy"].mean()))


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
        found = {key: list(own) for key, own in _by_form(row for row in rows if row.task == task)}
        real = float(iqm(np.array(found[0, 0, 0])))
        lines.append(f"| {task} | real | {real:.4g} | | | |")
        for bits in sorted({key[0] for key in found if key[0]}, reverse=True):
            means = [float(iqm(np.array(found[bits, *form]))) for form in itertools.product((0, 1), (0, 1))]
            cells = [f"{mean:.4g} ({kept(real, mean):.1%})" for mean in means]
            lines.append(f"| {task} | {bits} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _by_form(rows: Iterable[Row]) -> Iterator[tuple[tuple[int, ...], Iterator[float]]]:
    """Yield forms with the returns of all seeds."""
    of = attrgetter("bits", "per_neuron", "decay_shift")
    for form, own in itertools.groupby(sorted(rows, key=of), of):
        yield form, (row.greedy for row in own)


def main(args: argparse.Namespace) -> None:
    """Train what is missing, quantise, evaluate; write the file after each run and print the table of each task."""
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
        for _, run_dir in runs:
            rows = read(args.out)
            rows += measured(task, run_dir, args.bits, args.episodes, args.seed, {row[:-1] for row in rows})
            write(args.out, rows)
        print(table([row for row in read(args.out) if row.task == task]), flush=True)
    print(f"\n{args.out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(STEPS), help="names of experiments (default: all three)")
    parser.add_argument("--seeds", nargs="+", default=["1000..1004"], help="of the runs (default 1000..1004)")
    parser.add_argument("--bits", nargs="+", type=int, default=list(BITS), help="of weights (default 8 6 5 4 3 2)")
    parser.add_argument("--episodes", type=int, default=100, help="of an evaluation (default 100)")
    parser.add_argument("--seed", type=int, default=1, help="of the evaluations (default 1)")
    parser.add_argument("--jobs", type=int, help="runs side by side (default: as many as there are cores)")
    parser.add_argument("--runs", type=Path, default=ROOT, help="where run directories go")
    parser.add_argument("--out", type=Path, default=RESULTS / "quantised.csv", help="the file of all rows")
    raise SystemExit(guarded(main, parser.parse_args()))
