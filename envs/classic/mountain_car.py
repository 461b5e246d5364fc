"""A weak car in a valley: Moore 1990 (PhD thesis, Cambridge), as gymnasium's MountainCarEnv has it.

State [x, v]. Action k of 0, 1, 2 drives to the left, not at all, or to the right:

    v ← clip(v + 0.001 (k - 1) - 0.0025 cos 3x, ±0.07),   x ← clip(x + v, -1.2, 0.6)

The left wall stops the car. It terminates where x ≥ 0.5 and v ≥ 0. Reward -1 a step.
"""

from __future__ import annotations

import math

import gymnasium
import numpy as np

from lfcs.envs.classic.base import Task, observe_pointer, step_pointer

FORCE, GRAVITY = 0.001, 0.0025
LEFT, RIGHT, GOAL = -1.2, 0.6, 0.5
TOP = 0.07  # speed


@step_pointer
def step(state: np.ndarray, action: np.ndarray, obs: np.ndarray, outcome: np.ndarray) -> None:
    """See :class:`Task`."""
    x, v = state[0], state[1]
    v += (action[0] - 1.0) * FORCE + math.cos(3.0 * x) * -GRAVITY
    v = min(max(v, -TOP), TOP)
    x = min(max(x + v, LEFT), RIGHT)
    if x == LEFT and v < 0.0:
        v = 0.0
    state[0], state[1] = x, v
    obs[0], obs[1] = x, v
    outcome[0] = -1.0
    outcome[1] = 1.0 if x >= GOAL and v >= 0.0 else 0.0


@observe_pointer
def observe(state: np.ndarray, obs: np.ndarray) -> None:
    """See :class:`Task`."""
    obs[0], obs[1] = state[0], state[1]


def draw(np_random: np.random.Generator, count: int) -> np.ndarray:
    """Return starts, x uniform in [-0.6, -0.4] and at rest."""
    starts = np.zeros((count, 2))
    starts[:, 0] = np_random.uniform(-0.6, -0.4, count)
    return starts


_SPACE = gymnasium.spaces.Box(np.array([LEFT, -TOP], np.float32), np.array([RIGHT, TOP], np.float32), dtype=np.float32)

TASKS = (Task(("MountainCar-v0",), 2, _SPACE, gymnasium.spaces.Discrete(3), step, observe, draw),)
