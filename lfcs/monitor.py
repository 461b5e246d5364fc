"""What a run tells: ``metrics.csv``, and whoever else is to see it."""

from __future__ import annotations

import csv
import math
import os
import re
import sys
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

from lfcs import checkpoint
from lfcs.callbacks import Callback, Running
from lfcs.errors import UserError

NUMBER = re.compile(r"|-?(inf|[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?)")  # as Python writes them, or nothing


class Monitor(Callback):
    """Writes one row of the run's metrics per window, at the number of environment steps so far.

    Rows after the checkpoint that a run continues from are written again. ``shown`` is told of everything too; it has
    no part in the run's checkpoints, so that a run may go on whether it is watched or not.
    """

    def __init__(self, run_dir: Path, shown: Callback | None = None) -> None:
        self.path = run_dir / "metrics.csv"
        self.shown = shown or Callback()

    def begin(self, trainer: Running) -> None:
        """Keep the header and the rows up to now, atomically."""
        self.columns, start = trainer.columns, trainer.env_steps
        header: list[str] = ["step", *self.columns]
        rows: list[list[str]] = []
        if start and self.path.exists():
            found, rows = rows_until(self.path, start)
            if found != header:
                raise UserError(f"{self.path} is damaged, or has other columns than this run")
        text = StringIO(newline="")
        csv.writer(text).writerows([header, *rows])
        with checkpoint.whole(self.path) as file:
            file.write(text.getvalue().encode())
        whole = trainer.config.rule.window * trainer.config.train.num_envs
        if gaps := missing([int(row[0]) for row in rows], start, whole):
            print(
                f"warning: {self.path} has no rows of steps {gaps}: they were lost; the run goes on",
                file=sys.stderr,
            )
        self.shown.begin(trainer)

    def saving(self, trainer: Running) -> None:
        """Bring every row to the disk: the run goes on after them."""
        if self.path.exists():  # not before the begin
            with open(self.path, "rb+") as file:
                os.fsync(file.fileno())
        self.shown.saving(trainer)

    def evaluation(self, trainer: Running, metrics: dict[str, float]) -> None:
        """See :class:`Callback`."""
        self.shown.evaluation(trainer, metrics)

    def window(self, trainer: Running, metrics: dict[str, float]) -> None:
        """Record a window. Raises UserError on a key without a column."""
        unknown = metrics.keys() - set(self.columns)
        if unknown:
            raise UserError(f"metrics without a column: {sorted(unknown)}; declare them in a callback's ``metrics``")
        present = {k: v for k, v in metrics.items() if not math.isnan(v)}
        with open(self.path, "a", newline="") as file:
            row = repr(trainer.env_steps), *(repr(present[k]) if k in present else "" for k in self.columns)
            csv.writer(file).writerow(row)
        self.shown.window(trainer, present)

    def end(self, trainer: Running, summary: dict[str, Any]) -> None:
        """See :class:`Callback`."""
        self.shown.end(trainer, summary)

    def close(self) -> None:
        """See :class:`Callback`."""
        self.shown.close()


def rows_until(path: Path, last: int) -> tuple[list[str], list[list[str]]]:
    """Return the header of a ``metrics.csv`` and its whole rows up to step ``last``, each step once.

    What a process that was killed, or a disk, has left of a row is no row: a line without its end, with too few or too
    many fields, or with something else than numbers in them.
    """
    text = path.read_bytes().decode("utf-8", "replace")
    first, *lines = [line.removesuffix("\r") for line in text.split("\n")[:-1]] or [""]
    header = next(csv.reader([first.replace("\0", "")]), [])
    rows: list[list[str]] = []
    step = 0
    for row in (line.split(",") for line in lines):
        if len(row) == len(header) and step < _step_of(row) <= last:
            step = _step_of(row)
            rows.append(row)
    return header, rows


def _step_of(row: list[str]) -> int:
    """Return the step of a row that holds numbers and empty fields alone, -1 where it holds something else."""
    try:
        return int(row[0]) if [float(field or 0) for field in row] else -1
    except ValueError:
        return -1


def missing(steps: list[int], last: int, whole: int) -> str:
    """Return between which steps up to ``last`` there are no rows, as text; a window has at most ``whole`` steps."""
    told = [0, *steps]
    gaps = [(a, b) for a, b in pairwise(told) if b - a > whole]
    gaps += [(told[-1], last + 1)] if told[-1] < last else []
    return ", ".join(f"{a + 1:,} to {b - 1:,}" for a, b in gaps)


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """Return the rows of ``metrics.csv``: ``step`` as int, every other key as float, NaN where empty.

    Raises UserError where it is damaged, or other than it was when the run's summary was written.
    """
    path, summary = run_dir / "metrics.csv", run_dir / "summary.json"
    if not path.exists():
        raise UserError(f"{path} is missing")
    wanted = checkpoint.read_sealed(summary).get("metrics_digest") if summary.exists() else None
    if wanted is not None and wanted != checkpoint.digest_of(path):
        raise UserError(f"{path} is damaged, or was changed since the run ended: its digest does not fit")
    try:
        with open(path, newline="", encoding="utf-8") as file:
            header, *found = csv.reader(file, strict=True)
        if header[0] != "step" or len(set(header)) < len(header):
            raise ValueError("its first line is no header")
        rows = [_row(header, cells) for cells in found]
        if any(row["step"] <= before["step"] for before, row in pairwise(rows)):
            raise ValueError("its steps do not rise")
    except (ValueError, IndexError, csv.Error) as error:
        raise UserError(f"{path} is damaged: {' '.join(str(error).split())[:80]}") from None
    return rows


def _row(header: list[str], cells: list[str]) -> dict[str, Any]:
    """Return a row of metrics. Raises ValueError where it is not one that was written here."""
    if len(cells) != len(header) or not re.fullmatch("[0-9]{1,18}", cells[0]):
        raise ValueError(f"a row is {','.join(cells)[:40]!r}")
    if odd := [cell for cell in cells[1:] if not NUMBER.fullmatch(cell)]:
        raise ValueError(f"a number is {odd[0][:20]!r}")
    return {"step": int(cells[0])} | {k: float(v or "nan") for k, v in zip(header[1:], cells[1:], strict=True)}
