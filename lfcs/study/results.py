"""What runs gave: rows of ``results.csv``, one per run and evaluation, and their aggregates."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from lfcs.monitor import read_metrics
from lfcs.study.jobs import Job
from lfcs.study.peers import Evaluation

SOUND, NOT_JUDGED = "no", "not judged"


@dataclass(frozen=True, kw_only=True)
class Row:
    """An evaluation of a run. The last of a run is of its final policy and has a verdict in ``diverged``.

    KL(reference || new), effective sample size and entropy are of the window's last pass; in a last row they are
    medians over windows. None is what is not known: a peer's learning rate, say.
    """

    label: str
    replays: int
    capacity: int = 0
    seed: int
    learning_rate: float | None = None
    step: int
    seconds: float = math.nan
    weight_updates: int = 0
    training_return: float | None = None
    greedy_return: float
    sampled_return: float
    kl: float | None = None
    ess: float | None = None
    entropy: float | None = None
    diverged: str = ""  # "" before the end, "no", "not judged", or why it has


Rows = Sequence[Row]
COLUMNS = tuple(f.name for f in fields(Row))
READ = {"label": str, "diverged": str, "replays": int, "capacity": int, "seed": int, "step": int, "weight_updates": int}


def write_rows(path: Path, rows: Rows) -> None:
    """Write rows as CSV."""
    with open(path, "w", newline="") as file:
        out = csv.DictWriter(file, COLUMNS)
        out.writeheader()
        for row in rows:
            out.writerow({k: f"{v:.7g}" if isinstance(v, float) else v for k, v in asdict(row).items()})


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a ``results.csv``; a column that it lacks has its default."""
    with open(path, newline="") as file:
        return [Row(**{key: _value(key, text) for key, text in row.items()}) for row in csv.DictReader(file)]


def _value(key: str, text: str) -> Any:
    """Return what a cell says."""
    kind = READ.get(key, float)
    return None if kind is float and not text else kind(text)


def rows_of(job: Job, summary: dict[str, Any]) -> Iterator[Row]:
    """Yield a row for each evaluation of a run."""
    shared: dict[str, Any] = {"label": job.label, "replays": job.replays, "seed": job.seed}
    shared["capacity"] = job.config.replay.capacity
    shared["learning_rate"] = job.config.rule.lr_readout
    windows = read_metrics(job.run_dir)
    for row in windows:
        if np.isfinite(row["eval/mean_reward"]) and row["step"] < job.config.steps:
            yield Row(
                **shared,
                step=row["step"],
                seconds=row["time/seconds"],
                weight_updates=int(row["train/weight_updates"]),
                training_return=row["rollout/ep_rew_mean"],
                greedy_return=row["eval/mean_reward"],
                sampled_return=row["eval/mean_reward_sampled"],
                kl=row["train/approx_kl"],
                ess=row["train/ess"],
                entropy=row["train/entropy"],
            )

    def typical(key: str) -> float:  # NaN where a run stopped in its first window
        return float(np.median([row[key] for row in windows])) if windows else math.nan

    yield Row(
        **shared,
        step=min(summary["env_steps"], job.config.steps),
        seconds=summary["seconds"],
        weight_updates=summary["weight_updates"],
        greedy_return=summary["mean_return"],
        sampled_return=summary["mean_return_sampled"],
        kl=typical("train/approx_kl"),
        ess=typical("train/ess"),
        entropy=typical("train/entropy"),
        diverged=summary["diverged"] or SOUND,
    )


def peer_rows(peer: str, seed: int, evaluations: Sequence[Evaluation]) -> Iterator[Row]:
    """Yield a row for each evaluation of a peer, which is not judged."""
    for found in evaluations:
        yield Row(
            label=peer,
            replays=1,
            seed=seed,
            step=int(found["step"]),
            seconds=found["seconds"],
            weight_updates=int(found["weight_updates"]),
            greedy_return=found["greedy_return"],
            sampled_return=found["sampled_return"],
            diverged=NOT_JUDGED if found is evaluations[-1] else "",
        )


def along_capacity(rows: Rows, replays: int) -> list[Row]:
    """Return the rows at a number of replays with their capacities in its place: what is drawn and told along it.

    Peers keep the window that they have, and no other: they stand at a capacity of 1.
    """
    peers = {row.label for row in rows if row.diverged == NOT_JUDGED}
    return [
        replace(row, replays=1 if row.label in peers else row.capacity)
        for row in rows
        if row.label in peers or row.replays == replays
    ]


def labels_of(rows: Rows) -> list[str]:
    """Return the labels, in their order."""
    return list(dict.fromkeys(row.label for row in rows))


def last_rows(rows: Rows) -> dict[tuple[str, int], list[Row]]:
    """Return the last row of each run, by label and number of replays."""
    out: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        if row.diverged:
            out.setdefault((row.label, row.replays), []).append(row)
    return out


def median(rows: Iterable[Row], key: str) -> float:
    """Return the median of a column; NaN where it is not known."""
    found = [getattr(row, key) for row in rows]
    return math.nan if None in found else float(np.median(found))


def finals(rows: Rows, key: str = "sampled_return") -> dict[str, dict[int, np.ndarray]]:
    """Return the final scores over seeds, by label and number of replays."""
    out: dict[str, dict[int, np.ndarray]] = {}
    for (label, replays), runs in last_rows(rows).items():
        out.setdefault(label, {})[replays] = np.array([getattr(row, key) for row in runs])
    return out


def diverged(rows: Rows) -> dict[str, dict[int, tuple[int, int]]]:
    """Return how many runs diverged, of how many, by label and number of replays; peers are not judged."""
    out: dict[str, dict[int, tuple[int, int]]] = {}
    for (label, replays), runs in last_rows(rows).items():
        verdicts = [row.diverged for row in runs if row.diverged != NOT_JUDGED]
        if verdicts:
            out.setdefault(label, {})[replays] = sum(verdict != SOUND for verdict in verdicts), len(verdicts)
    return out


def curves_of(rows: Rows, label: str, replays: int, key: str = "sampled_return") -> tuple[np.ndarray, np.ndarray]:
    """Return evaluation points and returns [seeds, points]; a run that stopped early keeps its last return."""
    runs: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        if (row.label, row.replays) == (label, replays):
            runs.setdefault(row.seed, []).append((row.step, getattr(row, key)))
    if not runs:
        return np.empty(0), np.empty((0, 0))
    longest = max(runs.values(), key=len)
    returns = [[y for _, y in run] + [run[-1][1]] * (len(longest) - len(run)) for run in runs.values()]
    return np.array([x for x, _ in longest]), np.array(returns)
