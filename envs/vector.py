"""Vector environments, checked, with their errors in one line; in this process or in workers."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv

from lfcs import spaces
from lfcs.envs.hangs import TIMEOUT
from lfcs.envs.making import NO_KWARGS, NOTHING, Env, blamed, in_words, load, make_sync, short_name
from lfcs.envs.previous import Previous
from lfcs.envs.vectorised import make_vectorised
from lfcs.envs.workers import WorkerVectorEnv
from lfcs.errors import UserError
from lfcs.spaces import given_space
from lfcs.spawn import cores

KINDS = "auto", "compiled", "vector", "plain", "device"
WORTH_WORKERS = 1e-3  # seconds a step of all environments must take before processes pay for their round trip


def make_vec(
    env: Env,
    num_envs: int,
    workers: str = "0",
    kind: str = "auto",
    device: str = "cpu",
    previous: Previous = NOTHING,
    kwargs: Mapping[str, Any] = NO_KWARGS,
    timeout: float = TIMEOUT,
) -> VectorEnv:
    """Return ``num_envs`` copies of an environment side by side, in SAME_STEP autoreset mode.

    ``env`` is a registered gymnasium id, ``package.module:Id`` whose module registers it when imported, a class of
    environments, or a function that makes one. ``workers`` is the number of processes that step them, 0 for none;
    ``auto`` takes one per core where a step of all environments is slow enough to pay for it. ``kind`` is what steps
    them: ``compiled`` (:mod:`lfcs.envs.classic`), ``vector`` (:mod:`lfcs.envs.vectorised`), ``plain``, one by one;
    ``device``, as tensors on ``device`` (:mod:`lfcs.envs.on_device`), which gymnasium's methods do not step; or
    ``auto``: where no number of workers is asked for, device unless that is the CPU, or compiled, where those are to
    be had, else plain. Results depend neither on the workers nor on whether it is compiled or plain. ``previous`` is
    what of the last step is observed too, in plain environments. ``kwargs`` are given to what makes an environment; it
    is compiled only where a compiled form stands for them. Observations are a Box: those of other spaces are flattened
    (:mod:`lfcs.spaces`). A call of a plain environment that lasts ``timeout`` seconds is given up; 0 for never.

    Raises UserError on an unknown id (with the nearest known), a missing extra, observations that no numbers stand for,
    a bad number of workers, workers that cannot start, arguments that the environment does not take, or a kind that
    there is not of this environment.
    """
    asked = _checked(env, workers, kind, previous)
    if kind == "vector":
        load(str(env))
        return make_vectorised(short_name(str(env)), num_envs, kwargs)
    auto = kind == "auto" and not asked and not any(previous)
    if kind == "device" or (auto and device != "cpu"):
        found = None if kwargs else _on_device(env, num_envs, device)
        if found is not None:
            return found
    if kind == "device":
        raise UserError(f"there is no form of {_asked(env, kwargs)} as tensors on a device: use train.env_kind=plain")
    if kind == "compiled" or auto:
        envs = _compiled(env, num_envs, kwargs)
        if envs is not None:
            return envs
    if kind == "compiled":
        raise UserError(f"there is no compiled form of {_asked(env, kwargs)}: use train.env_kind=plain")
    count = _worth(env, num_envs, kwargs, timeout) if workers == "auto" else int(workers)
    if count:
        return WorkerVectorEnv(env, num_envs, count, previous, kwargs, timeout)
    return make_sync(env, num_envs, previous, kwargs, timeout=timeout)


def _checked(env: Env, workers: str, kind: str, previous: Previous) -> bool:
    """Return whether workers are asked for. Raises UserError on what there is not, or not together."""
    if workers != "auto" and not workers.isdecimal():
        raise UserError(f"the number of environment workers must be auto, 0 or more, got {workers!r}")
    if kind not in KINDS:
        raise UserError(f"the kind of environments must be one of {', '.join(KINDS)}, got {kind!r}")
    asked = workers.isdecimal() and int(workers) > 0
    if kind in ("compiled", "vector", "device"):
        if any(previous):
            raise UserError(f"encoder.previous_... need plain environments, not {kind} ones")
        if asked:
            raise UserError(f"train.env_kind={kind} steps in this process: it needs train.env_workers=0")
        if not isinstance(env, str):
            raise UserError(f"train.env_kind={kind} wants the id of a registered environment, got {env!r}")
    return asked


def _asked(env: Env, kwargs: Mapping[str, Any]) -> str:
    return f"{env!r} with {in_words(kwargs)}" if kwargs else repr(env)


def described(envs: VectorEnv) -> str:
    """Return in words how many environments there are and what steps them."""
    return f"{envs.num_envs} environments, {getattr(envs, 'kind', 'plain')}"


def flattening(envs: VectorEnv) -> str | None:
    """Return in words what observations are flattened to, None where they are a row of numbers anyway."""
    space: Any = envs.single_observation_space
    given = given_space(space)
    if len(given.shape or ()) == 1 and isinstance(given, gymnasium.spaces.Box):
        return None
    return f"observations {spaces.in_words(given)} flattened to {math.prod(space.shape)} numbers"


def has_compiled(env: str) -> bool:
    """Return whether there is a compiled form of a registered id, made without arguments of one's own."""
    from lfcs.envs import classic

    return classic.find(short_name(env)) is not None


def _compiled(env: Env, num_envs: int, kwargs: Mapping[str, Any]) -> VectorEnv | None:
    """Return the compiled form of environments, or None where there is none."""
    if not isinstance(env, str):
        return None
    from lfcs.envs import classic  # here, as workers do without the compiler

    load(env)
    with blamed(env, kwargs):
        task = classic.find(short_name(env), kwargs)
    return classic.CompiledVectorEnv(task, num_envs) if task else None


def _on_device(env: Env, num_envs: int, device: str) -> VectorEnv | None:
    """Return environments as tensors on a device, or None where there are none."""
    if not isinstance(env, str):
        return None
    from lfcs.envs import classic, on_device  # here, as workers do without

    load(env)
    task = classic.find(short_name(env))
    if task is None or on_device.form_of(task) is None:
        return None
    return on_device.DeviceVectorEnv(short_name(env), num_envs, device)


def _worth(env: Env, num_envs: int, kwargs: Mapping[str, Any] = NO_KWARGS, timeout: float = TIMEOUT) -> int:
    """Return the number of workers that pay: one per core of ours, or none."""
    number = cores()
    return number if number > 1 and _seconds_per_step(env, kwargs, timeout) * num_envs > WORTH_WORKERS else 0


def _seconds_per_step(
    env: Env, kwargs: Mapping[str, Any] = NO_KWARGS, timeout: float = TIMEOUT, steps: int = 20
) -> float:
    """Return the shortest of some steps of one environment, which is then thrown away.

    The shortest, because whatever else runs on the machine, or is done at first, only adds to it.
    """
    envs = make_sync(env, 1, kwargs=kwargs, timeout=timeout)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    shortest = math.inf
    for _ in range(steps):
        action = envs.action_space.sample()
        begun = time.perf_counter()
        envs.step(action)
        shortest = min(shortest, time.perf_counter() - begun)
    envs.close()
    return shortest
