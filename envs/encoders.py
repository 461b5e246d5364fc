"""Encoders of observations: numbers in, input currents out (float32).

Each has ``size``, ``observe`` (learns running statistics while training), ``encode`` (uses them as they are) and its
state for checkpoints, the protocol of :class:`lfcs.policy.Encoder`.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from lfcs.config import EncoderConfig
from lfcs.names import lookup

LARGE = 1e6  # a bound beyond this is no bound: classic control uses the largest float for "unbounded"


class RunningMoments:
    """Running mean and variance per observed number, by the parallel update of Chan et al. (1979)."""

    def __init__(self, size: int) -> None:
        self.count, self.mean, self.m2 = 0.0, np.zeros(size), np.zeros(size)

    def update(self, batch: np.ndarray) -> None:
        """Include a batch [B, size]."""
        count = len(batch)
        delta = batch.mean(axis=0) - self.mean
        total = self.count + count
        self.m2 += batch.var(axis=0) * count + delta**2 * self.count * count / total
        self.mean += delta * count / total
        self.count = total

    def standardise(self, batch: np.ndarray) -> np.ndarray:
        """Return (x - mean)/std [B, size], clipped to [-10, 10]; a constant number gives 0."""
        std = np.sqrt(self.m2 / max(self.count, 1.0))
        return np.clip((batch - self.mean) / np.where(std > 1e-8, std, 1.0), -10.0, 10.0)


class Identity:
    """The observation, flattened, as it is."""

    def __init__(self, space: gymnasium.spaces.Box, config: EncoderConfig) -> None:
        self.config, self.size = config, int(np.prod(space.shape))

    def observe(self, obs: np.ndarray) -> None:
        """Learn nothing."""

    def encode(self, obs: np.ndarray) -> np.ndarray:
        """Return [B, size]."""
        return obs.reshape(len(obs), -1).astype(np.float32)

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: there is no state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore nothing."""


class Standardised(Identity):
    """(x - mean)/std with running moments over the observations met in training."""

    def __init__(self, space: gymnasium.spaces.Box, config: EncoderConfig) -> None:
        super().__init__(space, config)
        self.moments = RunningMoments(int(np.prod(space.shape)))

    def observe(self, obs: np.ndarray) -> None:
        """Update the running moments."""
        self.moments.update(obs.reshape(len(obs), -1).astype(np.float64))

    def encode(self, obs: np.ndarray) -> np.ndarray:
        """Return [B, size]."""
        return self.moments.standardise(obs.reshape(len(obs), -1).astype(np.float64)).astype(np.float32)

    def state_dict(self) -> dict[str, Any]:
        """Return the running moments."""
        return {"count": self.moments.count, "mean": self.moments.mean, "m2": self.moments.m2}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the running moments."""
        self.moments.count, self.moments.mean, self.moments.m2 = state["count"], state["mean"], state["m2"]


class Population(Standardised):
    """Gaussian population code: x_ij = exp(-(v_i - c_j)² / 2σ²) with ``cells`` centres c_j evenly over [-1, 1].

    v is the observation scaled from its bounds to [-1, 1], or, where the space has no bounds, its standardised value
    divided by 3 and clipped. σ = ``width`` spacings of the centres. Source: Pouget, Dayan & Zemel (2000), and the
    input coding of Bellec et al. (2020).
    """

    def __init__(self, space: gymnasium.spaces.Box, config: EncoderConfig) -> None:
        super().__init__(space, config)
        low, high = (b.reshape(-1).astype(np.float64) for b in (space.low, space.high))
        self.bounded = (np.abs(low) < LARGE) & (np.abs(high) < LARGE) & (high > low)
        low, high = np.where(self.bounded, low, -1.0), np.where(self.bounded, high, 1.0)
        self.centre, self.half = (low + high) / 2, (high - low) / 2
        self.centres = np.linspace(-1.0, 1.0, config.cells, dtype=np.float32)
        self.precision = np.float32(0.5 / (config.width * 2.0 / (config.cells - 1)) ** 2)
        self.size *= config.cells

    def _scaled(self, obs: np.ndarray) -> np.ndarray:
        flat = obs.reshape(len(obs), -1).astype(np.float64)
        free = self.moments.standardise(flat) / 3.0
        return np.clip(np.where(self.bounded, (flat - self.centre) / self.half, free), -1.0, 1.0).astype(np.float32)

    def encode(self, obs: np.ndarray) -> np.ndarray:
        """Return [B, numbers · cells]."""
        distance = self._scaled(obs)[:, :, None] - self.centres
        return np.exp(-self.precision * distance**2).reshape(len(obs), -1)


ENCODERS = {"identity": Identity, "standardised": Standardised, "population": Population}


def make_encoder(space: gymnasium.spaces.Box, config: EncoderConfig) -> Identity:
    """Return the encoder that the settings name, for the observations of ``space``. Raises UserError on an unknown."""
    return lookup(config.kind, ENCODERS, "encoder")(space, config)
