"""Observations of many kinds of spaces as rows of numbers, by gymnasium's own flattening.

A Discrete number is one-hot, as is each of a MultiDiscrete; a Dict or Tuple is the numbers of its parts, one after the
other. A Box stays as it is, of whatever shape: encoders flatten it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.spaces.utils import flatdim, flatten, flatten_space

from lfcs.errors import UserError

IMAGE = 32 * 32  # numbers of more than one dimension beyond which they are an image

LARGEST_REWARD = 1e18  # the square of a larger one is infinite in single precision


class Flat(Box):
    """The numbers [d] that gymnasium's flattening makes of observations in the space ``of``.

    ``binary`` [d] is true where a number is 0 or 1 by nature: what is not of a Box. ``active`` is how many of these are
    1 at most: one of each Discrete.
    """

    def __init__(self, of: gymnasium.Space) -> None:
        flat: Any = flatten_space(of)
        super().__init__(flat.low, flat.high, dtype=flat.dtype.type)
        self.of = of
        parts = list(leaves(of))
        self.binary = np.concatenate([np.full(flatdim(part), not isinstance(part, Box)) for part in parts])
        self.active = sum(math.prod(part.shape or ()) for part in parts if not isinstance(part, Box))


def leaves(space: gymnasium.Space) -> Iterator[gymnasium.Space]:
    """Yield the parts of a space that are neither Dict nor Tuple, in the order of the flattened numbers."""
    if isinstance(space, Dict | Tuple):
        for part in space.spaces.values() if isinstance(space, Dict) else space.spaces:
            yield from leaves(part)
    else:
        yield space


def in_words(space: gymnasium.Space) -> str:
    """Return a space in one line."""
    return " ".join(str(space).split())


def flat_space(space: gymnasium.Space) -> Box:
    """Return the Box that observations are made: ``space`` itself if it is one, else a :class:`Flat`.

    Raises UserError for images, and for spaces that no fixed number of numbers stands for.
    """
    if not list(leaves(space)):
        raise UserError(f"observation space {in_words(space)} is empty: there is nothing to see")
    for leaf in leaves(space):
        if not isinstance(leaf, Box | Discrete | MultiBinary | MultiDiscrete):
            raise UserError(
                f"observation space {in_words(leaf)} is not supported: "
                "it must be a Box, Discrete, MultiDiscrete or MultiBinary, or a Dict or Tuple of these"
            )
        if isinstance(leaf, Box) and len(leaf.shape) > 1 and math.prod(leaf.shape) > IMAGE:
            raise UserError(f"observation space {in_words(leaf)} is an image: there is no front end for images yet")
    return space if isinstance(space, Box) else Flat(space)


def given_space(space: gymnasium.Space) -> gymnasium.Space:
    """Return the space that a flat one was made of, else itself."""
    return space.of if isinstance(space, Flat) else space


def binary_of(space: Box) -> tuple[np.ndarray, int]:
    """Return which of the flattened numbers [d] of a space are 0 or 1 by nature, and how many of these 1 at most."""
    return (space.binary, space.active) if isinstance(space, Flat) else (np.zeros(flatdim(space), bool), 0)


def flat_row(space: gymnasium.Space, obs: Any) -> np.ndarray:
    """Return one observation as numbers [d]. Raises ValueError where it is not one of the space."""
    for leaf, value in _parts(space, obs):
        fits = value.shape == leaf.shape if isinstance(leaf, Box) else leaf.contains(value[()])
        if not fits:
            raise ValueError(f"{value.tolist()} is not in {in_words(leaf)}")
    return np.asarray(flatten(space, obs))


def flat_rows(space: gymnasium.Space, obs: Any) -> np.ndarray:
    """Return a batch of observations, as gymnasium's vector environments give them, as numbers [B, d].

    Raises ValueError where they are not of the space.
    """
    sizes = {len(value) if value.ndim else 0 for _, value in _parts(space, obs)}
    if len(sizes) != 1 or sizes == {0}:
        raise ValueError(f"a batch of observations has parts of {sorted(sizes)} rows")
    return np.stack([flat_row(space, _row(space, obs, b)) for b in range(sizes.pop())])


def batched(space: gymnasium.Space, obs: Any) -> tuple[np.ndarray, bool]:
    """Return observations as a batch, [B, ...] of a Box and [B, d] of others, and whether it was one alone.

    Raises ValueError where they do not fit the space, or are not finite.
    """
    if not isinstance(space, Box):
        leaf, value = next(_parts(space, obs))
        single = value.ndim == len(leaf.shape or ())
        batch = flat_row(space, obs)[None] if single else flat_rows(space, obs)
    else:
        obs = np.asarray(obs)
        single = obs.shape == space.shape
        batch = obs[None] if single else obs
        if batch.shape[1:] != space.shape or not len(batch):
            raise ValueError(f"observations have shape {obs.shape}, expected {space.shape} or a batch of them")
    if not np.isfinite(batch).all():
        raise ValueError("an observation is not finite")
    return batch, single


def _parts(space: gymnasium.Space, obs: Any) -> Iterator[tuple[gymnasium.Space, np.ndarray]]:
    """Yield the leaves of a space with what is observed there. Raises ValueError where parts are missing."""
    if isinstance(space, Dict):
        if not isinstance(obs, dict) or obs.keys() != space.spaces.keys():
            raise ValueError(f"an observation wants a dictionary of {', '.join(map(str, space.spaces))}, got {obs!r}")
        for key, part in space.spaces.items():
            yield from _parts(part, obs[key])
    elif isinstance(space, Tuple):
        if not isinstance(obs, tuple | list) or len(obs) != len(space.spaces):
            raise ValueError(f"an observation wants a tuple of {len(space.spaces)} parts, got {obs!r}")
        for part, value in zip(space.spaces, obs, strict=True):
            yield from _parts(part, value)
    else:
        yield space, np.asarray(obs)


def _row(space: gymnasium.Space, obs: Any, b: int) -> Any:
    """Return observation ``b`` of a batch."""
    if isinstance(space, Dict):
        return {key: _row(part, obs[key], b) for key, part in space.spaces.items()}
    if isinstance(space, Tuple):
        return tuple(_row(part, value, b) for part, value in zip(space.spaces, obs, strict=True))
    return obs[b]
