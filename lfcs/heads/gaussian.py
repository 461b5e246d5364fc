"""Gaussian over the numbers of a Box.

    a_i = μ_i + σ_i ε_i ,  ε ~ N(0, 1)
    log σ_i = log σ_least + log(σ_most/σ_least) / (1 + exp(-(c + g s_i)))      σ_start where s = 0, always in between

``params`` are [μ, s] [..., 2A], both from the readout: so the noise depends on the state and is learned by the same
local rule as the mean. A number with bounds of the Box is in units where these are -1 and 1, one without is as it is.
The environment is given the draw clipped to the Box; what is judged is the draw before that.
"""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import torch
from torch import Tensor

from lfcs.errors import UserError
from lfcs.heads.base import (
    Judgement,
    Loops,
    Numbers,
    draw_pointer,
    greedy_pointer,
    judge_pointer,
    outward,
    uniforms,
)
from lfcs.kernels import compiled
from lfcs.pointers import Row

LARGE = 1e6  # a bound beyond this is no bound
CONSTANT = 0.5 * math.log(2.0 * math.pi)


@compiled
def log_deviation(s: float, constants: Row) -> tuple[float, float]:
    """Return log σ and d log σ/ds; ``constants`` are [log σ_least, log(σ_most/σ_least), c, g]."""
    share = 1.0 / (1.0 + math.exp(-(constants[2] + constants[3] * s)))
    return constants[0] + constants[1] * share, constants[1] * constants[3] * share * (1.0 - share)


@judge_pointer
def judge(params: Row, action: Row, constants: Row, score: Row, entropy_score: Row, found: Row) -> None:
    """See :meth:`GaussianHead.judge`."""
    count = len(params) // 2
    found[0], found[1] = 0.0, 0.0
    for i in range(count):
        log_std, slope = log_deviation(params[count + i], constants)
        std = math.exp(log_std)
        away = (action[i] - params[i]) / std
        found[0] -= 0.5 * away * away + log_std + CONSTANT
        found[1] += 0.5 + CONSTANT + log_std
        score[i], entropy_score[i] = away / std, 0.0
        score[count + i], entropy_score[count + i] = (away * away - 1.0) * slope, slope


@draw_pointer
def draw(params: Row, uniform: Row, constants: Row, action: Row) -> None:
    """See :meth:`GaussianHead.draw`."""
    count = len(params) // 2
    for i in range(count):
        pair = i - i % 2
        radius, angle = math.sqrt(-2.0 * math.log(1.0 - uniform[pair])), 2.0 * math.pi * uniform[pair + 1]
        log_std, _ = log_deviation(params[count + i], constants)
        action[i] = params[i] + math.exp(log_std) * radius * (math.sin(angle) if i % 2 else math.cos(angle))


