"""Vector environments, checked, with their errors in one line; in this process or in workers."""

from __future__ import annotations

import math
import multiprocessing
import pickle
import time
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from lfcs import spaces
from lfcs.envs.making import NO_KWARGS, NOTHING, Env, blamed, in_words, load, make_sync, short_name
from lfcs.envs.previous import Previous
from lfcs.envs.vectorised import make_vectorised
from lfcs.errors import UserError
from lfcs.nested import mapped
from lfcs.spaces import given_space
from lfcs.spawn import cores, main_not_run_again, serve_parent

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
    (:mod:`lfcs.spaces`).

    Raises UserError on an unknown id (with the nearest known), a missing extra, observations that no numbers stand for,
    a bad number of workers, workers that cannot start, arguments that the environment does not take, or a kind that
    there is not of this environment.
    """
    if workers != "auto" and not workers.isdecimal():
        raise UserError(f"the number of environment workers must be auto, 0 or more, got {workers!r}")
    if kind not in KINDS:
        raise UserError(f"the kind of environments must be one of {', '.join(KINDS)}, got {kind!r}")
    asked = workers.isdecimal() and int(workers) > 0
    if kind in ("compiled", "vector", "device"):
        if any(previous):
            raise UserError(f"encoder.previous_action and previous_reward need plain environments, not {kind} ones")
        if asked:
            raise UserError(f"train.env_kind={kind} steps in this process: it needs train.env_workers=0")
        if not isinstance(env, str):
            raise UserError(f"train.env_kind={kind} wants the id of a registered environment, got {env!r}")
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
    count = min(_worth(env, num_envs, kwargs) if workers == "auto" else int(workers), num_envs)
    given = previous, kwargs
    return WorkerVectorEnv(env, num_envs, count, *given) if count else make_sync(env, num_envs, *given)


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


def _worth(env: Env, num_envs: int, kwargs: Mapping[str, Any] = NO_KWARGS) -> int:
    """Return the number of workers that pay: one per core of ours, or none."""
    number = cores()
    return number if number > 1 and _seconds_per_step(env, kwargs) * num_envs > WORTH_WORKERS else 0


def _seconds_per_step(env: Env, kwargs: Mapping[str, Any] = NO_KWARGS, steps: int = 20) -> float:
    """Return the shortest of some steps of one environment, which is then thrown away.

    The shortest, because whatever else runs on the machine, or is done at first, only adds to it.
    """
    envs = make_sync(env, 1, kwargs=kwargs)
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


def _portable(env: Env, previous: Previous, kwargs: Mapping[str, Any]) -> bytes:
    """Return what :func:`make_sync` wants as bytes for a worker, with what this process has registered.

    Raises UserError where it cannot be sent.
    """
    spec = gymnasium.registry.get(short_name(env)) if isinstance(env, str) else None
    try:
        return cloudpickle.dumps((env, previous, kwargs, spec))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise UserError(f"{env!r} cannot be sent to worker processes ({error}): use train.env_workers=0") from None


def _unpacked(portable: bytes) -> tuple[Env, Previous, Mapping[str, Any]]:
    env, previous, kwargs, spec = cloudpickle.loads(portable)
    if spec is not None:
        gymnasium.registry.setdefault(spec.id, spec)
    return env, previous, kwargs


class WorkerVectorEnv(VectorEnv):
    """Environments in worker processes, a slice of them in each; observations travel through shared memory.

    One message a worker and step: gymnasium's AsyncVectorEnv sends one for every environment, which costs more than
    stepping a fast environment. Environment i gets seed + i, as in :class:`gymnasium.vector.SyncVectorEnv`.
    """

    def __init__(
        self,
        env: Env,
        num_envs: int,
        workers: int,
        previous: Previous = NOTHING,
        kwargs: Mapping[str, Any] = NO_KWARGS,
    ) -> None:
        like, portable = make_sync(env, 1, previous, kwargs), _portable(env, previous, kwargs)
        self.num_envs, self.metadata = num_envs, like.metadata
        self.kind = f"plain, in {workers} worker{'s' if workers > 1 else ''}"
        self.single_observation_space, self.single_action_space = (
            like.single_observation_space,
            like.single_action_space,
        )
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        like.close()
        space: Any = self.single_observation_space
        actions: Any = self.single_action_space
        self._shares_actions = actions.shape is not None  # else they have parts, and go with the message
        shapes: dict[str, tuple[tuple[int, ...], np.dtype]] = {
            "obs": (space.shape, space.dtype),
            "final": (space.shape, space.dtype),
            "reward": ((), np.dtype(np.float64)),
            "terminated": ((), np.dtype(bool)),
            "truncated": ((), np.dtype(bool)),
        }
        if self._shares_actions:
            shapes["action"] = actions.shape, actions.dtype
        memory = {
            name: (RawArray("b", self.num_envs * int(np.prod(shape)) * dtype.itemsize), shape, dtype)
            for name, (shape, dtype) in shapes.items()
        }
        self._shared = _views(memory, slice(None))
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        with main_not_run_again():
            for part in np.array_split(np.arange(self.num_envs), workers):
                self._start(portable, memory, slice(int(part[0]), int(part[-1]) + 1))

    def _start(self, portable: bytes, memory: dict[str, Any], rows: slice) -> None:
        """Start a worker for a slice of the environments."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, portable, memory, rows), daemon=True)
        process.start()
        theirs.close()
        self._pipes.append(ours)
        self._processes.append(process)

    def _ask(self, message: tuple[str, Any]) -> None:
        """Send a message to every worker and wait for all.

        Raises UserError where an environment fails, caused by the worker's traceback, or where a worker is gone.
        """
        try:
            for pipe in self._pipes:
                pipe.send(message)
            answers = [pipe.recv() for pipe in self._pipes]
        except (EOFError, ConnectionError):
            raise UserError("an environment worker has died; try train.env_workers=0") from None
        for failure in filter(None, answers):
            last = failure.strip().splitlines()[-1]
            raise UserError(f"an environment failed in its worker: {last}") from RuntimeError(failure)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Reset every environment; see gymnasium."""
        self._ask(("reset", (seed, options)))
        return self._shared["obs"].copy(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment; see gymnasium. ``infos["final_obs"]`` holds rows for ended episodes alone."""
        shared = self._shared
        if self._shares_actions:
            shared["action"][:] = actions
        self._ask(("step", None if self._shares_actions else actions))
        outcome = (shared[name].copy() for name in ("obs", "reward", "terminated", "truncated"))
        return *outcome, {"final_obs": shared["final"]}  # type: ignore[return-value]

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the workers."""
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.close()  # a worker ends when its pipe does
            process.join()


def _views(memory: dict[str, Any], rows: slice) -> dict[str, np.ndarray]:
    return {
        name: np.frombuffer(raw, dtype=dtype).reshape(-1, *shape)[rows] for name, (raw, shape, dtype) in memory.items()
    }


def _serve(pipe: Connection, portable: bytes, memory: dict[str, Any], rows: slice) -> None:
    """Run a slice of the environments until the pipe closes."""
    serve_parent()  # signals are the parent's to handle: it finishes its window first
    try:
        shared = _views(memory, rows)
        env, previous, kwargs = _unpacked(portable)
        envs = make_sync(env, rows.stop - rows.start, previous, kwargs)
        while True:
            command, given = pipe.recv()
            if command == "reset":
                seed, options = given
                shared["obs"][:], _ = envs.reset(seed=None if seed is None else seed + rows.start, options=options)
            else:
                obs, reward, terminated, truncated, infos = envs.step(
                    shared["action"] if given is None else mapped(lambda part: part[rows], given)
                )
                for name, value in zip(
                    ("obs", "reward", "terminated", "truncated"), (obs, reward, terminated, truncated), strict=True
                ):
                    shared[name][:] = value
                for b in np.flatnonzero(terminated | truncated):
                    shared["final"][b] = infos["final_obs"][b]
            pipe.send(None)
    except (EOFError, ConnectionError):
        return  # the parent has closed the pipe or is gone
    except Exception:
        pipe.send(traceback.format_exc())
