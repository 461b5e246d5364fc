"""The car in the valley with a force to choose, as gymnasium's Continuous_MountainCarEnv has it.

State [x, v, whether the episode has just begun]. A force a, clipped to ±1 as f, drives:

    v ← clip(v + 0.0015 f - 0.0025 cos 3x, ±0.07),   x ← clip(x + v, -1.2, 0.6)

The left wall stops the car. It terminates where x ≥ 0.45 and v ≥ 0. Reward -0.1 a², and 100 at the end.

gymnasium keeps x and v in single precision, but a start in double: the first step of an episode is computed in double
precision and later ones in single. A force within bounds is single, a clipped one is not.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np

from lfcs.envs.classic.base import Task, compiled, observe_pointer, step_pointer

POWER, GRAVITY = 0.0015, 0.0025
LEFT, RIGHT, GOAL = -1.2, 0.6, 0.45
TOP = 0.07  # speed


@compiled
def advance(x: Any, v: Any, dv: Any, top: Any, left: Any, right: Any, goal: Any) -> tuple[Any, Any, bool]:
    """Return x, v and whether it terminated, in the precision that all arguments share."""
    v = min(max(v + dv, -top), top)
    x = min(max(x + v, left), right)
    if x == left and v < 0:
        v = v * 0
    return x, v, x >= goal and v >= 0


@step_pointer
def step(state: np.ndarray, action: np.ndarray, obs: np.ndarray, outcome: np.ndarray) -> None:
    """See :class:`Task`."""
    force = np.float32(action[0])
    begun = state[2] != 0.0
    at = 3.0 * state[0] if begun else np.float64(np.float32(3.0) * np.float32(state[0]))
    slope = GRAVITY * math.cos(at)
    if force < -1.0 or force > 1.0:
        dv = (-POWER if force < 0.0 else POWER) - slope
    else:
        dv = np.float64(force * np.float32(POWER) - np.float32(slope))
    if begun:
        x, v, over = advance(state[0], state[1], dv, TOP, LEFT, RIGHT, GOAL)
        obs[0], obs[1] = x, v
    else:
        low, high, goal = np.float32(LEFT), np.float32(RIGHT), np.float32(GOAL)
        single, pace = np.float32(state[0]), np.float32(state[1])
        obs[0], obs[1], over = advance(single, pace, np.float32(dv), np.float32(TOP), low, high, goal)
    state[0], state[1], state[2] = obs[0], obs[1], 0.0
    outcome[0] = (100.0 if over else 0.0) - action[0] * action[0] * 0.1
    outcome[1] = 1.0 if over else 0.0


@observe_pointer
def observe(state: np.ndarray, obs: np.ndarray) -> None:
    """See :class:`Task`."""
    obs[0], obs[1] = state[0], state[1]


def draw(np_random: np.random.Generator, count: int) -> np.ndarray:
    """Return starts, x uniform in [-0.6, -0.4] and at rest."""
    starts = np.zeros((count, 3))
    starts[:, 0] = np_random.uniform(-0.6, -0.4, count)
    starts[:, 2] = 1.0
    return starts


_SPACE = gymnasium.spaces.Box(np.array([LEFT, -TOP], np.float32), np.array([RIGHT, TOP], np.float32), dtype=np.float32)
_FORCE = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

TASKS = (Task(("MountainCarContinuous-v0",), 3, _SPACE, _FORCE, step, observe, draw),)
