"""The slow witness: the network as snntorch computes it."""

from __future__ import annotations

from torch import Tensor

from lfcs.engines.base import TickwiseEngine
from lfcs.network import NetState


class SnntorchEngine(TickwiseEngine):
    """The network as snntorch computes it: the slow witness."""

    def tick(self, x: Tensor, state: NetState) -> NetState:
        """See :meth:`TickwiseEngine.tick`."""
        return self.network.tick(x, state)

    def read(self, states: NetState) -> tuple[Tensor, Tensor]:
        """See :meth:`TickwiseEngine.read`."""
        return self.network.read(states)
