"""Encoders of observations as pure functions: statistics in, statistics out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lfcs.config import EncoderConfig
from lfcs.study.jax import cartpole


class Encoder(NamedTuple):
    """What makes input currents [B, size] of observations [B, 4]."""

    size: int
    start: Callable[[], Any]  # -> statistics before the first observation
    observe: Callable[[Any, jax.Array], Any]
    encode: Callable[[Any, jax.Array], jax.Array]


class Moments(NamedTuple):
    """Running moments per observed number."""

    count: jax.Array
    mean: jax.Array
    m2: jax.Array


def include(moments: Moments, batch: jax.Array) -> Moments:
    """Include a batch [B, n], by the parallel update of Chan et al. (1979)."""
    count = len(batch)
    delta = batch.mean(0) - moments.mean
    total = moments.count + count
    m2 = moments.m2 + batch.var(0) * count + delta**2 * moments.count * count / total
    return Moments(total, moments.mean + delta * count / total, m2)


def standardise(moments: Moments, batch: jax.Array) -> jax.Array:
    """Return (x - mean)/std [B, n], clipped to [-10, 10]; a constant number gives 0."""
    std = jnp.sqrt(moments.m2 / jnp.maximum(moments.count, 1.0))
    return jnp.clip((batch - moments.mean) / jnp.where(std > 1e-8, std, 1.0), -10.0, 10.0)


def population(config: EncoderConfig) -> Encoder:
    """Return the population code of :class:`lfcs.envs.encoders.Population` for CartPole.

    Position and angle are scaled by their bounds; the two velocities, which have none, by running moments.
    """
    centres = np.linspace(-1.0, 1.0, config.cells)
    precision = 0.5 / (config.width * 2.0 / (config.cells - 1)) ** 2
    bounds, free = jnp.array(cartpole.BOUNDS), np.array([1, 3])

    def observe(moments: Moments, obs: jax.Array) -> Moments:
        return include(moments, obs[:, free])

    def encode(moments: Moments, obs: jax.Array) -> jax.Array:
        scaled = (obs / bounds).at[:, free].set(standardise(moments, obs[:, free]) / 3.0)
        distance = jnp.clip(scaled, -1.0, 1.0)[:, :, None] - centres
        return jnp.exp(-precision * distance**2).reshape(len(obs), -1)

    def start() -> Moments:
        return Moments(jnp.zeros(()), jnp.zeros(len(free)), jnp.zeros(len(free)))

    return Encoder(cartpole.NUMBERS * config.cells, start, observe, encode)


def identity() -> Encoder:
    """Return the encoder that leaves observations as they are."""
    return Encoder(cartpole.NUMBERS, lambda: (), lambda statistics, obs: statistics, lambda statistics, obs: obs)
