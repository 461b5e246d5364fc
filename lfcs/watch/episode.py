"""One episode of an evaluation, played again in an environment of its own: what the network did, and how it looked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from PIL import Image

from lfcs.compiled.evaluation import evaluate
from lfcs.envs.drawing import picture
from lfcs.episodes import Episode, row_of, stacked
from lfcs.errors import UserError
from lfcs.rollout import Moment, steps_told
from lfcs.trainer import Trainer, stream_seed

STEPS = 1000  # steps of an episode that are played
FRAMES = 120  # frames of a video at most
WIDTH = 240  # of a frame, about


class EnoughError(Exception):
    """Ends an episode that would go on for long."""


class Film:
    """Frames of an episode at equal distances: where there are too many, every other one is dropped."""

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []
        self.every, self.count = 1, 0

    def shoot(self, look: Callable[[], np.ndarray]) -> None:
        """Take a frame of a step, pixels [H, W, 3] of 8 bits, or leave it out."""
        if self.count % self.every == 0:
            frame = Image.fromarray(look())
            self.frames.append(np.asarray(frame.reduce(max(1, round(frame.width / WIDTH)))))
        self.count += 1
        if len(self.frames) == FRAMES:
            self.frames, self.every = self.frames[::2], 2 * self.every

    def developed(self) -> np.ndarray | None:
        """Return the frames [T, H, W, 3], None where there are none."""
        return np.stack(self.frames) if self.frames else None


class Noted(gymnasium.vector.VectorWrapper):
    """Keeps whether the latest step of the first environment terminated its episode."""

    terminated = False

    def step(self, actions: Any) -> Any:
        """Step, and take note."""
        found = super().step(actions)
        self.terminated = bool(found[2][0])
        return found


class Played(NamedTuple):
    """An episode."""

    episode: Episode
    frames: np.ndarray | None  # [T, H, W, 3], None where there are none
    terminated: bool  # whether it came to its end, and was not cut


class Stage:
    """Plays in one environment, made when it is needed; ``missing`` says why there is no video, where there is none."""

    def __init__(self, make: Callable[[], gymnasium.vector.SyncVectorEnv]) -> None:
        self.make = make
        self.envs: gymnasium.vector.SyncVectorEnv | None = None
        self.missing: str | None = None

    def play(self, trainer: Trainer) -> Played:
        """Return the first greedy episode of the evaluation of now."""
        self.envs = self.envs or self.make()
        envs = Noted(self.envs)
        film = Film()
        rows: list[Episode] = []
        env = self.envs.envs[0]
        if env.render_mode != "rgb_array":
            self.missing = "it has no render mode rgb_array"

        def watch(obs: np.ndarray, state: Any, *rest: Any) -> None:
            moment = Moment(obs, trainer.final.network.state_of(state[0]), *rest)
            rows.append(row_of(trainer.final, moment, 0))
            if self.missing is None and not moment.ended[0]:  # it has begun anew by then
                self._shoot(film, env)
            if len(rows) == STEPS:
                raise EnoughError

        seed = stream_seed(trainer.config.seed, "evaluation", trainer.env_steps)
        now = steps_told(envs, trainer.env_steps // trainer.rollout.batch, frozen=True)
        with suppress(EnoughError):
            evaluate(trainer.final, envs, 1, seed, True, watch, now)
        return Played(stacked(rows), film.developed(), envs.terminated)

    def _shoot(self, film: Film, env: gymnasium.Env) -> None:
        try:
            film.shoot(partial(picture, env))
        except UserError as error:
            self.missing = str(error)

    def close(self) -> None:
        """Close the environment."""
        if self.envs is not None:
            self.envs.close()
