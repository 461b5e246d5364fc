"""Adam on gradients clipped by their norms: one pass over the memory of each weight tensor.

With an update at every step the cost of learning is the optimiser's memory traffic, and in a small network the
overhead of every call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lfcs import kernels

BETA_1, BETA_2, EPS = 0.9, 0.999, 1e-8


class Block(NamedTuple):
    """Rows of one weight tensor that are clipped with all others of their group."""

    weight: int  # which tensor
    rows: slice
    group: int


class Adam:
    """Ascends; the weights are changed in place.

        g ← g · min(1, c / |g|) ,  m ← β₁ m + (1 - β₁) g ,  v ← β₂ v + (1 - β₂) g²
        w ← w + η m̂ / (√v̂ + ε) ,  m̂ = m / (1 - β₁ᵗ) ,  v̂ = v / (1 - β₂ᵗ)

    with |g| over a group of ``blocks``; by default all tensors are one. Source: Kingma & Ba 2015, algorithm 1, with the
    sign of ascent.
    """

    def __init__(self, weights: list[Tensor], blocks: Sequence[Block] | None = None) -> None:
        self.weights, self.steps = weights, 0
        self.blocks = [Block(i, slice(None), 0) for i in range(len(weights))] if blocks is None else list(blocks)
        self.first, self.second = [torch.zeros_like(w) for w in weights], [torch.zeros_like(w) for w in weights]
        self.step = self._step_compiled if weights[0].device.type == "cpu" else self._step_tensors
        self.flat: list[tuple[np.ndarray, ...]] = []
        if weights[0].device.type == "cpu":
            parts = (weights, self.first, self.second)
            self.flat = [tuple(part[b.weight][b.rows].view(-1).numpy() for part in parts) for b in self.blocks]

    def use_tensors(self) -> None:
        """Step by tensor operations on a CPU too, as on any other device."""
        self.step = self._step_tensors

    def _debias(self) -> tuple[float, float]:
        """Count a step; return 1 - β₁ᵗ and (1 - β₂ᵗ)^-½."""
        self.steps += 1
        return 1.0 - BETA_1**self.steps, (1.0 - BETA_2**self.steps) ** -0.5

    def _step_compiled(self, gradients: tuple[Tensor, ...], rates: tuple[float, ...], max_norm: float) -> Tensor:
        """Ascend at one learning rate for each tensor; returns the norm of all gradients before clipping."""
        arrays = [gradients[b.weight][b.rows].reshape(-1).numpy() for b in self.blocks]
        kind: Any = arrays[0].dtype.type
        constants = kind(BETA_1), kind(BETA_2)
        squares = [0.0] * (1 + max(b.group for b in self.blocks))
        for block, g in zip(self.blocks, arrays, strict=True):
            squares[block.group] += float(kernels.squared_norm(g))
        first, second = self._debias()
        for block, g, (w, m, v) in zip(self.blocks, arrays, self.flat, strict=True):
            scale, rate = min(1.0, max_norm / (math.sqrt(squares[block.group]) + 1e-6)), rates[block.weight]
            kernels.adam(w, g, m, v, kind(scale), kind(rate / first), *constants, kind(second), kind(EPS))
        return torch.scalar_tensor(math.sqrt(sum(squares)), dtype=gradients[0].dtype)

    def _step_tensors(self, gradients: tuple[Tensor, ...], rates: tuple[float, ...], max_norm: float) -> Tensor:
        """See :meth:`_step_compiled`; does not wait for the device."""
        parts = [gradients[b.weight][b.rows] for b in self.blocks]
        norms = [torch.linalg.vector_norm(g) for g in parts]
        first, second = self._debias()
        for block, g in zip(self.blocks, parts, strict=True):
            own = torch.stack([norm for norm, b in zip(norms, self.blocks, strict=True) if b.group == block.group])
            g = g * (max_norm / (own.norm() + 1e-6)).clamp(max=1.0)
            w, m, v = (part[block.weight][block.rows] for part in (self.weights, self.first, self.second))
            m.lerp_(g, 1.0 - BETA_1)
            v.mul_(BETA_2).addcmul_(g, g, value=1.0 - BETA_2)
            w.addcdiv_(m, v.sqrt().mul_(second).add_(EPS), value=rates[block.weight] / first)
        return torch.stack(norms).norm()

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state."""
        return {"steps": self.steps, "first": self.first, "second": self.second}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the complete state."""
        self.steps = saved["steps"]
        for name in ("first", "second"):
            for mine, theirs in zip(getattr(self, name), saved[name], strict=True):
                mine.copy_(theirs)
