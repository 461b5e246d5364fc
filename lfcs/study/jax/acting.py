"""A policy acts in CartPole: a window of experience, and the return of greedy episodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lfcs.study.jax import cartpole
from lfcs.study.jax.encoders import Encoder


class Model(NamedTuple):
    """A policy with a critic and a state, as pure functions."""

    start: Callable[[int], Any]  # B -> state at rest
    step: Callable[[Any, Any, jax.Array, jax.Array], tuple[Any, jax.Array, jax.Array]]
    # (parameters, state, x [B, D], reset [B]) -> state, logits [B, K], value [B]


class Life(NamedTuple):
    """B environments and the policy's state in them, between two windows."""

    carts: cartpole.Carts
    begun: jax.Array  # [B] whether the next step begins an episode
    state: Any
    statistics: Any
    key: jax.Array


class Lived(NamedTuple):
    """A window of T steps, in order of time; see :class:`lfcs.trajectory.Trajectory`."""

    x: jax.Array  # [T, B, D]
    action: jax.Array  # [T, B]
    logp: jax.Array  # [T, B] log π(a) when acting
    value: jax.Array  # [T, B]
    bootstrap: jax.Array  # [T, B] V of the next observation where ``final``, else 0
    reward: jax.Array  # [T, B]
    terminated: jax.Array  # [T, B]
    truncated: jax.Array  # [T, B]
    reset: jax.Array  # [T, B]
    final: jax.Array  # [T] whether an episode was truncated in this step, or the window ends with it
    following: jax.Array  # [T, B, D] the next observation, before any new begin, where ``final``, else 0


def begin(model: Model, encoder: Encoder, batch: int, key: jax.Array) -> Life:
    """Return ``batch`` environments at the begin of an episode."""
    key, own = jax.random.split(key)
    begun = jnp.ones(batch, bool)
    return Life(cartpole.begin(own, batch), begun, model.start(batch), encoder.start(), key)


def log_prob(logits: jax.Array, action: jax.Array) -> jax.Array:
    """Return log π(a) [...] for logits [..., K]."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), action[..., None], axis=-1)[..., 0]


def sample(logits: jax.Array, uniform: jax.Array) -> jax.Array:
    """Draw actions [B] by inverting the cumulative distribution at ``uniform`` [B]."""
    below = jnp.cumsum(jax.nn.softmax(logits), axis=-1) <= uniform[:, None]
    return jnp.minimum(below.sum(-1), logits.shape[-1] - 1)


def collect(model: Model, encoder: Encoder, parameters: Any, life: Life, steps: int) -> tuple[Life, Lived]:
    """Act for ``steps`` steps in every environment, with sampled actions."""
    batch = len(life.begun)
    key, first, second = jax.random.split(life.key, 3)
    chance = jax.random.uniform(first, (steps, batch)), cartpole.fresh(second, (steps, batch))

    def act(carry: Any, given: Any) -> tuple[Any, Lived]:
        (carts, begun, state, statistics), (uniform, new, last) = carry, given
        statistics = encoder.observe(statistics, carts.state)
        x = encoder.encode(statistics, carts.state)
        state, logits, value = model.step(parameters, state, x, begun)
        action = sample(logits, uniform)
        carts, (following, terminated, truncated) = cartpole.step(carts, action, new)

        def look() -> tuple[jax.Array, jax.Array]:
            x = encoder.encode(statistics, following)
            return x, model.step(parameters, state, x, jnp.zeros_like(begun))[2]

        final = last | truncated.any()
        next_x, bootstrap = lax.cond(final, look, lambda: (jnp.zeros_like(x), jnp.zeros_like(value)))
        logp, reward = log_prob(logits, action), jnp.ones_like(value)
        seen = x, action, logp, value, bootstrap, reward, terminated, truncated, begun, final, next_x
        return (carts, terminated | truncated, state, statistics), Lived(*seen)

    carry, lived = lax.scan(act, life[:4], (*chance, jnp.arange(steps) == steps - 1))
    carts, begun, state, statistics = carry
    return Life(carts, begun, state, statistics, key), lived


def play(model: Model, encoder: Encoder, parameters: Any, statistics: Any, key: jax.Array, episodes: int) -> jax.Array:
    """Return the mean return of greedy episodes, side by side, the encoder's statistics as they are."""
    life = begin(model, encoder, episodes, key)
    new = jnp.zeros((episodes, cartpole.NUMBERS))

    def going(carry: Any) -> jax.Array:
        return carry[3].any()

    def act(carry: Any) -> Any:
        carts, begun, state, running, total = carry
        x = encoder.encode(statistics, carts.state)
        state, logits, _ = model.step(parameters, state, x, begun)
        carts, (_, terminated, truncated) = cartpole.step(carts, logits.argmax(-1), new)
        ended = terminated | truncated
        return carts, ended, state, running & ~ended, total + running

    start = life.carts, life.begun, life.state, jnp.ones(episodes, bool), jnp.zeros(episodes)
    return lax.while_loop(going, act, start)[-1].mean()


def advantages(lived: Lived, value: jax.Array, bootstrap: jax.Array, gamma: float, lam: float) -> jax.Array:
    """Return A_t = δ_t + γλ A_{t+1} [T, B], the sum stopping at the end of an episode.

        δ_t = r_t + γ V(s_{t+1}) - V(s_t)

    V(s_{t+1}) is 0 after a termination and ``bootstrap`` after a truncation and at the window's end.
    Source: Schulman et al., arXiv:1506.02438, eq. (16).
    """
    ends = lived.terminated | lived.truncated
    following = jnp.concatenate((value[1:], bootstrap[-1:]))
    following = jnp.where(lived.terminated, 0.0, jnp.where(ends, bootstrap, following))
    delta = lived.reward + gamma * following - value

    def back(later: jax.Array, given: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        now = given[0] + given[1] * later
        return now, now

    return lax.scan(back, jnp.zeros_like(delta[0]), (delta, gamma * lam * ~ends), reverse=True, unroll=8)[1]
