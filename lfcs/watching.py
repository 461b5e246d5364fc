"""A run's policy is seen to act: in a window that the environment opens, or on film."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from lfcs.envs.drawing import picture
from lfcs.envs.making import defaults, load, short_name
from lfcs.errors import UserError
from lfcs.pictures import film, style
from lfcs.playing import of_run
from lfcs.recording import Recording
from lfcs.run import load_config

RATE = 30  # frames a second where an environment says nothing of it


class Frame(NamedTuple):
    """Pixels [H, W, 3] of 8 bits, packed: an episode of them as they are would fill the memory."""

    data: bytes
    shape: tuple[int, ...]

    def pixels(self) -> np.ndarray:
        """Return them unpacked."""
        return np.frombuffer(zlib.decompress(self.data), np.uint8).reshape(self.shape)


class Filmed(gymnasium.Wrapper):
    """Keeps what an environment looks like, packed: for each episode, its start and what came of every step."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.episodes: list[list[Frame]] = []

    def reset(self, **given: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; see gymnasium."""
        out = self.env.reset(**given)
        self.episodes.append([self._frame()])
        return out

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step; see gymnasium."""
        out = self.env.step(action)
        self.episodes[-1].append(self._frame())
        return out

    def _frame(self) -> Frame:
        pixels = picture(self.env)
        return Frame(zlib.compress(pixels.tobytes(), 1), pixels.shape)


def rendering(env_id: str, mode: str, kwargs: Mapping[str, Any]) -> Callable[[], gymnasium.Env]:
    """Return what makes an environment that renders. Raises UserError where it does not render in that way."""
    load(env_id)
    try:
        spec = gymnasium.spec(short_name(env_id))
        plain = gymnasium.make(spec, **{"disable_env_checker": True, **kwargs})
    except gymnasium.error.Error as error:
        raise UserError(f"cannot make environment {env_id!r}: {' '.join(str(error).split())}") from None
    modes = plain.metadata.get("render_modes", [])
    plain.close()
    if mode not in modes:
        known = ", ".join(map(str, modes)) or "none"
        raise UserError(f"{env_id} cannot be seen: it has no render mode {mode} (it has: {known})")
    more: dict[str, Any] = {"disable_env_checker": True, **defaults(env_id), **kwargs, "render_mode": mode}
    return lambda: gymnasium.make(spec, **more)


def _played(run_dir: Path, make: Callable[[], gymnasium.Env], asked: dict[str, Any]) -> Recording:
    """Return the recording of episodes in an environment that renders."""
    try:
        return of_run(run_dir, make, **asked)
    except gymnasium.error.DependencyNotInstalled as error:
        said = " ".join(str(error).split())
        raise UserError(f"the environment cannot be drawn: {said}; most need no more than the extra 'video'") from None


def in_window(run_dir: Path, **asked: Any) -> Recording:
    """Return the recording of episodes that a run's newest policy plays in a window. Raises UserError where none opens.

    ``asked`` is as in :func:`lfcs.playing.record`.
    """
    config = load_config(run_dir)
    return _played(run_dir, rendering(config.env, "human", config.env_kwargs), asked)


def on_film(run_dir: Path, path: Path, spikes: bool = False, **asked: Any) -> Recording:
    """Return the recording of episodes that a run's newest policy plays, and write them as mp4 or gif by the ending.

    With ``spikes`` they scroll beside. Raises UserError where the environment has no pictures, or a package is missing.
    """
    film.check_writable(path)
    if spikes:
        style.check_installed()
    config, made = load_config(run_dir), []
    make = rendering(config.env, "rgb_array", config.env_kwargs)

    def filmed() -> gymnasium.Env:
        made.append(Filmed(make()))
        return made[-1]

    recording = _played(run_dir, filmed, asked)
    (camera,) = made
    shots = [shot for shot in camera.episodes if len(shot) > 1]  # others are fresh starts that were not played on
    rate = camera.metadata.get("render_fps") or RATE

    def frames() -> Iterator[np.ndarray]:
        for number, (episode, shot) in enumerate(zip(recording, shots, strict=True)):
            seen, beside = (frame.pixels() for frame in shot), episode["spikes"] if spikes else None
            yield from film.frames_of(seen, episode["reward"], f"episode {number}", beside)

    film.write(path, frames(), rate)
    return recording
