"""The slow witness: the network as snntorch computes it."""

from __future__ import annotations

import torch
from torch import Tensor

from lfcs.engines.base import Steps, TickwiseEngine
from lfcs.network import NetState


class SnntorchEngine(TickwiseEngine):
    """The network as snntorch computes it: the slow witness."""

    @torch.no_grad()
    def run(
        self, x: Tensor, state: NetState, reset: Tensor, out: Tensor | None = None, differentiable: bool = False
    ) -> Steps:
        """See :meth:`Engine.run`."""
        states = []
        self.network.check(x, reset, state)
        reset = self.network.resets(reset)
        for x_t, reset_t in zip(x, reset, strict=True):
            state = state.cleared(reset_t)
            for _ in range(self.ticks):
                state = self.network.tick(x_t, state)
                states.append(state.data)
        return self.steps(state.with_data(torch.stack(states, out=out)), x)

    def read(self, states: NetState, x: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`TickwiseEngine.read`."""
        return self.network.read(states, x)
