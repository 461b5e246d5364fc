"""What a tracker does, and pictures as the bytes of a file."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lfcs.errors import UserError

Charts = Mapping[str, Mapping[str, tuple[str, ...]]]  # page -> name of a chart -> keys that it shows
FPS = 25  # frames a second of a video that shows every step


class Tracker(Protocol):
    """Shows a run while it goes. Made from the run's directory, whose name is the run's, and the step it starts from.

    ``step`` is a number of environment steps everywhere, and does not fall from call to call.
    """

    def __init__(self, run_dir: Path, start: int) -> None:
        """Open. Beyond step ``start`` nothing stays of what was told before."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Show numbers by key, points of their curves."""

    def histogram(self, key: str, values: np.ndarray, step: int) -> None:
        """Show how numbers of any shape are distributed."""

    def image(self, key: str, picture: Any, step: int) -> None:
        """Show an array [H, W, 3] (uint8) or a figure of matplotlib."""

    def text(self, key: str, markdown: str, step: int) -> None:
        """Show a text."""

    def video(self, key: str, frames: np.ndarray, step: int, fps: int = FPS) -> None:
        """Show frames [T, H, W, 3] (uint8)."""

    def hparams(self, settings: Mapping[str, str | int | float | bool], scores: Mapping[str, float]) -> None:
        """Record what a run was given, in this order, and what it ended with; once, at the end."""

    def layout(self, charts: Charts) -> None:
        """Arrange curves on pages, where the tracker lets itself be arranged from here."""

    def flush(self) -> None:
        """Write what was told of until now: a run that is killed goes on after it and does not tell of it again."""

    def close(self) -> None:
        """Write what is left and release what is held open."""


def needs(package: str) -> None:
    """Raise UserError where the package of an extra of the same name is missing: before a run, not after."""
    if importlib.util.find_spec(package) is None:
        raise UserError(f"train.tracker={package} needs the extra '{package}': pip install 'lfcs[{package}]'")


def png(picture: Any) -> bytes:
    """Return an array [H, W, 3] (uint8), or a figure of matplotlib, as the bytes of a PNG file."""
    file = BytesIO()
    if isinstance(picture, np.ndarray):
        from PIL import Image

        Image.fromarray(picture).save(file, "PNG")
    else:
        picture.savefig(file, format="png")
    return file.getvalue()


def gif(frames: np.ndarray, fps: int) -> bytes:
    """Return frames [T, H, W, 3] (uint8) as the bytes of a GIF file that goes round."""
    from PIL import Image

    # one palette for all frames: an own one for each takes many times as long
    first = Image.fromarray(frames[len(frames) // 2]).quantize(64)
    pages = [Image.fromarray(frame).quantize(palette=first, dither=Image.Dither.NONE) for frame in frames]
    file = BytesIO()
    pages[0].save(file, "GIF", save_all=True, append_images=pages[1:], duration=max(20, round(1000 / fps)), loop=0)
    return file.getvalue()


def finite(values: np.ndarray) -> np.ndarray:
    """Return the numbers [n] of an array of any shape that are finite, in its precision."""
    flat = np.asarray(values).reshape(-1)
    good = np.isfinite(flat)
    return flat if good.all() else flat[good]


def counted(values: np.ndarray, bins: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return how many of some numbers lie in each of ``bins`` equal parts of their range, and the bounds [bins + 1].

    Numbers that are not finite are left out.
    """
    flat = finite(values)
    low, high = (float(flat.min()), float(flat.max())) if len(flat) else (0.0, 0.0)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):  # all the same: a bar of some width around them
        middle, half = (low + high) / 2, max(1e-3 * abs(low), 1e-6)
        low, high = middle - half, middle + half
    at = ((flat - low) * (bins / (high - low))).astype(np.int32)  # quicker than numpy.histogram
    return np.bincount(np.minimum(at, bins - 1), minlength=bins), np.linspace(low, high, bins + 1)
