"""Encoders that make real currents of observed numbers: as they are, standardised, or a population code."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from lfcs.compiled.act import encode_rows, follow_moments
from lfcs.config import EncoderConfig
from lfcs.errors import UserError
from lfcs.kernels import compiled
from lfcs.pointers import Row
from lfcs.policy import EncoderLoops, encode_pointer
from lfcs.spaces import binary_of

LARGE = 1e6  # a bound beyond this is no bound: classic control uses the largest float for "unbounded"
SEEN, DECLARED, BINARY = 0.0, 1.0, 2.0  # what a number's population code spans


@encode_pointer
def identity(obs: Row, mean: Row, std: Row, constants: Row, out: Row) -> None:
    """x = the observation."""
    for i in range(len(obs)):
        out[i] = obs[i]


@encode_pointer
def standardised(obs: Row, mean: Row, std: Row, constants: Row, out: Row) -> None:
    """x = (obs - mean)/std, clipped to [-10, 10]; as it is where ``constants`` [d], whether it is binary, is not 0."""
    for i in range(len(obs)):
        out[i] = obs[i] if constants[i] != 0.0 else min(max((obs[i] - mean[i]) / std[i], -10.0), 10.0)


@compiled
def place(i: int, d: int, obs: Row, mean: Row, std: Row, constants: Row) -> float:
    """Return where in [-1, 1] the i-th of d numbers lies within what its code spans; see :class:`Spanned`."""
    if constants[2 + i] == DECLARED:
        v = (obs[i] - constants[2 + d + i]) / constants[2 + 2 * d + i]
    else:
        v = min(max((obs[i] - mean[i]) / std[i], -10.0), 10.0) / 3.0
    return min(max(v, -1.0), 1.0)


@compiled
def fill_cells(obs: Row, mean: Row, std: Row, constants: Row, out: Row) -> None:
    """x_ij = exp(-p (v_i - c_j)²), outwards from the nearest centre: neighbours differ by a factor of known ratio.

    A binary number has no cells and is one input as it is.
    """
    cells, p, d = int(constants[0]), constants[1], len(obs)
    gap, at = 2.0 / (cells - 1), 0
    shrinks = math.exp(-2.0 * p * gap * gap)
    for i in range(d):
        if constants[2 + i] == BINARY:
            out[at] = obs[i]
            at += 1
            continue
        v = place(i, d, obs, mean, std, constants)
        nearest = min(round((v + 1.0) / gap), cells - 1)
        away = v + 1.0 - nearest * gap
        first = math.exp(-p * away * away)
        out[at + nearest] = first
        x, ratio = first, math.exp(p * gap * (2.0 * away - gap))
        for j in range(nearest + 1, cells):
            x *= ratio
            ratio *= shrinks
            out[at + j] = x
        x, ratio = first, math.exp(p * gap * (-2.0 * away - gap))
        for j in range(nearest - 1, -1, -1):
            x *= ratio
            ratio *= shrinks
            out[at + j] = x
        at += cells


@encode_pointer
def population(obs: Row, mean: Row, std: Row, constants: Row, out: Row) -> None:
    """See :func:`fill_cells`."""
    fill_cells(obs, mean, std, constants, out)


class Identity:
    """The observation, flattened, as it is."""

    encoding = identity
    follows = False  # whether it keeps running moments

    def __init__(self, space: gymnasium.spaces.Box, config: EncoderConfig) -> None:
        self.config, self.size = config, int(np.prod(space.shape))
        d = self.size if self.follows else 0
        self.observed, self.mean, self.m2 = np.zeros(1), np.zeros(d), np.zeros(d)
        self.far: tuple[int, int] | None = None  # environment and step of the first number that moments did not believe
        self.binary, self.active = binary_of(space)
        self.drive = float(self.size - self.binary.sum() + self.active)
        self.span = float(np.min(space.low)), float(np.max(space.high))  # of all inputs; infinite where it is not known
        self.constants = self.binary.astype(np.float64)

    def loops(self) -> EncoderLoops:
        """Return the compiled form."""
        return EncoderLoops(self.encoding, self.constants, self.observed, self.mean, self.m2)

    def observe(self, obs: np.ndarray) -> None:
        """Update the running moments, where there are any, with a batch of observations [B, ...]."""
        if self.follows:
            before = int(self.observed[0])
            far = follow_moments(_rows(obs), self.observed, self.mean, self.m2)
            self.far = (far, before) if far >= 0 and self.far is None else self.far

    def encode(self, obs: np.ndarray) -> np.ndarray:
        """Return [B, size]."""
        x = np.empty((len(obs), self.size), np.float32)
        encode_rows(self.encoding.address(), self.constants, self.observed, self.mean, self.m2, _rows(obs), x)
        return x

    def encode_tensor(self, obs: Tensor, mean: Tensor, std: Tensor, constants: Tensor) -> Tensor:
        """Return [..., size] of observations [..., d], in their precision and on their device.

        ``mean``, ``std`` and ``constants`` are as in the compiled form, in double precision.
        """
        return obs

    def state_dict(self) -> dict[str, Any]:
        """Return the running moments, where there are any."""
        return {"count": float(self.observed[0]), "mean": self.mean, "m2": self.m2} if self.follows else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the running moments."""
        if self.follows:
            self.observed[0], self.mean[:], self.m2[:] = state["count"], state["mean"], state["m2"]


