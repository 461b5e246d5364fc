"""What a compiled task is, and B environments of one task stepped by one compiled call."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from lfcs.compiled.tasks import Tasks, begin_one, observe_pointer, step_one, step_pointer
from lfcs.errors import UserError
from lfcs.kernels import compiled
from lfcs.pointers import Pointer

__all__ = ["NO_LIMIT", "CompiledVectorEnv", "Task", "compiled", "observe_pointer", "step_pointer"]

NO_LIMIT = np.iinfo(np.int64).max
SPARE = 64  # starts of episodes drawn ahead beyond those that could be needed, so that drawing them is rare


@dataclass(frozen=True)
class Task:
    """An environment as functions on rows: a state s of S float64, an action of A float64, an observation of K float32.

    ``step(s, action, obs, outcome)`` advances s in place, writes the next observation and outcome = [reward, whether it
    terminated, ...]; a Discrete action comes as its number. ``observe(s, obs)`` writes the observation of a start.
    ``draw(np_random, n)`` returns the next n starts [n, S] of one environment: the numbers of as many ``reset()``.
    """

    ids: tuple[str, ...]  # of gymnasium
    size: int  # S
    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.spaces.Discrete | gymnasium.spaces.Box
    step: Pointer
    observe: Pointer
    draw: Callable[[np.random.Generator, int], np.ndarray]
    kwargs: dict[str, Any] = field(default_factory=dict)  # with which gymnasium would make it
    limit: int = NO_LIMIT  # steps after which an episode is truncated

    @property
    def action_bounds(self) -> tuple[float, float]:
        """Least and greatest number of an action; in a Box any that is finite, as in gymnasium, which clips it."""
        if isinstance(self.action_space, gymnasium.spaces.Discrete):
            first = int(self.action_space.start)
            return float(first), float(first + int(self.action_space.n) - 1)
        most = float(np.finfo(np.float32).max)
        return -most, most


@compiled
def begin_all(tasks: Tasks) -> None:
    """Begin an episode in every environment."""
    for b in range(len(tasks.state)):
        begin_one(tasks, b)


@compiled
def step_all(tasks: Tasks, low: float, high: float) -> int:
    """Step every environment and return -1, or the first whose action is not within bounds, with nothing stepped."""
    batch, size = tasks.action.shape
    for b in range(batch):
        for i in range(size):
            if not low <= tasks.action[b, i] <= high:  # NaN neither
                return b
    for b in range(batch):
        step_one(tasks, b)
    return -1


class CompiledVectorEnv(VectorEnv):
    """B environments of a compiled task in SAME_STEP autoreset mode, a call a step.

    Environment i has a generator of its own, seeded with seed + i, so that whole trajectories are those of
    :class:`gymnasium.vector.SyncVectorEnv` and an environment's do not depend on how many there are.

    A compiled loop over many steps calls :meth:`ready` and takes :meth:`tasks`, of which ``starts`` may be another
    array after ``ready``, ``reset`` and ``step``; the others stay the same.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
    kind = "compiled"

    def __init__(self, task: Task, num_envs: int) -> None:
        self.task, self.num_envs, self.limit = task, num_envs, task.limit
        self.single_observation_space, self.single_action_space = task.observation_space, task.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        discrete = isinstance(task.action_space, gymnasium.spaces.Discrete)
        self._action_kinds = "iu" if discrete else "iuf"
        self._action_dtype = np.float64 if discrete else np.float32  # a Box's numbers have its precision, as in workers
        self._low, self._high = task.action_bounds
        (width,) = task.observation_space.shape
        self.state = np.zeros((num_envs, task.size))
        self.elapsed = np.zeros(num_envs, np.int64)
        self.starts = np.zeros((num_envs, 0, task.size))
        self.used = np.zeros(num_envs, np.int64)
        self.obs = np.zeros((num_envs, width), np.float32)
        self._action = np.zeros((num_envs, math.prod(task.action_space.shape or ())))
        self._final_obs = np.zeros_like(self.obs)
        self._outcome = np.zeros((num_envs, 3))
        self._generators: list[np.random.Generator] = []

    def ready(self, steps: int) -> None:
        """Draw starts ahead, so that every environment has ``steps`` + 1 or more that are not used."""
        needed, kept = steps + 1, self.starts.shape[1]
        if needed > kept:
            grown = np.empty((self.num_envs, needed + SPARE, self.task.size))
            grown[:, len(grown[0]) - kept :] = self.starts  # at the end, so that what is missing counts as used
            self.used += len(grown[0]) - kept
            self.starts = grown
        elif kept - self.used.max() >= needed:
            return
        for b in np.flatnonzero(self.starts.shape[1] - self.used < needed):
            row, gone = self.starts[b], self.used[b]
            row[: len(row) - gone] = row[gone:]
            row[len(row) - gone :] = self.task.draw(self._generators[b], gone)
            self.used[b] = 0

    def like(self, num_envs: int) -> CompiledVectorEnv:
        """Return so many environments of the same task."""
        return CompiledVectorEnv(self.task, num_envs)

    def tasks(self) -> Tasks:
        """Return what compiled loops need of these environments."""
        moving = self.state, self._action, self.elapsed, self.limit, self.starts, self.used
        step, observe = self.task.step.address(), self.task.observe.address()
        return Tasks(step, observe, *moving, self.obs, self._final_obs, self._outcome)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Reset every environment; ``seed`` is a number, a list of one or None each, or None to go on. No options.

        Raises UserError where options are given.
        """
        if options:
            raise UserError(f"a compiled environment takes no options: use train.env_kind=plain, got {options}")
        count = self.num_envs
        if isinstance(seed, (int, np.integer)):
            seed = [int(seed) + i for i in range(count)]
        seeds = [None] * count if seed is None else seed
        if len(seeds) != count:
            raise UserError(f"{len(seeds)} seeds for {count} environments")
        if not self._generators:
            self._generators = [seeding.np_random(s)[0] for s in seeds]
        for b, one in enumerate(seeds):
            if one is not None:
                self._generators[b] = seeding.np_random(one)[0]
                self.used[b] = self.starts.shape[1]  # what was drawn ahead is another seed's
        self.ready(1)
        begin_all(self.tasks())
        return self.obs.copy(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment; see gymnasium. ``infos["final_obs"]`` holds rows for ended episodes alone.

        Raises UserError on an action that is not in the space, with nothing stepped.
        """
        if not self._generators:
            raise gymnasium.error.ResetNeeded("Cannot call env.step() before calling env.reset()")
        given = np.asarray(actions)
        if given.dtype.kind not in self._action_kinds or given.shape != self.action_space.shape:
            raise UserError(
                f"actions must be {self.action_space.shape} of {self.action_space.dtype}, "
                f"got {given.shape} of {given.dtype}"
            )
        self._action[:] = given.astype(self._action_dtype, copy=False).reshape(self._action.shape)
        self.ready(1)
        bad = step_all(self.tasks(), self._low, self._high)
        if bad >= 0:
            raise UserError(f"environment {bad} was given the action {given[bad]}, not in {self.single_action_space}")
        over = self._outcome[:, 1:] != 0.0
        infos = {"final_obs": self._final_obs.copy()} if over.any() else {}
        return self.obs.copy(), self._outcome[:, 0].copy(), over[:, 0], over[:, 1], infos