@greedy_pointer
def greedy(params: Row, uniform: Row, constants: Row, action: Row) -> None:
    """See :meth:`GaussianHead.greedy`."""
    for i in range(len(params) // 2):
        action[i] = params[i]


class GaussianHead:
    """Independent Gaussians over the A numbers of a Box; ``params`` are [μ, s] [..., 2A], actions [..., A].

    A rule may bring a child with other numbers: ``start``, the deviation σ where s = 0; ``gain``, which is d log σ/ds
    there, so that the noise learns at ``gain`` times the rate of the mean; ``least`` and ``most``, between which σ
    stays, so that density and entropy stay finite. All are in units where a bounded number is within [-1, 1].
    """

    loops: Loops | None = Loops(judge, draw, greedy)
    start, gain = 0.6, 1.0
    least, most = 0.01, 2.0

    def __init__(self, low: np.ndarray, high: np.ndarray, dtype: np.dtype) -> None:
        if not self.least < self.start < self.most:
            raise ValueError(f"start must be between {self.least} and {self.most}, got {self.start}")
        self.shape, self.dtype, self.count = low.shape, dtype, low.size
        self.size = self.outputs = 2 * self.count
        self.closed = self.count * (0.5 + CONSTANT + math.log(2.0 * self.least))
        low, high = low.astype(np.float64).ravel(), high.astype(np.float64).ravel()
        bounded = (np.abs(low) < LARGE) & (np.abs(high) < LARGE)
        least, most = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
        self.outward = outward((most - least) / 2, (least + most) / 2, low, high, single=dtype == np.float32)
        span = math.log(self.most / self.least)
        share = math.log(self.start / self.least) / span
        rate = self.gain / (span * share * (1.0 - share))
        self.constants = np.array([math.log(self.least), span, math.log(share / (1.0 - share)), rate])

    @classmethod
    def of(cls, space: gymnasium.Space) -> GaussianHead:
        """Return the head for a Box. Raises UserError for any other space, and for one without numbers."""
        if not isinstance(space, gymnasium.spaces.Box) or not math.prod(space.shape):
            raise UserError(f"action space {space} is not supported by a Gaussian: it must be a Box of numbers")
        return cls(space.low, space.high, space.dtype)

    def numbers(self) -> Numbers:
        """Return what goes with the compiled forms."""
        return Numbers(self.noise, self.outward, self.constants)

    @property
    def noise(self) -> int:
        """Uniform numbers of a draw: two for two Gaussian ones."""
        return self.count + self.count % 2

    def counted(self, rows: Tensor) -> Tensor:
        """Return the rows."""
        return rows

    def to_env(self, action: Tensor) -> np.ndarray:
        """Return actions in units of the Box and clipped to it, those of integers rounded."""
        scale, shift, low, high, _ = self.outward
        given = np.clip(shift + scale * action.double().cpu().numpy(), low, high)
        given = np.rint(given) if self.dtype.kind in "iu" else given
        return given.astype(self.dtype).reshape(*action.shape[:-1], *self.shape)

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a [..., A]."""
        return self.draw(params, uniforms(params, self.noise, generator))

    def draw(self, params: Tensor, uniform: Tensor) -> Tensor:
        """Return μ + σ ε, with ε from pairs of uniform numbers [..., A or A + 1].

        Source: Box & Muller (1958), A note on the generation of random normal deviates.
        """
        first, second = uniform.unflatten(-1, (-1, 2)).unbind(-1)
        radius, angle = (-2.0 * torch.log1p(-first)).sqrt(), 2.0 * math.pi * second
        normal = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=-1).flatten(-2)
        mean, log_std, _ = self._read(params)
        return mean + log_std.exp() * normal[..., : self.count]

    def greedy(self, params: Tensor) -> Tensor:
        """Return μ [..., A]."""
        return params[..., : self.count]

    def log_prob(self, params: Tensor, action: Tensor) -> Tensor:
        """Return -Σ_i ((a_i - μ_i)²/2σ_i² + log σ_i + log 2π/2) [...]."""
        mean, log_std, _ = self._read(params)
        away = (action.to(params.dtype) - mean) * torch.exp(-log_std)
        return -(0.5 * away * away + log_std + CONSTANT).sum(-1)

    def judge(self, params: Tensor, action: Tensor) -> Judgement:
        """Return log π(a); (a - μ)/σ² and ((a - μ)²/σ² - 1) d log σ/ds; H = Σ_i log σ_i + log(2πe)/2; d log σ/ds.

        Source: Williams (1992), section 6 (the Gaussian unit).
        """
        mean, log_std, slope = self._read(params)
        away = (action.to(params.dtype) - mean) * torch.exp(-log_std)
        log_prob = -(0.5 * away * away + log_std + CONSTANT).sum(-1)
        score = torch.cat((away * torch.exp(-log_std), (away * away - 1.0) * slope), dim=-1)
        entropy = (0.5 + CONSTANT + log_std).sum(-1)
        return Judgement(log_prob, score, entropy, torch.cat((torch.zeros_like(slope), slope), dim=-1))

    def _read(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return μ, log σ and d log σ/ds, all [..., A]."""
        mean, s = params.split(self.count, dim=-1)
        low, span, at, rate = self.constants.tolist()
        share = torch.sigmoid(at + rate * s)
        return mean, low + span * share, span * rate * share * (1.0 - share)