class Standardised(Identity):
    """(x - mean)/std with running moments over the observations met in training, clipped to [-10, 10].

    The moments follow the parallel update of Chan et al. (1979); a constant number gives 0, a binary one itself.
    """

    encoding = standardised
    follows = True

    def __init__(self, space: gymnasium.spaces.Box, config: EncoderConfig) -> None:
        super().__init__(space, config)
        self.span = -10.0, 10.0

    def encode_tensor(self, obs: Tensor, mean: Tensor, std: Tensor, constants: Tensor) -> Tensor:
        """See :meth:`Identity.encode_tensor`."""
        x = ((obs - mean) / std).clamp(-10.0, 10.0).to(obs.dtype)
        return torch.where(constants != 0.0, obs, x) if self.binary.any() else x


class Spanned(Standardised):
    """The base of codes that spread a number over ``cells`` places, evenly over [-1, 1].

    v is the observation scaled from the bounds of its space to [-1, 1], or its standardised value divided by 3 and
    clipped, so that the code spans the running mean ± 3 standard deviations. Which of them is ``bounds``: the space's
    where it has any (auto), or always (declared, else it is refused), or never (seen).

    ``constants`` are the number of cells and p = 1/2σ², then for each of d numbers its span (SEEN, DECLARED or BINARY),
    the centre and half the width of its bounds.
    """

    lines = 1  # inputs of a place

    def __init__(self, space: gymnasium.spaces.Box, config: EncoderConfig) -> None:
        super().__init__(space, config)
        low, high = (b.reshape(-1).astype(np.float64) for b in (space.low, space.high))
        bounded = (np.abs(low) < LARGE) & (np.abs(high) < LARGE) & (high > low)
        missing = np.flatnonzero(~bounded & ~self.binary)
        if config.bounds == "declared" and len(missing):
            numbers = ", ".join(map(str, missing))
            raise UserError(
                f"encoder.bounds=declared: number {numbers} of an observation has no bounds; use auto or seen"
            )
        bounded &= config.bounds != "seen"
        low, high = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
        span = np.where(self.binary, BINARY, np.where(bounded, DECLARED, SEEN))
        self.precision = 0.5 / (config.width * 2.0 / (config.cells - 1)) ** 2
        self.span = 0.0, 1.0
        self.constants = np.concatenate(([config.cells, self.precision], span, (low + high) / 2, (high - low) / 2))
        coded = int((~self.binary).sum())
        self.size = int(self.binary.sum()) + coded * config.cells * self.lines
        # Σ x² of a one-hot is 1, of Gaussian cells about σ√π in spacings: all numbers shall drive as those cells do
        dense = min(config.width * math.sqrt(math.pi), config.cells)
        self.drive = config.cells * (coded * (self.power(config) / dense) + self.active / dense)

    def power(self, config: EncoderConfig) -> float:
        """Return Σ x² over the inputs of a number, as it is on average."""
        return min(config.width * math.sqrt(math.pi), config.cells)


class Population(Spanned):
    """Gaussian population code: x_ij = exp(-(v_i - c_j)² / 2σ²) with ``cells`` centres c_j evenly over [-1, 1].

    σ = ``width`` spacings of the centres. A binary number is one input, as it is.

    Source: Pouget, Dayan & Zemel (2000), and the input coding of Bellec et al. (2020).
    """

    encoding = population

    def ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and highest value [d] that the cells of each number stand for; 0 and 0 of a binary one."""
        span, centre, half = self.constants[2:].reshape(3, -1)
        std = np.sqrt(self.m2 / max(self.observed[0], 1.0))
        std = np.where(std > 1e-8, std, 1.0)  # as in lfcs.compiled.act.deviations
        middle, reach = np.where(span == DECLARED, centre, self.mean), np.where(span == DECLARED, half, 3.0 * std)
        low, high = middle - reach, middle + reach
        return np.where(span == BINARY, 0.0, low), np.where(span == BINARY, 0.0, high)

    def encode_tensor(self, obs: Tensor, mean: Tensor, std: Tensor, constants: Tensor) -> Tensor:
        """See :meth:`Identity.encode_tensor`; a standardised value beyond ±10 is beyond ±1 when divided by 3 too."""
        span, centre, half = constants[2:].unflatten(0, (3, -1))
        here = span == DECLARED
        v = ((obs - torch.where(here, centre, mean)) / torch.where(here, half, 3.0 * std)).clamp(-1.0, 1.0)
        cells = torch.linspace(-1.0, 1.0, self.config.cells, dtype=obs.dtype, device=obs.device)
        away = v.to(obs.dtype)[..., None] - cells
        x = (away * away * -self.precision).exp()
        if not self.binary.any():
            return x.flatten(-2)
        first = torch.arange(self.config.cells, device=obs.device) == 0
        kept = (span != BINARY)[:, None] | first  # a binary number takes the place of its first cell
        return torch.where((span == BINARY)[:, None], obs[..., None], x)[..., kept]


def _rows(obs: np.ndarray) -> np.ndarray:
    """Return observations [B, ...] as rows in double precision."""
    return np.ascontiguousarray(obs.reshape(len(obs), -1), np.float64)
