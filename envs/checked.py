"""An environment whose mistakes are one line each, and of which can be seen from outside what it is at."""

from __future__ import annotations

import math
import os
import sys
import traceback
from typing import Any

import gymnasium
import numpy as np

from lfcs.errors import EnvironmentFailed, UserError
from lfcs.spaces import LARGEST_REWARD as LARGEST

IDLE, MAKING, RESETTING, STEPPING, CLOSING = range(5)
CALLS = "nothing", "__init__", "reset", "step", "close"
SERIAL, DOING, NUMBER, STEPS, SEED, HUNG = range(6)  # of a place
WIDTH = 6
LATE = "it did not return in time: mend it, or raise train.env_timeout"


class Wrong(ValueError):
    """What an environment gave is not what it must give."""


def new_place() -> np.ndarray:
    """Return where the environments of a process are, for who looks from outside.

    It holds the serial number of a call, what is called, and of the environment its number, its steps since the last
    seed, and that seed, -1 where there is none; HUNG is the serial number of a call that was given up.
    """
    return np.array([0, IDLE, 0, 0, -1, -1], np.int64)


def where(place: np.ndarray, who: str = "") -> str:
    """Return in words which environment of a place is at what; where none is at anything, ``who`` is there."""
    _, doing, number, steps, seed, _ = map(int, place)
    if doing == MAKING:
        return f"environment {number}, in __init__"
    seeded = f" after seed {seed}" if seed >= 0 else ""
    at = f"step {steps:,}" if doing in (STEPPING, IDLE) else CALLS[doing]
    return f"{who}, after {at}{seeded}" if doing == IDLE else f"environment {number}, in {at}{seeded}"


def in_one_line(error: BaseException) -> str:
    """Return an exception's type and text, not too long."""
    text = " ".join(str(error).split())
    text = text if len(text) <= 300 else f"{text[:300]} ..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def failure(place: np.ndarray, error: BaseException, alone: bool = True) -> BaseException:
    """Return what is to be raised for an exception out of a call: an EnvironmentFailed, but for Ctrl-C itself.

    In a process ``alone`` an environment is the only one who raises that. What is wrong with what an environment gave
    needs no traceback.
    """
    hung = place[HUNG] == place[SERIAL]
    if isinstance(error, KeyboardInterrupt) and not (alone or hung):
        return error
    known = isinstance(error, Wrong | UserError)
    what = LATE if hung else str(error) if known else in_one_line(error)
    return EnvironmentFailed(f"{where(place)}: {what}", None if known else "".join(traceback.format_exception(error)))


def shared_state() -> dict[str, Any]:
    """Return what an environment in this process shares with training, and must leave alone."""
    torch = sys.modules.get("torch")
    return {
        "working directory": os.getcwd(),
        "errors that NumPy raises": ", ".join(k for k, v in np.geterr().items() if v in ("raise", "call")) or "none",
        "default dtype of torch": None if torch is None else torch.get_default_dtype(),
    }


def check_shared(before: dict[str, Any]) -> None:
    """Raise Wrong where what is shared has changed."""
    for name, now in shared_state().items():
        if before[name] is not None and now != before[name]:
            raise Wrong(f"it changed the {name} from {before[name]} to {now}, which training shares: put it back")


