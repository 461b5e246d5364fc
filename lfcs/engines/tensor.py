"""Tensor operations on the packed weights, for every device and every neuron model."""

from __future__ import annotations

import torch
from torch import Tensor

from lfcs.engines.base import Steps, TickwiseEngine
from lfcs.network import NetState, SpikingNetwork


class TensorEngine(TickwiseEngine):
    """A tick in a few tensor operations on the packed weights, without waiting for the device.

    I_t = [x_t, 1] · hidden_in + z_{t-1} · hidden_rec ,  z_t, … = tick(I_t, …)   of the neuron model
    y_t = y_{t-1} + (1 - κ)(z_t - y_{t-1}) ,  x̄_t = β x̄_{t-1} + [x_t, 1, z_{t-1}]

    The product with the inputs is one for all steps; what is left to a tick is written where the states are kept.
    """

    def __init__(self, network: SpikingNetwork) -> None:
        super().__init__(network)
        self.one, self.groups = network.hidden.new_ones(1, 1), len(network.neuron.decays)

    @torch.no_grad()
    def run(
        self, x: Tensor, state: NetState, reset: Tensor, out: Tensor | None = None, differentiable: bool = False
    ) -> Steps:
        """See :meth:`Engine.run`."""
        self.network.check(x, reset, state)
        reset = self.network.resets(reset)
        hidden, inputs = self.network.hidden, x.shape[2]
        rows = x.new_empty(len(x) * self.ticks, *state.data.shape) if out is None else out
        driven = torch.addmm(hidden[inputs], x.flatten(0, 1), hidden[:inputs]).unflatten(0, x.shape[:2])
        keep, before = (~reset).to(x.dtype)[..., None], state
        for step in range(len(x)):
            before = before.with_data(before.data * keep[step])
            for tick in range(step * self.ticks, (step + 1) * self.ticks):
                before = self._tick(x[step], driven[step], before, rows[tick])
        return self.steps(state.with_data(rows), x)

    def _tick(self, x: Tensor, driven: Tensor, before: NetState, row: Tensor) -> NetState:
        """Write the state one tick later into ``row`` [B, ...]; ``driven`` [B, N] flows in from ``x`` [B, D]."""
        network, neuron, spk = self.network, self.network.neuron, before.spk
        current = torch.addmm(driven, spk, network.hidden[x.shape[1] + 1 :])
        fields = neuron.tick(current, before.of_neurons())
        y = torch.lerp(before.readout, fields[0], 1.0 - network.config.kappa)
        pre = (x, self.one.expand(len(x), 1), spk) * self.groups
        torch.cat((*fields, y, *pre), dim=1, out=row)
        after = before.with_data(row)
        after.trace.addcmul_(before.trace, network.decay)
        return after

    def read(self, states: NetState, x: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`TickwiseEngine.read`."""
        weights = self.network.readout
        out = torch.nn.functional.linear(states.readout, weights[:, :-1], weights[:, -1])
        return out[..., :-1], self.network.along_path(x, out[..., -1])
