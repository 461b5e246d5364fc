"""One environment, or copies of it in this process, whose observations are a Box; errors are one line."""

from __future__ import annotations

import importlib
import math
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from lfcs.envs.checked import (
    DOING,
    IDLE,
    MAKING,
    NUMBER,
    SERIAL,
    Checked,
    check_shared,
    failure,
    new_place,
    one_line,
    shared_state,
)
from lfcs.envs.hangs import TIMEOUT, look_after
from lfcs.envs.previous import Previous, WithPrevious
from lfcs.errors import EnvironmentFailed, UserError, nearest
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
    check_actions(env.action_space)
    if any(previous):
        env = WithPrevious(env, previous)
    space = flat_space(env.observation_space)
    if not math.prod(space.shape):
        raise UserError(f"observation space {one_line(space)} has no numbers: there is nothing to see")
    if space is not env.observation_space:
        env = Flattened(env)
        env.observation_space = space
    return env


def check_actions(space: Any) -> None:
    """Raise UserError where an action space leaves nothing to choose."""
    one = (isinstance(space, Discrete) and space.n == 1) or (
        isinstance(space, MultiDiscrete) and bool((space.nvec == 1).all())
    )
    if one or (space.shape is not None and not math.prod(space.shape)):
        raise UserError(f"action space {one_line(space)} leaves nothing to choose: it wants two actions or more")


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
        why = one_line_of(error).partition(" was raised from the environment creator")[0]
        why = why or type(error).__name__
        trace = "".join(traceback.format_exception(error))
        raise EnvironmentFailed(f"cannot make environment {env!r} with {in_words(kwargs)}: {why}", trace) from error


def one_line_of(error: BaseException) -> str:
    """Return the text of an exception in one line."""
    return " ".join(str(error).split())


class PlainVectorEnv(SyncVectorEnv):
    """Environments in this process, which are all closed whatever one of them does."""

    def close_extras(self, **kwargs: Any) -> None:
        """Close every environment. Raises EnvironmentFailed, the first, where one does not close."""
        close_all(self.envs)


def close_all(envs: Iterable[gymnasium.Env]) -> None:
    """Close environments, the last first. When all have been closed, raises the error of the first that has one."""
    with ExitStack() as stack:
        for env in envs:
            stack.callback(env.close)


def make_sync(
    env: Env,
    num_envs: int,
    previous: Previous = NOTHING,
    kwargs: Mapping[str, Any] = NO_KWARGS,
    render: bool = False,
    timeout: float = TIMEOUT,
) -> SyncVectorEnv:
    """Return ``num_envs`` copies of an environment in this process, in SAME_STEP autoreset mode; see make_vec.

    With ``render`` those that can give pictures as arrays do; what is not an id is made as it is. A call of theirs that
    lasts ``timeout`` seconds is interrupted; 0 for never.
    """
    place, shared = new_place(), shared_state()
    lookout = look_after(place, timeout)
    try:
        envs = make_checked(env, range(num_envs), previous, kwargs, place, shared, render=render)
    except BaseException:
        lookout.stop()
        raise
    weakref.finalize(envs, lookout.stop)
    return envs


def make_checked(
    env: Env,
    numbers: range,
    previous: Previous,
    kwargs: Mapping[str, Any],
    place: np.ndarray,
    shared: dict[str, Any] | None = None,
    spaces: tuple[gymnasium.Space, gymnasium.Space] | None = None,
    render: bool = False,
) -> PlainVectorEnv:
    """Return environments of some numbers that note in ``place`` what they are at: see Checked.

    Raises UserError where they cannot be made, or have other spaces than ``spaces``, those of the first by default.
    """
    made: list[gymnasium.Env] = []
    try:
        make = _maker(env, previous, kwargs, render)
        for number in numbers:
            made.append(_one(env, make, kwargs, number, place, shared))
            spaces = spaces or (made[0].observation_space, made[0].action_space)
            _check_same(made[-1], number, spaces)
        if len({id(one.unwrapped) for one in made}) < len(made):
            raise UserError(
                "env returned the same environment twice: it wants a function that makes a new one each time"
            )
        return PlainVectorEnv([partial(_as_it_is, one) for one in made], autoreset_mode=AutoresetMode.SAME_STEP)
    except BaseException:
        with suppress(EnvironmentFailed):  # what could not be made is said
            close_all(made)
        raise


def _as_it_is(env: gymnasium.Env) -> gymnasium.Env:
    return env


def _one(
    env: Env,
    make: Callable[[], gymnasium.Env],
    kwargs: Mapping[str, Any],
    number: int,
    place: np.ndarray,
    shared: dict[str, Any] | None,
) -> gymnasium.Env:
    """Return one environment, checked."""
    place[NUMBER] = number
    place[SERIAL] += 1
    place[DOING] = MAKING
    try:
        with blamed(env, kwargs):
            made = make()
        if shared is not None:
            check_shared(shared)
    except gymnasium.error.UnregisteredEnv:
        raise UserError(f"unknown environment {env!r}{nearest(short_name(str(env)), gymnasium.registry)}") from None
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        raise UserError(missing(f"environment {env!r}", error)) from error
    except gymnasium.error.Error as error:
        raise UserError(f"cannot make environment {env!r}: {one_line_of(error)}") from None
    except UserError:
        raise
    except BaseException as error:
        raise failure(place, error, shared is None) from error
    finally:
        place[DOING] = IDLE
    return Checked(made, number, place, shared)


def _check_same(env: gymnasium.Env, number: int, spaces: tuple[gymnasium.Space, gymnasium.Space]) -> None:
    for name, space in zip(("observation", "action"), spaces, strict=True):
        own = getattr(env, f"{name}_space")
        if own != space:
            raise UserError(
                f"environment {number} has another {name} space than the first, {one_line(own)} and not "
                f"{one_line(space)}: all must be the same"
            )
