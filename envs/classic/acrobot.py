"""Swinging up two links by the joint between them: Sutton 1996 (NeurIPS 8), as gymnasium's AcrobotEnv has it.

State [θ₁, θ₂, ω₁, ω₂, cos θ₁, sin θ₁, cos θ₂, sin θ₂]; θ₁ = 0 hangs down, θ₂ is relative to the first link. Both
links have mass, length and moment of inertia 1, their centres at 1/2, g = 9.8; action k puts the torque τ = k - 1 on
the joint:

    d₁ = 3.5 + cos θ₂,   d₂ = 1.25 + cos θ₂ / 2,   φ₂ = 4.9 cos(θ₁ + θ₂ - π/2)
    φ₁ = -ω₂² sin θ₂ / 2 - ω₁ ω₂ sin θ₂ + 14.7 cos(θ₁ - π/2) + φ₂
    ω̇₂ = (τ + φ₁ d₂/d₁ - ω₁² sin θ₂ / 2 - φ₂) / (1.25 - d₂²/d₁),   ω̇₁ = -(d₂ ω̇₂ + φ₁) / d₁

the book's equations (Sutton & Barto 1998, ch. 11), by one step of 0.2 s of the Runge-Kutta method of fourth order; then
angles are wrapped to ±π and speeds clipped to ±4π and ±9π. It terminates where the tip is high enough,
-cos θ₁ - cos(θ₁ + θ₂) > 1. Reward -1 a step, 0 at the end.

What is observed stands in the state, because gymnasium computes it in single precision at a start and in double later.
"""

from __future__ import annotations

import math

import gymnasium
import numpy as np

from lfcs.envs.classic.base import Task, compiled, observe_pointer, step_pointer

PI = math.pi
TICK = 0.2  # s
TOP_1, TOP_2 = 4 * PI, 9 * PI  # rad/s
WEIGHT_1, WEIGHT_2 = (1.0 * 0.5 + 1.0 * 1.0) * 9.8, 1.0 * 0.5 * 9.8


@compiled
def accelerations(angle_1: float, angle_2: float, spin_1: float, spin_2: float, torque: float) -> tuple[float, float]:
    """Return ω̇₁ and ω̇₂."""
    two = 2.0 + 0.0 * spin_1  # no constant: the compiler would multiply, which rounds otherwise than numpy's power
    cos, sin = math.cos(angle_2), math.sin(angle_2)
    d_1 = 0.25 + (1.25 + cos) + 1.0 + 1.0
    d_2 = (0.25 + 0.5 * cos) + 1.0
    phi_2 = WEIGHT_2 * math.cos(angle_1 + angle_2 - PI / 2.0)
    phi_1 = -0.5 * spin_2**two * sin - spin_2 * spin_1 * sin + WEIGHT_1 * math.cos(angle_1 - PI / 2) + phi_2
    rest = 1.25 - d_2**two / d_1
    turn_2 = (torque + d_2 / d_1 * phi_1 - 0.5 * spin_1**two * sin - phi_2) / rest
    return -(d_2 * turn_2 + phi_1) / d_1, turn_2


@compiled
def wrapped(angle: float) -> float:
    """Return an angle brought within ±π by whole turns."""
    while angle > PI:
        angle = angle - 2 * PI
    while angle < -PI:
        angle = angle + 2 * PI
    return angle


@compiled
def average(k_1: float, k_2: float, k_3: float, k_4: float) -> float:
    """Return what the method of fourth order makes of four slopes, times the step."""
    return TICK / 6.0 * (k_1 + 2.0 * k_2 + 2.0 * k_3 + k_4)


@compiled
def show(state: np.ndarray, obs: np.ndarray) -> None:
    """Write the observation of a state."""
    for k in range(4):
        obs[k] = state[4 + k]
    obs[4], obs[5] = state[2], state[3]


@step_pointer
def step(state: np.ndarray, action: np.ndarray, obs: np.ndarray, outcome: np.ndarray) -> None:
    """See :class:`Task`."""
    a, b, u, v = state[0], state[1], state[2], state[3]
    torque, half = action[0] - 1.0, TICK / 2.0
    p_1, q_1 = accelerations(a, b, u, v, torque)
    u_2, v_2 = u + half * p_1, v + half * q_1
    p_2, q_2 = accelerations(a + half * u, b + half * v, u_2, v_2, torque)
    u_3, v_3 = u + half * p_2, v + half * q_2
    p_3, q_3 = accelerations(a + half * u_2, b + half * v_2, u_3, v_3, torque)
    u_4, v_4 = u + TICK * p_3, v + TICK * q_3
    p_4, q_4 = accelerations(a + TICK * u_3, b + TICK * v_3, u_4, v_4, torque)
    a, b = wrapped(a + average(u, u_2, u_3, u_4)), wrapped(b + average(v, v_2, v_3, v_4))
    state[0], state[1] = a, b
    state[2] = min(max(u + average(p_1, p_2, p_3, p_4), -TOP_1), TOP_1)
    state[3] = min(max(v + average(q_1, q_2, q_3, q_4), -TOP_2), TOP_2)
    state[4], state[5], state[6], state[7] = math.cos(a), math.sin(a), math.cos(b), math.sin(b)
    over = -state[4] - math.cos(b + a) > 1.0
    outcome[0], outcome[1] = (0.0, 1.0) if over else (-1.0, 0.0)
    show(state, obs)


@observe_pointer
def observe(state: np.ndarray, obs: np.ndarray) -> None:
    """See :class:`Task`."""
    show(state, obs)


def draw(np_random: np.random.Generator, count: int) -> np.ndarray:
    """Return starts, every number uniform in ±0.1."""
    first = np_random.uniform(-0.1, 0.1, (count, 4)).astype(np.float32)
    starts = np.empty((count, 8))
    starts[:, :4] = first
    starts[:, 4:] = np.stack([np.cos(first[:, :2]), np.sin(first[:, :2])], -1).reshape(count, 4)
    return starts


_MOST = np.array([1.0, 1.0, 1.0, 1.0, TOP_1, TOP_2], np.float32)
_SPACES = gymnasium.spaces.Box(-_MOST, _MOST, dtype=np.float32), gymnasium.spaces.Discrete(3)

TASKS = (Task(("Acrobot-v1",), 8, *_SPACES, step, observe, draw),)
