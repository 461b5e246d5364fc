"""Adam on gradients clipped to a global norm, over any tree of arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

BETA_1, BETA_2 = 0.9, 0.999


class Moments(NamedTuple):
    """Steps taken, and the two moments, of the shape of the weights."""

    steps: jax.Array
    first: Any
    second: Any


def begin(weights: Any) -> Moments:
    """Return the state before the first step."""
    zeros = jax.tree.map(jnp.zeros_like, weights)
    return Moments(jnp.zeros((), jnp.int32), zeros, jax.tree.map(jnp.zeros_like, weights))


def ascend(
    weights: Any, moments: Moments, gradient: Any, rates: Any, max_norm: float, eps: float = 1e-8
) -> tuple[Any, Moments, jax.Array]:
    """Return weights and moments a step later, and the norm of the gradient; ``rates`` is a tree as the weights.

        g ← g · min(1, c / |g|) ,  m ← β₁ m + (1 - β₁) g ,  v ← β₂ v + (1 - β₂) g² ,  w ← w + η m̂ / (√v̂ + ε)

    Source: Kingma & Ba 2015, algorithm 1, with the sign of ascent.
    """
    norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient)))
    scale = jnp.minimum(1.0, max_norm / (norm + 1e-6))
    steps = moments.steps + 1
    first = jax.tree.map(lambda m, g: BETA_1 * m + (1.0 - BETA_1) * (scale * g), moments.first, gradient)
    second = jax.tree.map(lambda v, g: BETA_2 * v + (1.0 - BETA_2) * (scale * g) ** 2, moments.second, gradient)
    unbias = 1.0 - BETA_1 ** steps.astype(norm.dtype), (1.0 - BETA_2 ** steps.astype(norm.dtype)) ** -0.5

    def moved(w: jax.Array, m: jax.Array, v: jax.Array, rate: jax.Array) -> jax.Array:
        return w + rate / unbias[0] * m / (jnp.sqrt(v) * unbias[1] + eps)

    return jax.tree.map(moved, weights, first, second, rates), Moments(steps, first, second), norm
