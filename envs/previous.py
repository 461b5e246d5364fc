"""The last action, reward and observation as a part of what is observed."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, MultiBinary, Tuple
from gymnasium.spaces.utils import flatdim, flatten, unflatten

from lfcs.config import EncoderConfig
from lfcs.errors import UserError


class Previous(NamedTuple):
    """What of the last step is observed."""

    action: bool = False
    reward: bool = False
    observation: bool = False

    @classmethod
    def of(cls, config: EncoderConfig) -> Previous:
        """Return what the settings ask for."""
        return cls(config.previous_action, config.previous_reward, config.previous_observation)


class WithPrevious(gymnasium.Wrapper):
    """Observations are a Dict of ``observation`` and, as asked for, ``previous_observation``, ``_action``, ``_reward``.

    An action of a Box is scaled from its bounds to [-1, 1], and is as it is where it has none; others are one-hot, as
    gymnasium flattens them. Where an episode begins, all that is previous is zero, an observation as far as its space
    has zero. Raises UserError where the last observation is asked for and observations are not a Box.
    """

    def __init__(self, env: gymnasium.Env, previous: Previous) -> None:
        super().__init__(env)
        self.previous, self.told = previous, told_space(env.action_space)
        self.last: Any = None  # observation, where it is asked for
        spaces: list[tuple[str, gymnasium.Space]] = [("observation", env.observation_space)]
        if previous.observation and not isinstance(env.observation_space, Box):
            kind = type(env.observation_space).__name__
            raise UserError(f"encoder.previous_observation wants observations that are a Box, not a {kind}")
        spaces += [("previous_observation", env.observation_space)] * previous.observation
        spaces += [("previous_action", self.told)] * previous.action
        spaces += [("previous_reward", Box(-np.inf, np.inf, (1,), np.float32))] * previous.reward
        self.observation_space = Dict(spaces)

    def _with(self, obs: Any, action: Any, reward: float) -> dict[str, Any]:
        out = {"observation": obs}
        if self.previous.observation:
            out["previous_observation"], self.last = self.last, obs
        if self.previous.action:
            out["previous_action"] = action
        if self.previous.reward:
            out["previous_reward"] = np.array([reward], np.float32)
        return out

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset; see gymnasium."""
        obs, info = self.env.reset(seed=seed, options=options)
        if self.previous.observation:
            space: Any = self.env.observation_space
            self.last = np.clip(np.zeros_like(obs), space.low, space.high)
        return self._with(obs, unflatten(self.told, np.zeros(flatdim(self.told))), 0.0), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step; see gymnasium."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        seen = self._with(obs, told(self.action_space, action), float(reward))
        return seen, reward, terminated, truncated, info


def _bounded(space: Box) -> np.ndarray:
    return np.isfinite(space.low) & np.isfinite(space.high) & (space.high > space.low)


def told_space(space: gymnasium.Space) -> gymnasium.Space:
    """Return the space of what is told of actions in ``space``."""
    if isinstance(space, Dict):
        return Dict([(key, told_space(part)) for key, part in space.spaces.items()])
    if isinstance(space, Tuple):
        return Tuple([told_space(part) for part in space.spaces])
    if isinstance(space, Box):
        high = np.where(_bounded(space), 1.0, np.inf).astype(np.float32)
        return Box(-high, high)
    return MultiBinary(flatdim(space))


def told(space: gymnasium.Space, action: Any) -> Any:
    """Return what is told of an action."""
    if isinstance(space, Dict):
        return {key: told(part, action[key]) for key, part in space.spaces.items()}
    if isinstance(space, Tuple):
        return tuple(told(part, value) for part, value in zip(space.spaces, action, strict=True))
    if isinstance(space, Box):
        bounded, given = _bounded(space), np.asarray(action, np.float64)
        low, high = (np.where(bounded, bound, other) for bound, other in ((space.low, -1.0), (space.high, 1.0)))
        scaled = (2.0 * given - low - high) / (high - low)
        return np.where(bounded, scaled.clip(-1.0, 1.0), given).astype(np.float32)
    return np.asarray(flatten(space, action), np.int8)
