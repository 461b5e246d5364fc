"""Delayed match to sample; see :class:`lfcs.envs.memory.DelayedMatch`.

State [time, time of the probe, sample, probe].
"""

from __future__ import annotations

import numpy as np

from lfcs.envs.classic.base import Task, compiled, observe_pointer, step_pointer
from lfcs.envs.memory import DelayedMatch

SAMPLE = float(DelayedMatch.SAMPLE)


@compiled
def show(state: np.ndarray, obs: np.ndarray) -> None:
    """Write the observation of a state."""
    for k in range(len(obs)):
        obs[k] = 0.0
    if state[0] < SAMPLE:
        obs[int(state[2])] = 1.0
    if state[0] == state[1]:
        obs[int(state[3])] = 1.0
        obs[len(obs) - 1] = 1.0


@step_pointer
def step(state: np.ndarray, action: np.ndarray, obs: np.ndarray, outcome: np.ndarray) -> None:
    """See :class:`Task`."""
    over, match = state[0] == state[1], 1.0 if state[2] == state[3] else 0.0
    outcome[0] = (1.0 if action[0] == match else -1.0) if over else 0.0
    outcome[1] = 1.0 if over else 0.0
    state[0] += 1.0
    show(state, obs)


@observe_pointer
def observe(state: np.ndarray, obs: np.ndarray) -> None:
    """See :class:`Task`."""
    show(state, obs)


def make(**given: int) -> Task:
    """Return the task with the arguments of :class:`lfcs.envs.memory.DelayedMatch`."""
    env = DelayedMatch(**given)

    def draw(np_random: np.random.Generator, count: int) -> np.ndarray:
        sample, match, other = np_random.random((count, env.numbers)).T
        starts = np.zeros((count, 4))
        starts[:, 1] = SAMPLE + env.delay
        starts[:, 2] = np.floor(sample * env.stimuli)
        others = (starts[:, 2] + 1 + np.floor(other * (env.stimuli - 1))) % env.stimuli
        starts[:, 3] = np.where(match < 0.5, starts[:, 2], others)
        return starts

    return Task((), 4, env.observation_space, env.action_space, step, observe, draw, given)
