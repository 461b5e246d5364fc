"""CartPole-v1 as arrays: B carts, each started afresh when its episode has ended.

Source: Barto, Sutton & Anderson (1983), with the constants, the Euler steps and the limits of gymnasium's CartPole-v1.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

GRAVITY, MASS, POLE_MASS, HALF_LENGTH, FORCE, TAU = 9.8, 1.1, 0.1, 0.5, 10.0, 0.02  # MASS is of cart and pole
FAR, TILTED, LIMIT = 2.4, 12 * 2 * jnp.pi / 360, 500
NUMBERS, ACTIONS = 4, 2
BOUNDS = 2 * FAR, jnp.inf, 2 * TILTED, jnp.inf


class Carts(NamedTuple):
    """B carts in the middle of their episodes; what is observed is the whole state."""

    state: jax.Array  # [B, 4] position, velocity, angle, angular velocity
    age: jax.Array  # [B] steps since the begin of the episode


class Outcome(NamedTuple):
    """What a step led to."""

    following: jax.Array  # [B, 4] the next state, before any new begin
    terminated: jax.Array  # [B]
    truncated: jax.Array  # [B]


def fresh(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw states at the begin of an episode [..., 4]."""
    return jax.random.uniform(key, (*shape, NUMBERS), minval=-0.05, maxval=0.05)


def begin(key: jax.Array, batch: int) -> Carts:
    """Return ``batch`` carts at the begin of an episode."""
    return Carts(fresh(key, (batch,)), jnp.zeros(batch, jnp.int32))


def motion(state: jax.Array, action: jax.Array) -> jax.Array:
    """Return the state [B, 4] one time step τ after ``action`` [B], 0 to the left and 1 to the right.

    θ'' = (g sin θ - q cos θ) / (l (4/3 - m cos²θ / M)) ,  x'' = q - m l θ'' cos θ / M ,  q = (F + m l θ'² sin θ) / M
    """
    x, v, angle, spin = state.T
    force = jnp.where(action == 1, FORCE, -FORCE)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    push = (force + POLE_MASS * HALF_LENGTH * spin**2 * sin) / MASS
    turn = (GRAVITY * sin - cos * push) / (HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * cos**2 / MASS))
    pull = push - POLE_MASS * HALF_LENGTH * turn * cos / MASS
    return jnp.stack((x + TAU * v, v + TAU * pull, angle + TAU * spin, spin + TAU * turn), axis=1)


def step(carts: Carts, action: jax.Array, new: jax.Array) -> tuple[Carts, Outcome]:
    """Step every cart; one whose episode ends goes on in the state ``new`` [B, 4]. The reward is always 1."""
    following, age = motion(carts.state, action), carts.age + 1
    terminated = (jnp.abs(following[:, 0]) > FAR) | (jnp.abs(following[:, 2]) > TILTED)
    truncated = age >= LIMIT  # as in gymnasium, an episode may both fail and reach the limit
    ended = terminated | truncated
    carts = Carts(jnp.where(ended[:, None], new, following), jnp.where(ended, 0, age))
    return carts, Outcome(following, terminated, truncated)
