"""Weights & Biases, where the extra ``wandb`` is installed; ``WANDB_MODE=offline`` keeps it from the network."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from lfcs.trackers.base import FPS, Charts, counted, gif, needs, png


class WandB:
    """See :class:`lfcs.trackers.Tracker`. A resumed run goes on under the same id, kept in ``wandb_id.txt``."""

    def __init__(self, run_dir: Path, start: int) -> None:
        self.check()
        import wandb

        self.package, kept = wandb, run_dir / "wandb_id.txt"
        known = kept.read_text().strip() if start and kept.exists() else None
        name = run_dir.resolve().name
        self.run = wandb.init(project="lfcs", name=name, dir=str(run_dir), id=known, resume="allow" if known else None)
        kept.write_text(f"{self.run.id}\n")

    @staticmethod
    def check() -> None:
        """Raise UserError where the package is missing."""
        needs("wandb")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See :class:`lfcs.trackers.Tracker`."""
        self.run.log(dict(values), step=step)

    def histogram(self, key: str, values: np.ndarray, step: int) -> None:
        """See :class:`lfcs.trackers.Tracker`."""
        self.run.log({key: self.package.Histogram(np_histogram=counted(values))}, step=step)

    def image(self, key: str, picture: Any, step: int) -> None:
        """See :class:`lfcs.trackers.Tracker`."""
        from PIL import Image

        self.run.log({key: self.package.Image(Image.open(BytesIO(png(picture))))}, step=step)

    def text(self, key: str, markdown: str, step: int) -> None:
        """See :class:`lfcs.trackers.Tracker`."""
        self.run.log({key: self.package.Html(f"<pre>{escape(markdown)}</pre>")}, step=step)

    def video(self, key: str, frames: np.ndarray, step: int, fps: int = FPS) -> None:
        """See :class:`lfcs.trackers.Tracker`."""
        self.run.log({key: self.package.Video(BytesIO(gif(frames, fps)), format="gif")}, step=step)

    def hparams(self, settings: Mapping[str, str | int | float | bool], scores: Mapping[str, float]) -> None:
        """See :class:`lfcs.trackers.Tracker`."""
        self.run.config.update(dict(settings), allow_val_change=True)
        self.run.summary.update({f"final/{key}": score for key, score in scores.items()})

    def layout(self, charts: Charts) -> None:
        """Leave the arrangement to the workspace, which is the user's."""

    def flush(self) -> None:
        """Leave it to the package, whose own process writes at once."""

    def close(self) -> None:
        """See :class:`lfcs.trackers.Tracker`."""
        self.run.finish()
