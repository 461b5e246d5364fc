"""Vector environments by gymnasium id, checked, with their errors in one line; in this process or in workers."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space

from lfcs.errors import UserError, nearest

WORTH_WORKERS = 1e-3  # seconds a step of all environments must take before processes pay for their round trip


def _load(env_id: str) -> None:
    """Import what registers ``env_id``. Raises UserError where an extra or a module is missing."""
    module, _, name = env_id.rpartition(":")
    if module:
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # a user's own package beside where the command is started
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UserError(f"cannot import {module!r} for environment {env_id!r}: {error}") from None
    if name.startswith(("ALE/", "Pong100-", "PongRAM-")):
        try:
            importlib.import_module("ale_py")
        except ImportError:
            raise UserError(f"environment {env_id!r} needs the extra 'atari': pip install 'lfcs[atari]'") from None


def make_sync(env_id: str, num_envs: int) -> SyncVectorEnv:
    """Return ``num_envs`` copies of an environment in this process, in SAME_STEP autoreset mode; see make_vec."""
    _load(env_id)
    options: dict[str, Any] = {"obs_type": "ram"} if env_id.startswith("ALE/") else {}

    def make() -> gymnasium.Env:
        return gymnasium.make(env_id, disable_env_checker=True, **options)

    try:
        envs = SyncVectorEnv([make] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
    except gymnasium.error.UnregisteredEnv:
        name = env_id.rpartition(":")[2]
        raise UserError(f"unknown environment {env_id!r}{nearest(name, gymnasium.registry)}") from None
    except gymnasium.error.Error as error:
        raise UserError(f"cannot make environment {env_id!r}: {' '.join(str(error).split())}") from None
    if not isinstance(envs.single_observation_space, gymnasium.spaces.Box):
        raise UserError(f"observation space {envs.single_observation_space} is not supported: it must be a Box")
    return envs


def make_vec(env_id: str, num_envs: int, workers: str = "0") -> VectorEnv:
    """Return ``num_envs`` copies of an environment side by side, in SAME_STEP autoreset mode.

    ``env_id`` is a registered gymnasium id, or ``package.module:Id`` whose module registers it when imported.
    ``workers`` is the number of processes that step them, 0 for none; ``auto`` takes one per core where a step of all
    environments is slow enough to pay for it. Results do not depend on it. Raises UserError on an unknown id (with
    the nearest known), a missing extra, observations that are not a Box, or a bad number of workers.
    """
    if workers != "auto" and not workers.isdecimal():
        raise UserError(f"the number of environment workers must be auto, 0 or more, got {workers!r}")
    if workers == "auto":
        slow = _seconds_per_step(env_id) * num_envs > WORTH_WORKERS
        count = (os.cpu_count() or 1) if slow else 0
    else:
        count = int(workers)
    count = min(count, num_envs)
    return WorkerVectorEnv(env_id, num_envs, count) if count else make_sync(env_id, num_envs)


def _seconds_per_step(env_id: str, steps: int = 20) -> float:
    """Time a step of one environment, which is then thrown away."""
    envs = make_sync(env_id, 1)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    begun = time.perf_counter()
    for _ in range(steps):
        envs.step(envs.action_space.sample())
    elapsed = time.perf_counter() - begun
    envs.close()
    return elapsed / steps


class WorkerVectorEnv(VectorEnv):
    """Environments in worker processes, a slice of them in each; observations travel through shared memory.

    One message a worker and step: gymnasium's AsyncVectorEnv sends one for every environment, which costs more than
    stepping a fast environment. Environment i gets seed + i, as in :class:`gymnasium.vector.SyncVectorEnv`.
    """

    def __init__(self, env_id: str, num_envs: int, workers: int) -> None:
        like = make_sync(env_id, 1)
        self.num_envs, self.metadata = num_envs, like.metadata
        self.single_observation_space, self.single_action_space = (
            like.single_observation_space,
            like.single_action_space,
        )
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        like.close()
        space: Any = self.single_observation_space
        shapes: dict[str, tuple[tuple[int, ...], np.dtype]] = {
            "obs": (space.shape, space.dtype),
            "final": (space.shape, space.dtype),
            "action": ((), np.dtype(np.int64)),
            "reward": ((), np.dtype(np.float64)),
            "terminated": ((), np.dtype(bool)),
            "truncated": ((), np.dtype(bool)),
        }
        memory = {
            name: (RawArray("b", self.num_envs * int(np.prod(shape)) * dtype.itemsize), shape, dtype)
            for name, (shape, dtype) in shapes.items()
        }
        self._shared = _views(memory, slice(None))
        context = multiprocessing.get_context("spawn")
        self._pipes, self._processes = [], []
        for part in np.array_split(np.arange(self.num_envs), workers):
            ours, theirs = context.Pipe()
            rows = slice(int(part[0]), int(part[-1]) + 1)
            process = context.Process(target=_serve, args=(theirs, env_id, memory, rows), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def _ask(self, message: tuple[str, Any]) -> None:
        """Send a message to every worker and wait for all. Raises RuntimeError with a worker's traceback."""
        for pipe in self._pipes:
            pipe.send(message)
        answers = [pipe.recv() for pipe in self._pipes]
        for failure in filter(None, answers):
            raise RuntimeError(f"an environment worker failed:\n{failure}")

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


def _serve(pipe: Connection, env_id: str, memory: dict[str, Any], rows: slice) -> None:
    """Run a slice of the environments until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it finishes its window first
    try:
        shared = _views(memory, rows)
        envs = make_sync(env_id, rows.stop - rows.start)
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
