"""Adam on gradients clipped to a global norm: one pass over the memory of each weight tensor.

With an update at every step the cost of learning is the optimiser's memory traffic, and in a small network the
overhead of every call.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lfcs import kernels

BETA_1, BETA_2, EPS = 0.9, 0.999, 1e-8


class Adam:
    """Ascends; the weights are changed in place.

        g ← g · min(1, c / |g|) ,  m ← β₁ m + (1 - β₁) g ,  v ← β₂ v + (1 - β₂) g²
        w ← w + η m̂ / (√v̂ + ε) ,  m̂ = m / (1 - β₁ᵗ) ,  v̂ = v / (1 - β₂ᵗ)

    Source: Kingma & Ba 2015, algorithm 1, with the sign of ascent.
    """

    def __init__(self, weights: list[Tensor]) -> None:
        self.weights, self.steps = weights, 0
        self.first, self.second = [torch.zeros_like(w) for w in weights], [torch.zeros_like(w) for w in weights]
        self.step = self._step_compiled if weights[0].device.type == "cpu" else self._step_tensors
        self.flat: list[tuple[np.ndarray, ...]] = []
        if weights[0].device.type == "cpu":
            parts = zip(weights, self.first, self.second, strict=True)
            self.flat = [tuple(part.view(-1).numpy() for part in of_one) for of_one in parts]

    def use_tensors(self) -> None:
        """Step by tensor operations on a CPU too, as on any other device."""
        self.step = self._step_tensors

    def _debias(self) -> tuple[float, float]:
        """Count a step; return 1 - β₁ᵗ and (1 - β₂ᵗ)^-½."""
        self.steps += 1
        return 1.0 - BETA_1**self.steps, (1.0 - BETA_2**self.steps) ** -0.5

    def _step_compiled(self, gradients: tuple[Tensor, ...], rates: tuple[float, ...], max_norm: float) -> Tensor:
        """Ascend at one learning rate for each tensor; returns the global norm of the gradients before clipping."""
        arrays = [g.reshape(-1).numpy() for g in gradients]
        kind: Any = arrays[0].dtype.type
        constants = kind(BETA_1), kind(BETA_2)
        norm = math.sqrt(sum(float(kernels.squared_norm(g)) for g in arrays))
        first, second = self._debias()
        scale = kind(min(1.0, max_norm / (norm + 1e-6)))
        for g, rate, (w, m, v) in zip(arrays, rates, self.flat, strict=True):
            kernels.adam(w, g, m, v, scale, kind(rate / first), *constants, kind(second), kind(EPS))
        return torch.scalar_tensor(norm, dtype=gradients[0].dtype)

    def _step_tensors(self, gradients: tuple[Tensor, ...], rates: tuple[float, ...], max_norm: float) -> Tensor:
        """See :meth:`_step_compiled`; does not wait for the device."""
        norm = torch.stack([torch.linalg.vector_norm(g) for g in gradients]).norm()
        scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        first, second = self._debias()
        for w, g, m, v, rate in zip(self.weights, gradients, self.first, self.second, rates, strict=True):
            g = g * scale
            m.lerp_(g, 1.0 - BETA_1)
            v.mul_(BETA_2).addcmul_(g, g, value=1.0 - BETA_2)
            w.addcdiv_(m, v.sqrt().mul_(second).add_(EPS), value=rate / first)
        return norm

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state."""
        return {"steps": self.steps, "first": self.first, "second": self.second}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the complete state."""
        self.steps = saved["steps"]
        for name in ("first", "second"):
            for mine, theirs in zip(getattr(self, name), saved[name], strict=True):
                mine.copy_(theirs)
