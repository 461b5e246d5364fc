"""Several choices at once, each with a softmax of its own."""

from __future__ import annotations

import gymnasium
import numpy as np
from torch import Tensor

from lfcs.errors import UserError
from lfcs.heads.categorical import CategoricalHead
from lfcs.heads.product import ProductHead


class MultiDiscreteHead(ProductHead):
    """π(a) = Π_i softmax(l_i)_{a_i} over A numbers; ``params`` are all logits one after the other, actions [..., A]."""

    loops = ProductHead.loops

    def __init__(self, counts: np.ndarray, start: np.ndarray, dtype: np.dtype) -> None:
        super().__init__(
            [CategoricalHead(int(k), int(first)) for k, first in zip(counts.flat, start.flat, strict=True)]
        )
        self.shape, self.dtype = counts.shape, dtype

    @classmethod
    def of(cls, space: gymnasium.Space) -> MultiDiscreteHead:
        """Return the head for a MultiDiscrete space. Raises UserError for any other, and for a choice of one."""
        if not isinstance(space, gymnasium.spaces.MultiDiscrete) or not space.nvec.size or space.nvec.min() < 2:
            raise UserError(f"action space {space} is not supported: it must be MultiDiscrete, of 2 or more each")
        return cls(space.nvec, space.start, space.dtype)

    def counted(self, rows: Tensor) -> Tensor:
        """Return the rows as whole numbers."""
        return rows.long()

    def to_env(self, action: Tensor) -> np.ndarray:
        """Return actions in the shape of the space, counted from its starts."""
        counted = action.cpu().numpy() + self.outward[1].astype(np.int64)
        return counted.astype(self.dtype).reshape(*action.shape[:-1], *self.shape)
