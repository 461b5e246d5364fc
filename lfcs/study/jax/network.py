"""The recurrent network of leaky integrate-and-fire neurons, with the packed weights and the equations of ours.

    u_t = β u_{t-1} + b + W_in x_t + W_rec z_{t-1} - z_{t-1} ,  z_t = H(u_t - 1)
    y_t = y_{t-1} + (1 - κ)(z_t - y_{t-1}) ,  x̄_t = β x̄_{t-1} + [x_t, 1, z_{t-1}] ,  [l_t, V_t] = W_out [y_t, 1]

Source: Bellec et al., Nature Communications 11:3625 (2020), as in lfcs/network.py and lfcs/neurons/lif.py.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lfcs.config import NetworkConfig


class Weights(NamedTuple):
    """A row of ``hidden`` is the fan-out of one source of [x, 1, z]; ``readout`` is [W_pi; w_v] with the biases."""

    hidden: jax.Array  # [D + 1 + N, N]
    readout: jax.Array  # [K + 1, N + 1]


class State(NamedTuple):
    """After a tick, in B environments."""

    spk: jax.Array  # [B, N]
    mem: jax.Array  # [B, N]
    readout: jax.Array  # [B, N]
    trace: jax.Array  # [B, D + 1 + N]


def begin(key: jax.Array, inputs: int, outputs: int, config: NetworkConfig) -> Weights:
    """Draw weights as :class:`lfcs.network.SpikingNetwork` does: normal, no self-connections, biases 0."""
    n, (first, second, third) = config.neurons, jax.random.split(key, 3)
    w_in = jax.random.normal(first, (inputs, n)) * config.input_gain / inputs**0.5
    w_rec = jax.random.normal(second, (n, n)) * (1.0 - jnp.eye(n)) * config.recurrent_gain / n**0.5
    readout = jax.random.normal(third, (outputs + 1, n)) * config.readout_gain / n**0.5
    hidden = jnp.concatenate((w_in, jnp.zeros((1, n)), w_rec))
    return Weights(hidden, jnp.concatenate((readout, jnp.zeros((outputs + 1, 1))), axis=1))


def at_rest(batch: int, inputs: int, neurons: int) -> State:
    """Return the state at rest."""
    zeros = [jnp.zeros((batch, size)) for size in (neurons, neurons, neurons, inputs + 1 + neurons)]
    return State(*zeros)


def input_current(weights: Weights, x: jax.Array) -> jax.Array:
    """Return b + W_in x_t [..., N] for inputs [..., D]."""
    d = x.shape[-1]
    return x @ weights.hidden[:d] + weights.hidden[d]


def tick(
    weights: Weights, config: NetworkConfig, state: State, x: jax.Array, current: jax.Array, reset: jax.Array
) -> State:
    """Return the state a tick later, the ``current`` [B, N] of inputs ``x`` [B, D] at hand."""
    keep = 1.0 - reset.astype(x.dtype)[:, None]
    spk, mem, y, trace = (keep * part for part in state)
    mem = config.beta * mem + current + spk @ weights.hidden[x.shape[1] + 1 :] - spk
    fired = (mem > 1.0).astype(x.dtype)
    pre = jnp.concatenate((x, jnp.ones_like(x[:, :1]), spk), axis=1)
    return State(fired, mem, y + (1.0 - config.kappa) * (fired - y), config.beta * trace + pre)


def read(weights: Weights, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return logits [..., K] and value [...] of readout traces [..., N]."""
    out = y @ weights.readout[:, :-1].T + weights.readout[:, -1]
    return out[..., :-1], out[..., -1]
