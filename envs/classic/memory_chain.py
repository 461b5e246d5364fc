"""A context to be repeated; see :class:`lfcs.envs.memory.MemoryChain`. State [time, length, context]."""

from __future__ import annotations

import numpy as np

from lfcs.envs.classic.base import Task, compiled, observe_pointer, step_pointer
from lfcs.envs.memory import MemoryChain


@compiled
def show(state: np.ndarray, obs: np.ndarray) -> None:
    """Write the observation of a state."""
    obs[0] = max(1.0 - state[0] / state[1], 0.0)
    obs[1] = 1.0 if state[0] == state[1] else 0.0
    obs[2] = 2.0 * state[2] - 1.0 if state[0] == 0.0 else 0.0


@step_pointer
def step(state: np.ndarray, action: np.ndarray, obs: np.ndarray, outcome: np.ndarray) -> None:
    """See :class:`Task`."""
    over = state[0] == state[1]
    outcome[0] = (1.0 if action[0] == state[2] else -1.0) if over else 0.0
    outcome[1] = 1.0 if over else 0.0
    state[0] += 1.0
    show(state, obs)


@observe_pointer
def observe(state: np.ndarray, obs: np.ndarray) -> None:
    """See :class:`Task`."""
    show(state, obs)


def make(**given: int) -> Task:
    """Return the task with the arguments of :class:`lfcs.envs.memory.MemoryChain`."""
    env = MemoryChain(**given)

    def draw(np_random: np.random.Generator, count: int) -> np.ndarray:
        starts = np.zeros((count, 3))
        starts[:, 1], starts[:, 2] = env.length, np_random.random(count) < 0.5
        return starts

    return Task((), 3, env.observation_space, env.action_space, step, observe, draw, given)
