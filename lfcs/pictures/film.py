"""Films of episodes: frames of the environment, with spikes that scroll beside them, as mp4 or gif."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lfcs.errors import UserError
from lfcs.pictures import style
from lfcs.pictures.raster import Order, ordered

ENDINGS = {".mp4": ("imageio", "imageio_ffmpeg"), ".gif": ("imageio",)}  # and the packages that write them
SPAN = 100  # steps of spikes that are seen at a time
LEAST = 320  # pixels of a film's height; smaller frames are enlarged, each pixel so many times
LINE = 24  # pixels of the line of text below
PER_INCH = 100  # pixels


def check_writable(path: Path) -> None:
    """Raise UserError where a film cannot be written: another ending, or packages that are missing."""
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{path}: a video ends in .mp4 or .gif")
    missing = [name for name in ENDINGS[path.suffix.lower()] if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"videos need the extra 'video': pip install 'lfcs[video]' ({', '.join(missing)} is missing)")


def write(path: Path, frames: Iterable[np.ndarray], rate: float) -> Path:
    """Write frames [H, W, 3] of 8 bits, so many a second, as mp4 or gif by the file's ending; return its path.

    Folders on the way are made. Raises as :func:`check_writable`.
    """
    check_writable(path)
    import imageio

    path.parent.mkdir(parents=True, exist_ok=True)
    gif = path.suffix.lower() == ".gif"
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    given: dict[str, Any] = {"fps": rate, "macro_block_size": 2}
    if gif:  # which few programs play faster than 50 frames a second
        given = {"duration": 1000 / min(rate, 50), "loop": 0}
    try:
        out: Any
        with imageio.get_writer(temporary, mode="I", **given) as out:
            for frame in frames:
                out.append_data(even(frame))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def even(frame: np.ndarray) -> np.ndarray:
    """Return a frame with even sides, as mp4 wants them, its last row or column twice where they are not."""
    return np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")


def enlarged(frame: np.ndarray) -> np.ndarray:
    """Return a frame that is at least LEAST pixels high."""
    times = max(1, -(-LEAST // len(frame)))
    return frame.repeat(times, axis=0).repeat(times, axis=1)


def told(frame: np.ndarray, text: str) -> np.ndarray:
    """Return a frame with a line of text below."""
    from PIL import Image, ImageDraw, ImageFont

    line = Image.new("RGB", (frame.shape[1], LINE), "white")
    ImageDraw.Draw(line).text((6, 4), text, fill="black", font=ImageFont.load_default(14))
    return np.concatenate((frame, np.asarray(line)))


class Scroller:
    """The raster of an episode's spikes [T, N] as seen at each step: the last ``SPAN`` steps, the newest at the right.

    ``height`` is in pixels, of which it takes as many in width. The axes are drawn once, the spikes as pixels.
    """

    def __init__(self, spikes: np.ndarray, height: int) -> None:
        order = ordered(np.asarray(spikes))
        self.spikes = np.asarray(spikes)[:, order.neurons] > 0
        self.paper, self.box = self._paper(height, order)

    def _paper(self, height: int, order: Order) -> tuple[np.ndarray, tuple[slice, slice]]:
        """Return the empty axes [H, W, 3] and where the spikes go."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        figure = style.figure(height / PER_INCH, height / PER_INCH)
        figure.set_dpi(PER_INCH)
        axis = figure.subplots()
        neurons = len(order.neurons)
        silent = f"; {neurons - order.firing} neurons never spike" if order.firing < neurons else ""
        axis.set(xlim=(-SPAN, 0), ylim=(neurons - 0.5, -0.5), xlabel=f"steps from now{silent}")
        axis.set_ylabel(f"neuron, by {order.by}")
        axis.axhspan(order.firing - 0.5, neurons - 0.5, color=style.GREY, alpha=0.25, linewidth=0)
        style.dress(figure)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        paper = np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
        box = axis.get_window_extent()
        rows = slice(len(paper) - int(box.y1) + 1, len(paper) - int(box.y0) - 1)
        return paper, (rows, slice(int(box.x0) + 2, int(box.x1)))

    def at(self, step: int) -> np.ndarray:
        """Return the picture [H, W, 3] after a step."""
        seen = self.spikes[max(0, step + 1 - SPAN) : step + 1]
        window = np.zeros((SPAN, self.spikes.shape[1]), bool)
        window[SPAN - len(seen) :] = seen
        picture, (rows, columns) = self.paper.copy(), self.box
        high, wide = rows.stop - rows.start, columns.stop - columns.start
        # every pixel that a spike touches: where neurons are more than pixels, none is lost
        down = np.arange(window.shape[1]) * high // window.shape[1]
        ink = np.zeros((high, SPAN), bool)
        np.logical_or.at(ink, down, window.T)
        if high > window.shape[1]:
            ink = window.T[np.arange(high) * window.shape[1] // high]
        inked = ink[:, np.arange(wide) * SPAN // wide]
        picture[rows, columns][inked] = 0
        return picture


def frames_of(
    frames: Iterable[np.ndarray], rewards: np.ndarray, title: str, spikes: np.ndarray | None
) -> Iterator[np.ndarray]:
    """Yield the frames of an episode: that of its start and one after each step, with the return so far below.

    ``spikes`` [T, N] scroll beside them where they are given. ``rewards`` are [T].
    """
    total, beside = np.concatenate(([0.0], np.cumsum(rewards))), None
    for step, frame in enumerate(frames):
        seen = enlarged(np.asarray(frame, np.uint8))
        if spikes is not None:
            beside = beside or Scroller(spikes, len(seen))
            seen = np.concatenate((seen, beside.at(step - 1)), axis=1)
        yield told(seen, f"{title}   step {step}   return {total[step]:.4g}")
