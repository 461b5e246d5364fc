"""Environments that compiled loops step: a task's functions by address, and the arrays of B of its environments."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types

from lfcs.kernels import inner
from lfcs.pointers import function_at, pointer

F32_ROW, F64_ROW = types.float32[::1], types.float64[::1]


def _step(f: Any) -> Any:
    return types.void(F64_ROW, F64_ROW, F32_ROW, F64_ROW)


def _observe(f: Any) -> Any:
    return types.void(F64_ROW, F32_ROW)


step_pointer, step_at = pointer(_step), function_at(_step)
observe_pointer, observe_at = pointer(_observe), function_at(_observe)


class Tasks(NamedTuple):
    """B environments of one task."""

    step: int  # address: (state, action, obs, outcome) advances a state in place
    observe: int  # address: (state, obs)
    state: np.ndarray  # [B, S]
    action: np.ndarray  # [B, A]
    elapsed: np.ndarray  # [B] steps of the running episode
    limit: int  # steps after which it is truncated
    starts: np.ndarray  # [B, K, S] of the next episodes
    used: np.ndarray  # [B] how many of them are used
    obs: np.ndarray  # [B, K] float32
    final_obs: np.ndarray  # [B, K] float32, where an episode ended
    outcome: np.ndarray  # [B, 3] reward, terminated, truncated

    def of(self, which: np.ndarray) -> Tasks:
        """Return some of the environments: ``which`` [B] bool."""
        return Tasks(
            self.step, self.observe, self.state[which], self.action[which], self.elapsed[which], self.limit,
            self.starts[which], self.used[which], self.obs[which], self.final_obs[which], self.outcome[which],
        )  # fmt: skip


@inner
def begin_one(tasks, b):
    """Begin the next episode of environment b with its next start, which must be there."""
    start, state = tasks.starts[b, tasks.used[b]], tasks.state[b]
    for i in range(len(state)):
        state[i] = start[i]
    tasks.used[b] += 1
    tasks.elapsed[b] = 0
    observe_at(tasks.observe, state)(state, tasks.obs[b])


@inner
def step_one(tasks, b):
    """Take the action of environment b, which nobody checks; return whether its episode ended.

    At an end the observation goes to ``final_obs`` and the next episode has begun.
    """
    row, state = tasks.outcome[b], tasks.state[b]
    step_at(tasks.step, state)(state, tasks.action[b], tasks.obs[b], row)
    tasks.elapsed[b] += 1
    row[2] = 1.0 if tasks.elapsed[b] >= tasks.limit else 0.0
    ended = row[1] != 0.0 or row[2] != 0.0
    if ended:
        last, now = tasks.final_obs[b], tasks.obs[b]
        for k in range(len(now)):
            last[k] = now[k]
        begin_one(tasks, b)
    return ended
