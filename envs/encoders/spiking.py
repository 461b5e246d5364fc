"""Encoders that emit spikes: every input is 0 or 1, so that nothing analog is left after the sensor.

They make one vector of spikes for an environment step. Where ``network.ticks`` is more than 1 the network receives it
again at each of the step's ticks.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np

from lfcs.config import EncoderConfig
from lfcs.envs.encoders.analog import BINARY, Spanned, fill_cells, place
from lfcs.errors import UserError
from lfcs.kernels import compiled
from lfcs.pointers import Row
from lfcs.policy import encode_pointer
from lfcs.spaces import flat_space, in_words

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S11, S27, S30, S31 = (np.uint64(bits) for bits in (11, 27, 30, 31))


@compiled
def mixed(word: Any) -> Any:
    """Return 64 random bits of 64 bits.

    Source: the output function of SplitMix64 (Steele, Lea & Flood, Fast splittable pseudorandom number generators,
    2014), with which every number of a stream can be had by itself.
    """
    word += GOLDEN
    word = (word ^ (word >> S30)) * FIRST
    word = (word ^ (word >> S27)) * SECOND
    return word ^ (word >> S31)


@encode_pointer
def bernoulli(obs: Row, mean: Row, std: Row, constants: Row, out: Row) -> None:
    """z_ij = 1 with probability x_ij of the population code; ``constants`` end with the stream and the place in it."""
    fill_cells(obs, mean, std, constants, out)
    word, bits = mixed(np.uint64(constants[-2])), obs.view(np.uint64)
    word = mixed(word ^ np.uint64(constants[-1]))
    for i in range(len(obs)):
        word = mixed(word ^ bits[i])
    for j in range(len(out)):
        drawn = float(mixed(word ^ (np.uint64(j) * GOLDEN)) >> S11) * 2.0**-53
        out[j] = 1.0 if drawn < out[j] else 0.0


@encode_pointer
def latency(obs: Row, mean: Row, std: Row, constants: Row, out: Row) -> None:
    """z_ij = 1 at the one place j that is nearest to v_i."""
    cells, d, at = int(constants[0]), len(obs), 0
    for i in range(d):
        if constants[2 + i] == BINARY:
            out[at] = obs[i]
            at += 1
            continue
        out[at : at + cells] = 0.0
        v = place(i, d, obs, mean, std, constants)
        out[at + min(round((v + 1.0) * (cells - 1) / 2.0), cells - 1)] = 1.0
        at += cells


@encode_pointer
def delta(obs: Row, mean: Row, std: Row, constants: Row, out: Row) -> None:
    """z_ij↑ = 1 where v_i has risen to or beyond level j since the last step, z_ij↓ = 1 where it has fallen below."""
    cells, d, at = int(constants[0]), len(obs) // 2, 0
    before = obs[d:]
    for i in range(d):
        if constants[2 + i] == BINARY:
            out[at] = obs[i]
            at += 1
            continue
        v, last = place(i, d, obs, mean, std, constants), place(i, d, before, mean, std, constants)
        for j in range(cells):
            level = (2.0 * j + 1.0) / cells - 1.0
            out[at + 2 * j] = 1.0 if last < level <= v else 0.0
            out[at + 2 * j + 1] = 1.0 if v < level <= last else 0.0
        at += 2 * cells


class Bernoulli(Spanned):
    """Cells of a population code that spike at random: z_ij = 1 with probability x_ij (:class:`Population`).

    The random numbers are a function of the stream (:meth:`seeded`), of how many observations training has seen, and of
    the observation's own bits. So encoding changes nothing, a resumed run draws what an uncut one does, and an episode
    does not depend on what is played beside it. A frozen policy draws the same for an observation that comes again to
    the last bit. Source of the code: rate coding by Bernoulli trials, as snntorch's ``spikegen.rate``.
    """

    encoding = bernoulli

    def __init__(self, space: gymnasium.spaces.Box, config: EncoderConfig) -> None:
        super().__init__(space, config)
        self.constants = np.concatenate((self.constants, (0.0, 0.0)))
        self.observed = self.constants[-1:]  # the same memory: the place in the stream moves on with what is observed

    def power(self, config: EncoderConfig) -> float:
        """Return Σ z = Σ x of Gaussian cells, about σ√(2π) in spacings."""
        return min(config.width * math.sqrt(2.0 * math.pi), config.cells)

    def seeded(self, seed: int) -> None:
        """Take random numbers from the stream of a seed, less than 2^53."""
        self.constants[-2] = seed

    def state_dict(self) -> dict[str, Any]:
        """Return the running moments and the stream, the place in which is their count."""
        return super().state_dict() | {"stream": float(self.constants[-2])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the running moments and the stream."""
        super().load_state_dict(state)
        self.constants[-2] = state["stream"]


class Latency(Spanned):
    """One spike for each number, whose time tells the value: the tick k of ``cells``, on a line of its own.

    A network that gets one vector of spikes a step gets the ticks side by side: line k carries the spike that comes
    after k ticks. Source: time to first spike, Thorpe, Delorme & Van Rullen (2001).
    """

    encoding = latency

    def power(self, config: EncoderConfig) -> float:
        """Return 1: a spike."""
        return 1.0


class Delta(Spanned):
    """Spikes where a number crosses levels, one line for each of ``cells`` levels and direction; none where it rests.

    It compares an observation with the last one, so that it wants ``encoder.previous_observation``, and nothing else of
    the last step. Where an episode begins the last one is zero, and the volley of what lies between tells where the
    number is. Source: level-crossing sampling, as address-event sensors do it (Lichtsteiner, Posch & Delbruck 2008).
    """

    encoding = delta
    lines = 2

    def __init__(self, space: gymnasium.spaces.Box, config: EncoderConfig) -> None:
        of: Any = getattr(space, "of", space)
        parts = list(of.spaces) if isinstance(of, gymnasium.spaces.Dict) else []
        if parts != ["observation", "previous_observation"]:
            raise UserError(
                "encoder.kind=delta compares an observation with the last one: it needs "
                f"encoder.previous_observation=true and no other previous_..., and got {in_words(of)}"
            )
        super().__init__(flat_space(of["observation"]), config)

    def power(self, config: EncoderConfig) -> float:
        """Return 1, as if a number crossed a level at each step."""
        return 1.0
