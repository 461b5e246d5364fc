"""Policy and critic on a gated recurrent unit: a layer of 128, a GRU of 128, a hidden layer of 128 for each output.

    r = σ(W_r x + U_r h + b_r) ,  s = σ(W_s x + U_s h + b_s) ,  n = tanh(W_n x + b_n + r (U_n h + c_n))
    h ← (1 - s) n + s h

Source: Cho et al., arXiv:1406.1078, in the form of Chung et al., arXiv:1412.3555, with the reset after the product.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lfcs.study.jax import cartpole
from lfcs.study.jax.acting import Model
from lfcs.study.jax.mlp import Dense, apply, dense

UNITS = 128


class Weights(NamedTuple):
    """All layers; those of the gates hold r, s and n side by side."""

    embed: Dense
    given: Dense  # [128, 3 · 128] W with the biases
    recurrent: jax.Array  # [128, 3 · 128] U
    bias: jax.Array  # [128] c_n
    policy: tuple[Dense, Dense]
    critic: tuple[Dense, Dense]


def begin(key: jax.Array) -> Weights:
    """Draw all layers; the recurrent weights are orthogonal, those of the gates' inputs normal."""
    keys, draw = jax.random.split(key, 9), jax.nn.initializers.orthogonal()
    given = Dense(jax.random.normal(keys[0], (UNITS, 3 * UNITS)) * UNITS**-0.5, jnp.zeros(3 * UNITS))
    recurrent = jnp.concatenate([draw(k, (UNITS, UNITS)) for k in keys[1:4]], axis=1)
    policy = dense(keys[4], UNITS, UNITS, 2.0), dense(keys[5], UNITS, cartpole.ACTIONS, 0.01)
    critic = dense(keys[6], UNITS, UNITS, 2.0), dense(keys[7], UNITS, 1, 1.0)
    return Weights(dense(keys[8], cartpole.NUMBERS, UNITS, 2**0.5), given, recurrent, jnp.zeros(UNITS), policy, critic)


def gates(weights: Weights, x: jax.Array) -> jax.Array:
    """Return what the gates are given by observations [..., D]: [..., 3 · 128]."""
    return apply(weights.given, jax.nn.relu(apply(weights.embed, x)))


def cell(weights: Weights, h: jax.Array, given: jax.Array, reset: jax.Array) -> jax.Array:
    """Return the next h [B, 128], cleared before where ``reset`` [B] is true."""
    h = jnp.where(reset[:, None], 0.0, h)
    of_r, of_s, of_n = jnp.split(given, 3, axis=1)
    from_r, from_s, from_n = jnp.split(h @ weights.recurrent, 3, axis=1)
    r, s = jax.nn.sigmoid(of_r + from_r), jax.nn.sigmoid(of_s + from_s)
    n = jnp.tanh(of_n + r * (from_n + weights.bias))
    return (1.0 - s) * n + s * h


def read(weights: Weights, h: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return logits [..., K] and values [...]."""
    logits, value = (apply(last, jax.nn.relu(apply(hidden, h))) for hidden, last in (weights.policy, weights.critic))
    return logits, value[..., 0]


def step(weights: Weights, h: jax.Array, x: jax.Array, reset: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """See :class:`lfcs.study.jax.acting.Model`."""
    h = cell(weights, h, gates(weights, x), reset)
    return h, *read(weights, h)


def over_time(weights: Weights, start: jax.Array, x: jax.Array, reset: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return logits [T, B, K] and values [T, B]: all steps at once but for the recurrence."""

    def one(h: jax.Array, given: Any) -> tuple[jax.Array, jax.Array]:
        h = cell(weights, h, *given)
        return h, h

    return read(weights, lax.scan(one, start, (gates(weights, x), reset), unroll=4)[1])


MODEL = Model(lambda batch: jnp.zeros((batch, UNITS)), step)
