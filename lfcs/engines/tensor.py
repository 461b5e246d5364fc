"""Tensor operations on the packed weights, for every device and every neuron model."""

from __future__ import annotations

import torch
from torch import Tensor

from lfcs.engines.base import TickwiseEngine
from lfcs.network import NetState, SpikingNetwork


class TensorEngine(TickwiseEngine):
    """A tick in a few tensor operations on the packed weights, without waiting for the device.

    I_t = [x_t, 1, z_{t-1}] · hidden ,  z_t, … = tick(I_t, …)   of the neuron model
    y_t = y_{t-1} + (1 - κ)(z_t - y_{t-1}) ,  x̄_t = β x̄_{t-1} + [x_t, 1, z_{t-1}]
    """

    def __init__(self, network: SpikingNetwork) -> None:
        super().__init__(network)
        self.one = network.hidden.new_ones(1, 1)

    def tick(self, x: Tensor, state: NetState) -> NetState:
        """See :meth:`TickwiseEngine.tick`."""
        neuron = self.network.neuron
        pre = torch.cat((x, self.one.expand(len(x), 1), state.spk), dim=1)
        fields = neuron.tick(pre @ self.network.hidden, state.of_neurons())
        y = torch.lerp(state.readout, fields[0], 1.0 - self.network.config.kappa)
        return NetState.join(fields, y, pre.add_(state.trace, alpha=neuron.decay))

    def read(self, states: NetState) -> tuple[Tensor, Tensor]:
        """See :meth:`TickwiseEngine.read`."""
        weights = self.network.readout
        out = torch.nn.functional.linear(states.readout, weights[:, :-1], weights[:, -1])
        return out[..., :-1], out[..., -1]
