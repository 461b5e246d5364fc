"""One environment, or copies of it in this process, whose observations are a Box; errors are one line."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from lfcs.envs.previous import Previous, WithPrevious
from lfcs.errors import UserError, nearest
from lfcs.names import import_module, missing
from lfcs.spaces import flat_row, flat_space

Env = str | Callable[[], gymnasium.Env]  # an id, or what makes an environment: a function or a class

NOTHING = Previous()
NO_KWARGS: Mapping[str, Any] = {}


def load(env_id: str) -> None:
    """Import what registers ``env_id``. Raises UserError where an extra or a module is missing."""
    module, colon, name = env_id.rpartition(":")
    if colon:
        import_module(module, f"environment {env_id!r}")
    if name.startswith(("ALE/", "Pong100-", "PongRAM-")):
        try:
            importlib.import_module("ale_py")
        except ImportError:
            raise UserError(f"environment {env_id!r} needs the extra 'atari': pip install 'lfcs[atari]'") from None


def short_name(env_id: str) -> str:
    """Return the id that gymnasium knows."""
    return env_id.rpartition(":")[2]


class Flattened(gymnasium.ObservationWrapper):
    """An environment with the numbers of its observations, as :mod:`lfcs.spaces` has them."""

    def observation(self, observation: Any) -> np.ndarray:
        """Return the numbers [d] of an observation. Raises UserError where it is not in the environment's space."""
        try:
            return flat_row(self.env.observation_space, observation)
        except ValueError as error:
            raise UserError(f"the environment gave an observation that is not in its space: {error}") from None


def _finished(env: Any, previous: Previous) -> gymnasium.Env:
    """Return an environment with a Box of observations. Raises UserError where it is none, or cannot have one."""
    if not isinstance(env, gymnasium.Env):
        raise UserError(f"env made {env!r}, which is not a gymnasium environment")
    if any(previous):
        env = WithPrevious(env, previous)
    space = flat_space(env.observation_space)
    if space is not env.observation_space:
        env = Flattened(env)
        env.observation_space = space
    return env


def defaults(env: Env) -> dict[str, Any]:
    """Return the arguments that an environment is made with where others are not given: the RAM of ALE's games."""
    return {"obs_type": "ram"} if isinstance(env, str) and env.startswith("ALE/") else {}


def renders(env_id: str) -> bool:
    """Return whether an environment, whose module is imported, can give pictures as arrays."""
    made: Any = gymnasium.spec(short_name(env_id)).entry_point
    made = gymnasium.envs.registration.load_env_creator(made) if isinstance(made, str) else made
    return "rgb_array" in (getattr(made, "metadata", None) or {}).get("render_modes", ())


def _maker(
    env: Env, previous: Previous, kwargs: Mapping[str, Any], render: bool = False
) -> Callable[[], gymnasium.Env]:
    """Return what makes one environment. Raises UserError where an extra or a module is missing."""
    if not isinstance(env, str):
        return lambda: _finished(env(**kwargs), previous)
    load(env)
    shown = {"render_mode": "rgb_array"} if render and renders(env) else {}
    options: dict[str, Any] = defaults(env) | shown | {"disable_env_checker": True, **kwargs}
    return lambda: _finished(gymnasium.make(env, **options), previous)


def in_words(kwargs: Mapping[str, Any]) -> str:
    """Return arguments as they are written: a=1, b='x'."""
    return ", ".join(f"{key}={value!r}" for key, value in kwargs.items())


@contextmanager
def blamed(env: Env, kwargs: Mapping[str, Any]) -> Iterator[None]:
    """Where arguments are given, turn whatever an environment makes of them into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not kwargs or isinstance(error, gymnasium.error.Error):
            raise
        why = " ".join(str(error).split()).partition(" was raised from the environment creator")[0]
        raise UserError(f"cannot make environment {env!r} with {in_words(kwargs)}: {why}") from error


def make_sync(
    env: Env,
    num_envs: int,
    previous: Previous = NOTHING,
    kwargs: Mapping[str, Any] = NO_KWARGS,
    render: bool = False,
) -> SyncVectorEnv:
    """Return ``num_envs`` copies of an environment in this process, in SAME_STEP autoreset mode; see make_vec.

    With ``render`` those that can give pictures as arrays do; what is not an id is made as it is.
    """
    try:
        with blamed(env, kwargs):
            makers = [_maker(env, previous, kwargs, render)] * num_envs
            envs = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    except gymnasium.error.UnregisteredEnv:
        raise UserError(f"unknown environment {env!r}{nearest(short_name(str(env)), gymnasium.registry)}") from None
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        raise UserError(missing(f"environment {env!r}", error)) from error
    except gymnasium.error.Error as error:
        raise UserError(f"cannot make environment {env!r}: {' '.join(str(error).split())}") from None
    if len({id(env.unwrapped) for env in envs.envs}) < num_envs:
        raise UserError("env returned the same environment twice: it wants a function that makes a new one each time")
    return envs
