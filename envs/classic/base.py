"""What a compiled task is, and B environments of one task stepped by one compiled call.

Tasks are called by pointer: loops are compiled once for all of them. They are numba ``cfunc``s, because those have one
type whatever they compute, so that the compiled caller is found in the cache by the next process; every ``njit``
function is a type of its own, for which its caller is compiled in every process anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numba
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from llvmlite import ir
from numba import float32, float64, void
from numba.core import types
from numba.extending import intrinsic

from lfcs.errors import UserError

STEP = void(float64[::1], float64[::1], float32[::1], float64[::1])
OBSERVE = void(float64[::1], float32[::1])
# without fastmath nothing is reordered or fused: the numbers are those of the operations as they are written
as_step = numba.cfunc(STEP, cache=True, error_model="numpy")
as_observe = numba.cfunc(OBSERVE, cache=True, error_model="numpy")
compiled = numba.njit(cache=True, error_model="numpy")

NO_LIMIT = np.iinfo(np.int64).max
SPARE = 64  # starts of episodes drawn ahead beyond those that could be needed, so that drawing them is rare


def _from_address(signature: Any) -> Any:
    """Return what makes, in compiled code, a function of an address: handed over as an object it costs 8 µs a call."""
    function = types.FunctionType(signature)

    @intrinsic
    def made(typing: Any, address: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = context.get_value_type(function)  # a structure whose first field is where the code is
            return builder.insert_value(ir.Constant(kind, None), builder.inttoptr(args[0], kind.elements[0]), 0)

        return function(types.int64), build

    return made


step_at, observe_at = _from_address(STEP), _from_address(OBSERVE)


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
    step: Any
    observe: Any
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
def begin_one(
    b: int,
    observe: Any,
    state: np.ndarray,
    elapsed: np.ndarray,
    starts: np.ndarray,
    used: np.ndarray,
    obs: np.ndarray,
) -> None:
    """Begin the next episode of environment b: its next start of ``starts`` [B, K, S], which must have one left."""
    start, s = starts[b, used[b]], state[b]
    for i in range(len(s)):
        s[i] = start[i]
    used[b] += 1
    elapsed[b] = 0
    observe(s, obs[b])


@compiled
def step_one(
    b: int,
    step: Any,
    observe: Any,
    state: np.ndarray,
    action: np.ndarray,
    elapsed: np.ndarray,
    limit: int,
    starts: np.ndarray,
    used: np.ndarray,
    obs: np.ndarray,
    final_obs: np.ndarray,
    outcome: np.ndarray,
) -> bool:
    """Step environment b of B and return whether its episode ended; nothing is allocated, no action is checked.

    Rows b of ``state`` [B, S], ``elapsed`` [B], ``obs`` [B, K] and ``outcome`` [B, 3] = [reward, terminated, truncated]
    are those after the step, which takes ``action`` [B, A]. At an end the observation goes to ``final_obs`` [B, K] and
    the next episode has begun. There must be a start left: see :meth:`CompiledVectorEnv.ready`.
    """
    row = outcome[b]
    step(state[b], action[b], obs[b], row)
    elapsed[b] += 1
    row[2] = 1.0 if elapsed[b] >= limit else 0.0
    ended = row[1] != 0.0 or row[2] != 0.0
    if ended:
        last, now = final_obs[b], obs[b]
        for k in range(len(now)):
            last[k] = now[k]
        begin_one(b, observe, state, elapsed, starts, used, obs)
    return ended


@compiled
def begin_all(
    observe: int, state: np.ndarray, elapsed: np.ndarray, starts: np.ndarray, used: np.ndarray, obs: np.ndarray
) -> None:
    """Begin an episode in every environment; ``observe`` is an address."""
    look = observe_at(observe)
    for b in range(len(state)):
        begin_one(b, look, state, elapsed, starts, used, obs)


@compiled
def step_all(
    step: int,
    observe: int,
    low: float,
    high: float,
    state: np.ndarray,
    action: np.ndarray,
    elapsed: np.ndarray,
    limit: int,
    starts: np.ndarray,
    used: np.ndarray,
    obs: np.ndarray,
    final_obs: np.ndarray,
    outcome: np.ndarray,
) -> int:
    """Step every environment and return -1, or the first whose action is not within bounds, with nothing stepped.

    ``step`` and ``observe`` are addresses.
    """
    move, look = step_at(step), observe_at(observe)
    batch, size = action.shape
    for b in range(batch):
        for i in range(size):
            if not low <= action[b, i] <= high:  # NaN neither
                return b
    for b in range(batch):
        step_one(b, move, look, state, action, elapsed, limit, starts, used, obs, final_obs, outcome)
    return -1


class CompiledVectorEnv(VectorEnv):
    """B environments of a compiled task in SAME_STEP autoreset mode, a call a step.

    Environment i has a generator of its own, seeded with seed + i, so that whole trajectories are those of
    :class:`gymnasium.vector.SyncVectorEnv` and an environment's do not depend on how many there are.

    A compiled loop over many steps calls :meth:`ready`, takes ``state`` [B, S], ``elapsed`` [B], ``starts`` [B, K, S],
    ``used`` [B] and ``obs`` [B, K'], and steps them by :func:`step_one`. ``starts`` may be replaced by ``ready``,
    ``reset`` and ``step``; the others stay the same arrays.
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
        begin_all(self.task.observe.address, self.state, self.elapsed, self.starts, self.used, self.obs)
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
        task, moving = self.task, (self.state, self._action, self.elapsed, self.limit, self.starts, self.used)
        seen = self.obs, self._final_obs, self._outcome
        bad = step_all(task.step.address, task.observe.address, self._low, self._high, *moving, *seen)
        if bad >= 0:
            raise UserError(f"environment {bad} was given the action {given[bad]}, not in {self.single_action_space}")
        over = self._outcome[:, 1:] != 0.0
        infos = {"final_obs": self._final_obs.copy()} if over.any() else {}
        return self.obs.copy(), self._outcome[:, 0].copy(), over[:, 0], over[:, 1], infos