class Checked(gymnasium.Wrapper):
    """An environment of which every call is noted in ``place`` and every answer checked.

    ``shared`` is the state that it shares with training, None in a process of its own. Its infos are not passed on.
    Whatever it raises or gives wrong is an EnvironmentFailed; Ctrl-C passes.
    """

    def __init__(self, env: gymnasium.Env, number: int, place: np.ndarray, shared: dict[str, Any] | None) -> None:
        super().__init__(env)
        space: Any = env.observation_space
        self.number, self.place, self.shared = number, place, shared
        self.shape, self.dtype, self.floats = space.shape, space.dtype, space.dtype.kind == "f"
        self.row = len(space.shape) == 1
        self.base, self.spaces = env.unwrapped, (env.unwrapped.observation_space, env.unwrapped.action_space)
        self.steps, self.seed, self.failed = 0, -1, False

    def _enter(self, doing: int) -> None:
        place = self.place
        place[NUMBER], place[STEPS], place[SEED] = self.number, self.steps, self.seed
        place[SERIAL] += 1
        place[DOING] = doing

    def _failed(self, error: BaseException) -> BaseException:
        """Return what is raised for an exception out of a call, which is over."""
        found = failure(self.place, error, self.shared is None)
        self.place[DOING], self.failed = IDLE, isinstance(found, EnvironmentFailed)
        return found

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset; see gymnasium. Raises EnvironmentFailed."""
        if seed is not None:
            self.steps, self.seed = 0, int(seed)
        self._enter(RESETTING)
        try:
            outcome = self.env.reset(seed=seed, options=options)
            if not isinstance(outcome, tuple | list) or len(outcome) != 2:
                raise Wrong(f"reset must return a tuple (observation, info), got {shown(outcome)}")
            obs, info = outcome
            if not isinstance(info, dict):
                raise Wrong(f"info must be a dictionary, got {shown(info)}")
            obs = self._observed(obs)
            self._check_around()
        except BaseException as error:
            raise self._failed(error) from error
        self.place[DOING] = IDLE
        return obs, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step; see gymnasium. Raises EnvironmentFailed."""
        self.steps += 1
        self._enter(STEPPING)
        try:
            outcome = self.env.step(action)
            if not isinstance(outcome, tuple | list) or len(outcome) != 5:
                raise Wrong(
                    "step must return a tuple of five, (observation, reward, terminated, truncated, info), "
                    f"got {shown(outcome)}"
                )
            obs, reward, terminated, truncated, info = outcome
            if not isinstance(info, dict):
                raise Wrong(f"info must be a dictionary, got {shown(info)}")
            obs, reward = self._observed(obs), rewarded(reward)
            terminated, truncated = said("terminated", terminated), said("truncated", truncated)
            if self.steps == 1 or terminated or truncated:
                self._check_around()
        except BaseException as error:
            raise self._failed(error) from error
        self.place[DOING] = IDLE
        return obs, reward, terminated, truncated, {}

    def close(self) -> None:
        """Close. Raises EnvironmentFailed, but of an environment that has failed before."""
        self._enter(CLOSING)
        before = self.failed
        try:
            self.env.close()
        except BaseException as error:
            found = self._failed(error)
            if not before or not isinstance(found, EnvironmentFailed):  # what is broken need not close
                raise found from error
        self.place[DOING] = IDLE

    def _check_around(self) -> None:
        """Raise Wrong where spaces are no longer as they were, or what is shared."""
        for name, before in zip(("observation", "action"), self.spaces, strict=True):
            now = getattr(self.base, f"{name}_space")
            if now is not before and now != before:
                raise Wrong(f"its {name} space changed from {one_line(before)} to {one_line(now)}")
        if self.shared is not None:
            check_shared(self.shared)

    def _observed(self, obs: Any) -> np.ndarray:
        """Return an observation as the numbers of its space. Raises Wrong where it is none of it."""
        if obs.__class__ is not np.ndarray or obs.dtype != self.dtype:
            obs = self._converted(obs)
        if obs.shape != self.shape:
            raise Wrong(f"an observation must have shape {self.shape}, got {obs.shape}")
        if not self.floats or (self.row and math.isfinite(obs.dot(obs))):  # its squares' sum is quicker, and shows it
            return obs
        if not np.isfinite(obs).all():
            at = int(np.argmax(~np.isfinite(obs.reshape(-1))))
            raise Wrong(f"number {at} of an observation is not finite: {obs.reshape(-1)[at]}")
        return obs

    def _converted(self, obs: Any) -> np.ndarray:
        try:
            found = np.asarray(obs)
        except (ValueError, TypeError):
            raise Wrong(f"an observation must be numbers of shape {self.shape}, got {shown(obs)}") from None
        if found.dtype.kind not in "biuf" or not np.can_cast(found.dtype, self.dtype, "same_kind"):
            raise Wrong(f"an observation must be of {self.dtype}, got {shown(obs)} of {found.dtype}")
        with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is said
            return found.astype(self.dtype)


def rewarded(reward: Any) -> float:
    """Return a reward as a number. Raises Wrong where it is none, or none that can be learned from."""
    number = reward
    if number.__class__ is not float:
        if isinstance(reward, str | bytes) or getattr(reward, "ndim", None):
            raise Wrong(f"a reward must be one number, got {shown(reward)}")
        try:
            number = float(reward)
        except (TypeError, ValueError, OverflowError):
            raise Wrong(f"a reward must be one number, got {shown(reward)}") from None
    if not -LARGEST <= number <= LARGEST:
        bound = f": at most {LARGEST:g}, scale rewards down" if np.isfinite(number) else ", which is not finite"
        raise Wrong(f"a reward is {number:g}{bound}")
    return number


def said(name: str, value: Any) -> bool:
    """Return whether an episode ends. Raises Wrong where that is neither true nor false."""
    if value.__class__ is bool:
        return value
    if isinstance(value, bool | np.bool_ | int | np.integer) and value in (0, 1):
        return bool(value)
    raise Wrong(f"{name} must be true or false, got {shown(value)}")


def shown(value: Any) -> str:
    """Return a value in words, short."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    text = one_line(value)
    return f"{text[:60]} ..." if len(text) > 60 else text


def one_line(value: Any) -> str:
    """Return how a value is written, in one line."""
    return " ".join(repr(value).split())
