"""What a run tells: TensorBoard events, and ``metrics.csv`` with the same keys."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from lfcs.callbacks import Callback, Running
from lfcs.config import SECTIONS
from lfcs.errors import UserError


class Monitor(Callback):
    """Writes one row of the run's metrics per window, at the number of environment steps so far.

    Rows after the checkpoint that a run continues from are written again.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir, self.path = run_dir, run_dir / "metrics.csv"
        self.writer: SummaryWriter | None = None

    def begin(self, trainer: Running) -> None:
        """Keep the header and the rows up to now, atomically, and open the event file."""
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
        self.writer = SummaryWriter(str(self.run_dir), purge_step=start + 1 if start else None)

    def window(self, trainer: Running, metrics: dict[str, float]) -> None:
        """Record a window. Raises UserError on a key without a column."""
        unknown = metrics.keys() - set(self.columns)
        if unknown:
            raise UserError(f"metrics without a column: {sorted(unknown)}; declare them in a callback's ``metrics``")
        step = trainer.env_steps
        present = {k: v for k, v in metrics.items() if not math.isnan(v)}
        with open(self.path, "a", newline="") as file:
            csv.writer(file).writerow([step, *(repr(present[k]) if k in present else "" for k in self.columns)])
        assert self.writer is not None
        for key, value in present.items():
            self.writer.add_scalar(key, value, step)

    def end(self, trainer: Running, summary: dict[str, Any]) -> None:
        """Record settings and final results for TensorBoard's table of hyperparameters."""
        nested = trainer.config.to_dict()
        flat = {f"{s}.{k}": v for s in SECTIONS for k, v in nested[s].items()}
        flat |= {f"agent.{k}": v for k, v in nested["options"].items()}
        flat |= {f"env_kwargs.{k}": str(v) for k, v in nested["env_kwargs"].items()}
        flat |= {k: v for k, v in nested.items() if k not in (*SECTIONS, "options", "env_kwargs")}
        results = {f"final/{k}": summary[k] for k in ("mean_return", "mean_return_sampled", "seconds")}
        results["final/diverged"] = float(summary["diverged"] is not None)
        assert self.writer is not None
        self.writer.add_hparams(flat, results, run_name=".", global_step=summary["env_steps"])

    def close(self) -> None:
        """Flush and close."""
        if self.writer is not None:
            self.writer.close()


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """Return the rows of ``metrics.csv``: ``step`` as int, every other key as float, NaN where empty."""
    with open(run_dir / "metrics.csv", newline="") as file:
        return [
            {k: int(v) if k == "step" else float(v or "nan") for k, v in row.items()} for row in csv.DictReader(file)
        ]
