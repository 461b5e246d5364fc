"""Trackio, local unless told otherwise, where the extra ``trackio`` is installed; ``trackio show`` opens it."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from lfcs.trackers.base import FPS, Charts, counted, gif, needs, png


class Trackio:
    """See :class:`lfcs.trackers.Tracker`. A resumed run goes on under the name of its directory."""

    def __init__(self, run_dir: Path, start: int) -> None:
        self.check()
        import trackio

        self.package, self.folder = trackio, run_dir
        resume = "allow" if start else "never"
        self.run = trackio.init(project="lfcs", name=run_dir.resolve().name, resume=resume, embed=False)

    @staticmethod
    def check() -> None:
        """Raise UserError where the package is missing."""
        needs("trackio")

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
        self.run.log({key: self.package.Markdown(markdown)}, step=step)

    def video(self, key: str, frames: np.ndarray, step: int, fps: int = FPS) -> None:
        """See :class:`lfcs.trackers.Tracker`; Trackio wants a file, which it copies."""
        file = self.folder / "video.gif"
        file.write_bytes(gif(frames, fps))
        self.run.log({key: self.package.Video(str(file))}, step=step)

    def hparams(self, settings: Mapping[str, str | int | float | bool], scores: Mapping[str, float]) -> None:
        """See :class:`lfcs.trackers.Tracker`."""
        lines = [f"| {key} | {value} |" for key, value in {**scores, **settings}.items()]
        self.run.log({"settings and scores": self.package.Markdown("\n".join(("| | |", "|---|---|", *lines)))})

    def layout(self, charts: Charts) -> None:
        """Leave the arrangement to Trackio, which groups curves by their names."""

    def flush(self) -> None:
        """Leave it to the package, whose own thread writes at once."""

    def close(self) -> None:
        """See :class:`lfcs.trackers.Tracker`."""
        self.run.finish()
