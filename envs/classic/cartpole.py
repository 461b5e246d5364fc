"""Balancing a pole on a cart: Barto, Sutton & Anderson 1983 (IEEE Trans. SMC-13), as gymnasium's CartPoleEnv has it.

State [x, ẋ, θ, θ̇] in m and rad. A force F = ±10 N pushes the cart. With the masses m (pole), M (both), half length l:

    p = (F + m l θ̇² sin θ) / M
    θ̈ = (g sin θ - p cos θ) / (l (4/3 - m cos² θ / M))
    ẍ = p - m l θ̈ cos θ / M

(Florian 2007, coneural.org/florian/papers/05_cart_pole.pdf), by Euler's steps of 20 ms. It terminates where |x| > 2.4
or |θ| > 12°. Reward 1 a step; with Sutton & Barto's, 0 and at the end -1.
"""

from __future__ import annotations

import math

import gymnasium
import numpy as np

from lfcs.envs.classic.base import Task, compiled, observe_pointer, step_pointer

GRAVITY = 9.8  # m/s²
POLE = 0.1  # kg
BOTH = 0.1 + 1.0  # kg
HALF = 0.5  # m
MOMENT = POLE * HALF  # kg m
FORCE = 10.0  # N
TICK = 0.02  # s
TRACK = 2.4  # m
LEAN = 12 * 2 * math.pi / 360


@compiled
def advance(state: np.ndarray, action: np.ndarray) -> bool:
    """Advance a state; return whether it terminated."""
    x, speed, angle, spin = state[0], state[1], state[2], state[3]
    cos, sin = math.cos(angle), math.sin(angle)
    force = FORCE if action[0] == 1.0 else -FORCE
    push = (force + MOMENT * (spin * spin) * sin) / BOTH
    turn = (GRAVITY * sin - cos * push) / (HALF * (4.0 / 3.0 - POLE * (cos * cos) / BOTH))
    pull = push - MOMENT * turn * cos / BOTH
    state[0] = x + TICK * speed
    state[1] = speed + TICK * pull
    state[2] = angle + TICK * spin
    state[3] = spin + TICK * turn
    return abs(state[0]) > TRACK or abs(state[2]) > LEAN


@compiled
def show(state: np.ndarray, obs: np.ndarray) -> None:
    """Write the observation of a state."""
    for i in range(4):
        obs[i] = state[i]


@step_pointer
def step(state: np.ndarray, action: np.ndarray, obs: np.ndarray, outcome: np.ndarray) -> None:
    """See :class:`Task`."""
    outcome[1] = 1.0 if advance(state, action) else 0.0
    outcome[0] = 1.0
    show(state, obs)


@step_pointer
def step_sutton_barto(state: np.ndarray, action: np.ndarray, obs: np.ndarray, outcome: np.ndarray) -> None:
    """See :class:`Task`."""
    outcome[1] = 1.0 if advance(state, action) else 0.0
    outcome[0] = -1.0 if outcome[1] == 1.0 else 0.0
    show(state, obs)


@observe_pointer
def observe(state: np.ndarray, obs: np.ndarray) -> None:
    """See :class:`Task`."""
    show(state, obs)


def draw(np_random: np.random.Generator, count: int) -> np.ndarray:
    """Return starts, each number uniform in ±0.05."""
    return np_random.uniform(-0.05, 0.05, (count, 4))


_FAR = np.array([TRACK * 2, np.inf, LEAN * 2, np.inf], np.float32)
_SPACES = gymnasium.spaces.Box(-_FAR, _FAR, dtype=np.float32), gymnasium.spaces.Discrete(2)
_IDS = "CartPole-v0", "CartPole-v1"

TASKS = (
    Task(_IDS, 4, *_SPACES, step, observe, draw),
    Task(_IDS, 4, *_SPACES, step, observe, draw, {"sutton_barto_reward": False}),
    Task((), 4, *_SPACES, step_sutton_barto, observe, draw, {"sutton_barto_reward": True}),
)
