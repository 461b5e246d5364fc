"""Cues left and right to be counted; see :class:`lfcs.envs.memory.CueAccumulation`.

State [time, time of the recall, side with more cues, side of each cue], sides 0 (left) or 1 (right).
"""

from __future__ import annotations

import numpy as np

from lfcs.envs.classic.base import Task, compiled, observe_pointer, step_pointer
from lfcs.envs.memory import CueAccumulation

CUE, EVERY, LIKELY = CueAccumulation.CUE, CueAccumulation.CUE + CueAccumulation.PAUSE, CueAccumulation.LIKELY


@compiled
def show(state: np.ndarray, obs: np.ndarray) -> None:
    """Write the observation of a state."""
    time = int(state[0])
    cue = time // EVERY
    shown = 3 + cue < len(state) and time % EVERY < CUE
    obs[0] = 1.0 if shown and state[3 + cue] == 0.0 else 0.0
    obs[1] = 1.0 if shown and state[3 + cue] == 1.0 else 0.0
    obs[2] = 1.0 if state[0] == state[1] else 0.0


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
    """Return the task with the arguments of :class:`lfcs.envs.memory.CueAccumulation`."""
    env = CueAccumulation(**given)

    def draw(np_random: np.random.Generator, count: int) -> np.ndarray:
        uniform = np_random.random((count, env.numbers))
        starts = np.zeros((count, 3 + env.cues))
        delay = env.least + np.floor(uniform[:, 1] * (env.most - env.least + 1))
        starts[:, 1] = env.cues * EVERY + delay
        starts[:, 3:] = uniform[:, 2:] < np.where(uniform[:, :1] < 0.5, LIKELY, 1.0 - LIKELY)
        starts[:, 2] = 2 * starts[:, 3:].sum(1) > env.cues
        return starts

    return Task((), 3 + env.cues, env.observation_space, env.action_space, step, observe, draw, given)
