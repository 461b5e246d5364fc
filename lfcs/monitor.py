"""What a run tells: ``metrics.csv``, and whoever else is to see it."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path
from typing import Any

from lfcs.callbacks import Callback, Running
from lfcs.errors import UserError


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
        self.columns, start, rows = trainer.columns, trainer.env_steps, []
        if start:
            with open(self.path, newline="") as file:
                header, *found = list(csv.reader(file)) or [[]]
            if header != ["step", *self.columns]:
                raise UserError(f"{self.path} is damaged, or has other columns than this run")
            complete = [row for row in found if len(row) == len(header) and row[0].isdecimal()]
            rows = [row for row in complete if int(row[0]) <= start]
        temporary = self.path.with_suffix(".tmp")
        with open(temporary, "w", newline="") as file:
            csv.writer(file).writerows([["step", *self.columns], *rows])
        os.replace(temporary, self.path)
        self.shown.begin(trainer)

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


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """Return the rows of ``metrics.csv``: ``step`` as int, every other key as float, NaN where empty."""
    with open(run_dir / "metrics.csv", newline="") as file:
        return [
            {k: int(v) if k == "step" else float(v or "nan") for k, v in row.items()} for row in csv.DictReader(file)
        ]
