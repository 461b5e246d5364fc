"""Swinging a pendulum up and holding it, as gymnasium's PendulumEnv has it.

State [θ, ω], θ = 0 upright; observed are cos θ, sin θ and ω. A torque a is clipped to ±2 as u, in single precision:

    reward = -(θ_wrapped² + 0.1 ω² + 0.001 u²),   θ_wrapped in [-π, π)
    ω ← clip(ω + (15 sin θ + 3 u) · 0.05, ±8),   θ ← θ + 0.05 ω

It never terminates.
"""

from __future__ import annotations

import math

import gymnasium
import numpy as np

from lfcs.envs.classic.base import Task, observe_pointer, step_pointer

TICK = 0.05  # s
TORQUE = 2.0
TOP = 8.0  # rad/s


@step_pointer
def step(state: np.ndarray, action: np.ndarray, obs: np.ndarray, outcome: np.ndarray) -> None:
    """See :class:`Task`."""
    angle, spin = state[0], state[1]
    torque = min(max(np.float32(action[0]), np.float32(-TORQUE)), np.float32(TORQUE))
    two = 2.0 + 0.0 * spin  # no constant: the compiler would multiply, which rounds otherwise than numpy's power
    wrapped = (angle + math.pi) % (2.0 * math.pi) - math.pi
    effort = np.float32(0.001) * torque ** np.float32(two)
    outcome[0] = -(wrapped**two + 0.1 * spin**two + effort)
    outcome[1] = 0.0
    spin = spin + (15.0 * math.sin(angle) + np.float32(3.0) * torque) * TICK
    spin = min(max(spin, -TOP), TOP)
    angle = angle + spin * TICK
    state[0], state[1] = angle, spin
    obs[0], obs[1], obs[2] = math.cos(angle), math.sin(angle), spin


@observe_pointer
def observe(state: np.ndarray, obs: np.ndarray) -> None:
    """See :class:`Task`."""
    obs[0], obs[1], obs[2] = math.cos(state[0]), math.sin(state[0]), state[1]


def draw(np_random: np.random.Generator, count: int) -> np.ndarray:
    """Return starts, θ uniform in ±π and ω in ±1."""
    most = np.array([np.pi, 1.0])
    return np_random.uniform(-most, most, (count, 2))


_MOST = np.array([1.0, 1.0, TOP], np.float32)
_SPACES = gymnasium.spaces.Box(-_MOST, _MOST, dtype=np.float32), gymnasium.spaces.Box(-TORQUE, TORQUE, (1,), np.float32)

TASKS = (Task(("Pendulum-v1",), 2, *_SPACES, step, observe, draw),)
