"""What a run tells: TensorBoard events, ``metrics.csv`` with the same keys, and the progress bar."""

from __future__ import annotations

import csv
import math
import os
import sys
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from lfcs.config import SECTIONS, Config

KEYS = (
    "rollout/ep_rew_mean",
    "rollout/ep_len_mean",
    "eval/mean_reward",
    "eval/std_reward",
    "eval/mean_reward_sampled",
    "eval/std_reward_sampled",
    "time/fps",
    "time/seconds",
    "train/approx_kl",
    "train/approx_kl_max",
    "train/clip_fraction",
    "train/ess",
    "train/entropy",
    "train/value_loss",
    "train/explained_variance",
    "train/ratio_mean",
    "train/ratio_std",
    "train/ratio_p05",
    "train/ratio_p95",
    "train/ratio_max",
    "train/grad_norm",
    "train/update_norm",
    "train/weight_norm",
    "train/diverged",
    "train/weight_updates",
    "train/learning_rate",
    "spikes/rate_mean",
    "spikes/dead_fraction",
)


class Monitor:
    """Writes one row of ``KEYS`` per window, at the number of environment steps so far.

    ``start`` is the environment step of the checkpoint that a run continues from: rows after it are written again.
    """

    def __init__(self, run_dir: Path, total: int, start: int, progress: bool) -> None:
        self.path = run_dir / "metrics.csv"
        self._truncate(start)
        self.writer = SummaryWriter(str(run_dir), purge_step=start + 1 if start else None)
        self.bar = tqdm(total=total, initial=start, unit="step", disable=not progress, dynamic_ncols=True)

    def _truncate(self, start: int) -> None:
        """Keep the header and the rows up to ``start``, atomically."""
        rows: list[list[str]] = []
        if start:
            with open(self.path, newline="") as file:
                rows = [row for row in list(csv.reader(file))[1:] if int(row[0]) <= start]
        temporary = self.path.with_suffix(".tmp")
        with open(temporary, "w", newline="") as file:
            csv.writer(file).writerows([["step", *KEYS], *rows])
        os.replace(temporary, self.path)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Record metrics at an environment step. Raises KeyError on a key that is not in ``KEYS``."""
        unknown = metrics.keys() - set(KEYS)
        if unknown:
            raise KeyError(f"metrics without a column: {sorted(unknown)}")
        present = {k: v for k, v in metrics.items() if not math.isnan(v)}
        with open(self.path, "a", newline="") as file:
            csv.writer(file).writerow([step, *(repr(present[k]) if k in present else "" for k in KEYS)])
        for key, value in present.items():
            self.writer.add_scalar(key, value, step)
        self.bar.set_postfix_str(f"return {metrics.get('rollout/ep_rew_mean', math.nan):.4g}", refresh=False)
        self.bar.update(min(step, self.bar.total) - self.bar.n)

    def warn(self, message: str) -> None:
        """Say something above the progress bar, at once."""
        if not self.bar.disable:
            self.bar.write(f"warning: {message}", file=sys.stderr)

    def finish(self, config: Config, summary: dict[str, Any]) -> None:
        """Record settings and final results for TensorBoard's table of hyperparameters."""
        nested = config.to_dict()
        flat = {f"{s}.{k}": v for s in SECTIONS for k, v in nested[s].items()}
        flat |= {k: v for k, v in nested.items() if k not in SECTIONS}
        results = {f"final/{k}": summary[k] for k in ("mean_return", "mean_return_sampled", "seconds")}
        results["final/diverged"] = float(summary["diverged"] is not None)
        self.writer.add_hparams(flat, results, run_name=".", global_step=summary["env_steps"])

    def close(self) -> None:
        """Flush and close."""
        self.writer.close()
        self.bar.close()


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """Return the rows of ``metrics.csv``: ``step`` as int, every other key as float, NaN where empty."""
    with open(run_dir / "metrics.csv", newline="") as file:
        return [
            {k: int(v) if k == "step" else float(v or "nan") for k, v in row.items()} for row in csv.DictReader(file)
        ]
