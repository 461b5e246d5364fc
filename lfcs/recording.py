"""A recording: episodes of a policy as labelled arrays, which can be looked at, saved and loaded."""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, overload

import numpy as np

from lfcs import episodes
from lfcs.episodes import Episode
from lfcs.errors import UserError

UNITS = {"membrane": "thresholds", "threshold": "thresholds"}


class Recording(Sequence[Episode]):
    """Episodes, one after the other, each a dictionary of arrays by step: see :mod:`lfcs.episodes`.

    ``dims`` has the names of the axes of each array. :func:`lfcs.Policy.record` makes one, and :meth:`load` of a file
    that it or :class:`lfcs.Recorder` saved. Raises ValueError where there is no episode.
    """

    def __init__(self, episodes_: Iterable[Mapping[str, np.ndarray]], title: str = "") -> None:
        self.episodes: tuple[Episode, ...] = tuple(dict(episode) for episode in episodes_)
        self.title = title
        if not self.episodes:
            raise ValueError("a recording wants at least one episode")

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        """The names of the axes of each array: ``dims["spikes"]`` is ("step", "neuron")."""
        return {name: episodes.axes_of(name, array) for name, array in self.episodes[0].items()}

    @property
    def returns(self) -> np.ndarray:
        """The sum of rewards of each episode [episodes], as far as it was recorded."""
        return np.array([episode["reward"].sum() for episode in self.episodes])

    def __len__(self) -> int:
        return len(self.episodes)

    @overload
    def __getitem__(self, index: int) -> Episode: ...
    @overload
    def __getitem__(self, index: slice) -> Recording: ...
    def __getitem__(self, index: int | slice) -> Episode | Recording:
        """Return an episode, or a recording of a stretch of them."""
        if isinstance(index, slice):
            return Recording(self.episodes[index], self.title)
        return self.episodes[index]

    def facts(self) -> str:
        """Return in a line what is in it."""
        lengths, one = [len(episode["reward"]) for episode in self.episodes], self.episodes[0]
        firing = np.concatenate([episode["spikes"] for episode in self.episodes])
        steps = f"{lengths[0]:,}" if len(set(lengths)) == 1 else f"{min(lengths):,} to {max(lengths):,}"
        returns = f"{self.returns.mean():.4g}" + (f" ± {self.returns.std():.3g}" if len(self) > 1 else "")
        return (
            f"{self.title + ': ' if self.title else ''}{len(self)} episode{'s' * (len(self) > 1)} of {steps} steps, "
            f"return {returns}; {one['spikes'].shape[1]} neurons that spike in {firing.mean():.1%} of steps, "
            f"{(~firing.any(axis=0)).sum()} of them never"
        )

    def __repr__(self) -> str:
        return f"<Recording of {self.facts()}>"

    def raster(self, into: Any = None, episode: int = 0) -> Any:
        """Draw the spikes of an episode under what was observed and done; return the figure.

        ``into`` is a matplotlib figure, by default a new one, or an axis, which has the spikes alone. Raises UserError
        where matplotlib is missing.
        """
        from lfcs.pictures import raster, style

        if hasattr(into, "get_xlim"):  # an axis
            raster.draw_spikes(into, self.episodes[episode])
            return into.figure
        figure = into or style.figure(*raster.SIZE)
        raster.draw_raster(figure, self.episodes[episode])
        return figure

    def to_xarray(self) -> list[Any]:
        """Return an xarray.Dataset for each episode, with named axes. Raises UserError where xarray is missing."""
        if importlib.util.find_spec("xarray") is None:
            raise UserError("labelled arrays need the extra 'xarray': pip install 'lfcs[xarray]'")
        import xarray

        return [self._dataset(xarray, number) for number in range(len(self))]

    def _dataset(self, xarray: Any, number: int) -> Any:
        """Return an episode as a dataset; "/" in a name becomes "_"."""
        episode, attributes = self.episodes[number], {"title": self.title, "episode": number}
        variables = {
            name.replace("/", "_"): (episodes.axes_of(name, array), array, {"units": UNITS.get(name, "")})
            for name, array in episode.items()
        }
        return xarray.Dataset(variables, coords={"step": np.arange(len(episode["reward"]))}, attrs=attributes)

    def save(self, path: str | Path) -> Path:
        """Write all episodes into one file, either whole or not at all; return its path, which ends in ``.npz``."""
        return episodes.write(path, self.episodes)

    @classmethod
    def load(cls, path: str | Path) -> Recording:
        """Return the recording of a file that this or a Recorder saved. Raises UserError if there is none."""
        found = episodes.read(path)
        if not found:
            raise UserError(f"{path} holds no episode")
        return cls(found, Path(path).stem)

    def _repr_html_(self) -> str:
        """Return the raster of the first episode as an inline image, and a line of facts, for a notebook."""
        line = f"<div>{escape(self.facts())}</div>"
        try:
            picture = self.raster()._repr_png_()
        except UserError as missing:
            return f"{line}<div>{escape(str(missing))}</div>"
        return f'<img alt="spike raster" src="data:image/png;base64,{base64.b64encode(picture).decode()}">{line}'
