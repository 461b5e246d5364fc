"""Policy and critic without memory: two networks of two hidden layers, tanh, as in Stable-Baselines3's MlpPolicy."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lfcs.study.jax import cartpole
from lfcs.study.jax.acting import Model

UNITS = 64


class Dense(NamedTuple):
    """A layer."""

    w: jax.Array  # [from, to]
    b: jax.Array  # [to]


def dense(key: jax.Array, given: int, units: int, gain: float) -> Dense:
    """Draw a layer with orthogonal weights."""
    return Dense(jax.nn.initializers.orthogonal(gain)(key, (given, units)), jnp.zeros(units))


def apply(layer: Dense, x: jax.Array) -> jax.Array:
    """Return x W + b [..., to]."""
    return x @ layer.w + layer.b


def begin(key: jax.Array) -> tuple[list[Dense], list[Dense]]:
    """Draw the layers of policy and critic."""
    layers = []
    for own, (outputs, gain) in zip(jax.random.split(key), ((cartpole.ACTIONS, 0.01), (1, 1.0)), strict=True):
        sizes = (cartpole.NUMBERS, UNITS, 2**0.5), (UNITS, UNITS, 2**0.5), (UNITS, outputs, gain)
        layers.append([dense(k, *size) for k, size in zip(jax.random.split(own, 3), sizes, strict=True)])
    return layers[0], layers[1]


def outputs(layers: list[Dense], x: jax.Array) -> jax.Array:
    """Return what a network gives [..., outputs]."""
    for layer in layers[:-1]:
        x = jnp.tanh(apply(layer, x))
    return apply(layers[-1], x)


def over_time(weights: Any, start: Any, x: jax.Array, reset: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return logits [..., K] and values [...] for observations [..., D]."""
    policy, critic = weights
    return outputs(policy, x), outputs(critic, x)[..., 0]


def step(weights: Any, state: Any, x: jax.Array, reset: jax.Array) -> tuple[Any, jax.Array, jax.Array]:
    """See :class:`lfcs.study.jax.acting.Model`."""
    return state, *over_time(weights, state, x, reset)


MODEL = Model(lambda batch: (), step)
