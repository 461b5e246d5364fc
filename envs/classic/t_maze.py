"""A corridor with a turn at its end; see :class:`lfcs.envs.memory.TMaze`. State [place, length, side as an action]."""

from __future__ import annotations

import numpy as np

from lfcs.envs.classic.base import Task, compiled, observe_pointer, step_pointer
from lfcs.envs.memory import TMaze

NORTH, EAST, SOUTH = float(TMaze.NORTH), float(TMaze.EAST), float(TMaze.SOUTH)


@compiled
def show(state: np.ndarray, obs: np.ndarray) -> None:
    """Write the observation of a state."""
    begins, ends = state[0] == 0.0, state[0] == state[1]
    obs[0] = 1.0 if (begins and state[2] == SOUTH) or not (begins or ends) else 0.0
    obs[1] = 1.0 if begins or ends else 0.0
    obs[2] = 1.0 if (begins and state[2] == NORTH) or not (begins or ends) else 0.0


@step_pointer
def step(state: np.ndarray, action: np.ndarray, obs: np.ndarray, outcome: np.ndarray) -> None:
    """See :class:`Task`."""
    outcome[0], outcome[1] = -0.1, 0.0
    if action[0] == NORTH or action[0] == SOUTH:
        if state[0] == state[1]:
            outcome[1] = 1.0
            if action[0] == state[2]:
                outcome[0] = 4.0
    else:
        before = state[0]
        state[0] = min(max(before + (1.0 if action[0] == EAST else -1.0), 0.0), state[1])
        if state[0] != before:
            outcome[0] = 0.0
    show(state, obs)


@observe_pointer
def observe(state: np.ndarray, obs: np.ndarray) -> None:
    """See :class:`Task`."""
    show(state, obs)


def make(**given: int) -> Task:
    """Return the task with the arguments of :class:`lfcs.envs.memory.TMaze`."""
    env = TMaze(**given)

    def draw(np_random: np.random.Generator, count: int) -> np.ndarray:
        starts = np.zeros((count, 3))
        starts[:, 1] = env.length
        starts[:, 2] = np.where(np_random.random(count) < 0.5, NORTH, SOUTH)
        return starts

    return Task((), 3, env.observation_space, env.action_space, step, observe, draw, given)
