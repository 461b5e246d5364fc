"""Vector environments, checked, with their errors in one line; in this process or in workers."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space

from lfcs.errors import UserError, nearest
from lfcs.names import import_module
from lfcs.spawn import main_not_run_again

Env = str | Callable[[], gymnasium.Env]  # an id, or what makes an environment: a function or a class

WORTH_WORKERS = 1e-3  # seconds a step of all environments must take before processes pay for their round trip


def _load(env_id: str) -> None:
    """Import what registers ``env_id``. Raises UserError where an extra or a module is missing."""
    module, _, name = env_id.rpartition(":")
    if module:
        import_module(module, f"environment {env_id!r}")
    if name.startswith(("ALE/", "Pong100-", "PongRAM-")):
        try:
            importlib.import_module("ale_py")
        except ImportError:
            raise UserError(f"environment {env_id!r} needs the extra 'atari': pip install 'lfcs[atari]'") from None


def _maker(env: Env) -> Callable[[], gymnasium.Env]:
    """Return what makes one environment. Raises UserError where an extra or a module is missing."""
    if not isinstance(env, str):
        return lambda: _made(env())
    _load(env)
    options: dict[str, Any] = {"obs_type": "ram"} if env.startswith("ALE/") else {}
    return lambda: gymnasium.make(env, disable_env_checker=True, **options)


def _made(env: Any) -> gymnasium.Env:
    if not isinstance(env, gymnasium.Env):
        raise UserError(f"env made {env!r}, which is not a gymnasium environment")
    return env


def make_sync(env: Env, num_envs: int) -> SyncVectorEnv:
    """Return ``num_envs`` copies of an environment in this process, in SAME_STEP autoreset mode; see make_vec."""
    try:
        envs = SyncVectorEnv([_maker(env)] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
    except gymnasium.error.UnregisteredEnv:
        name = str(env).rpartition(":")[2]
        raise UserError(f"unknown environment {env!r}{nearest(name, gymnasium.registry)}") from None
    except gymnasium.error.Error as error:
        raise UserError(f"cannot make environment {env!r}: {' '.join(str(error).split())}") from None
    if len({id(env.unwrapped) for env in envs.envs}) < num_envs:
        raise UserError("env returned the same environment twice: it wants a function that makes a new one each time")
    if not isinstance(envs.single_observation_space, gymnasium.spaces.Box):
        raise UserError(f"observation space {envs.single_observation_space} is not supported: it must be a Box")
    return envs


def make_vec(env: Env, num_envs: int, workers: str = "0") -> VectorEnv:
    """Return ``num_envs`` copies of an environment side by side, in SAME_STEP autoreset mode.

    ``env`` is a registered gymnasium id, ``package.module:Id`` whose module registers it when imported, a class of
    environments, or a function that makes one. ``workers`` is the number of processes that step them, 0 for none;
    ``auto`` takes one per core where a step of all environments is slow enough to pay for it. Results do not depend on
    it. Raises UserError on an unknown id (with the nearest known), a missing extra, observations that are not a Box, a
    bad number of workers, or workers that cannot start.
    """
    if workers != "auto" and not workers.isdecimal():
        raise UserError(f"the number of environment workers must be auto, 0 or more, got {workers!r}")
    if workers == "auto":
        slow = _seconds_per_step(env) * num_envs > WORTH_WORKERS
        count = (os.cpu_count() or 1) if slow else 0
    else:
        count = int(workers)
    count = min(count, num_envs)
    return WorkerVectorEnv(env, num_envs, count) if count else make_sync(env, num_envs)


def _seconds_per_step(env: Env, steps: int = 20) -> float:
    """Time a step of one environment, which is then thrown away."""
    envs = make_sync(env, 1)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    begun = time.perf_counter()
    for _ in range(steps):
        envs.step(envs.action_space.sample())
    elapsed = time.perf_counter() - begun
    envs.close()
    return elapsed / steps


def _portable(env: Env) -> bytes:
    """Return an environment as bytes that a worker turns back into it, with what this process has registered.

    Raises UserError where it cannot be sent.
    """
    spec = gymnasium.registry.get(env.rpartition(":")[2]) if isinstance(env, str) else None
    try:
        return cloudpickle.dumps((env, spec))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise UserError(f"{env!r} cannot be sent to worker processes ({error}): use train.env_workers=0") from None


def _unpacked(portable: bytes) -> Env:
    env, spec = cloudpickle.loads(portable)
    if spec is not None:
        gymnasium.registry.setdefault(spec.id, spec)
    return env


class WorkerVectorEnv(VectorEnv):
    """Environments in worker processes, a slice of them in each; observations travel through shared memory.

    One message a worker and step: gymnasium's AsyncVectorEnv sends one for every environment, which costs more than
    stepping a fast environment. Environment i gets seed + i, as in :class:`gymnasium.vector.SyncVectorEnv`.
    """

    def __init__(self, env: Env, num_envs: int, workers: int) -> None:
        like, portable = make_sync(env, 1), _portable(env)
        self.num_envs, self.metadata = num_envs, like.metadata
        self.single_observation_space, self.single_action_space = (
            like.single_observation_space,
            like.single_action_space,
        )
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        like.close()
        space: Any = self.single_observation_space
        actions: Any = self.single_action_space
        shapes: dict[str, tuple[tuple[int, ...], np.dtype]] = {
            "obs": (space.shape, space.dtype),
            "final": (space.shape, space.dtype),
            "action": (actions.shape, actions.dtype),
            "reward": ((), np.dtype(np.float64)),
            "terminated": ((), np.dtype(bool)),
            "truncated": ((), np.dtype(bool)),
        }
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
        self._ask(("reset", seed))
        return self._shared["obs"].copy(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment; see gymnasium. ``infos["final_obs"]`` holds rows for ended episodes alone."""
        shared = self._shared
        shared["action"][:] = actions
        self._ask(("step", None))
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it finishes its window first
    try:
        shared = _views(memory, rows)
        envs = make_sync(_unpacked(portable), rows.stop - rows.start)
        while True:
            command, seed = pipe.recv()
            if command == "reset":
                shared["obs"][:], _ = envs.reset(seed=None if seed is None else seed + rows.start)
            else:
                obs, reward, terminated, truncated, infos = envs.step(shared["action"])
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
