"""Backpropagation through time, the control that is not local."""

from __future__ import annotations

import torch
from torch import Tensor

from lfcs import rules
from lfcs.engines.base import Steps, where_connected
from lfcs.engines.snntorch import SnntorchEngine
from lfcs.network import NetState


class BpttEngine(SnntorchEngine):
    """snntorch with autograd: the learning signal travels back through time and recurrent spikes, within a chunk.

    All else is as in e-prop: the signal is the error through the feedback weights, and no gradient enters the past.
    """

    local = False

    def run(
        self, x: Tensor, state: NetState, reset: Tensor, out: Tensor | None = None, differentiable: bool = False
    ) -> Steps:
        """See :meth:`Engine.run`; of ``differentiable`` steps the graph is kept for the gradients."""
        if not differentiable:
            return super().run(x, state, reset, out)
        self.network.check(x, reset, state)
        reset = self.network.resets(reset)
        states = []
        with torch.enable_grad():
            for x_t, reset_t in zip(x, reset, strict=True):
                state = state.cleared(reset_t)
                for _ in range(self.ticks):
                    state = self.network.tick(x_t, state)
                    states.append(state.data)
            by_tick = state.with_data(torch.stack(states))
            last = by_tick.at(slice(self.ticks - 1, None, self.ticks))
            self.readout = last.readout
        seen = by_tick.data.detach()
        if out is not None:
            seen = out.copy_(seen)
        return Steps(state.with_data(seen), *self.read(state.with_data(last.data.detach()), x))

    def gradients(
        self,
        seen: NetState,
        reset: Tensor,
        error: Tensor,
        feedback: Tensor,
        drive: Tensor,
        slow: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`Engine.gradients`: Σ_t L_t dy_t/dW with the whole derivative, over the steps run last."""
        _, readout = super().gradients(seen, reset, error, feedback, drive)
        parameters = self.network.input.weight, self.network.input.bias, self.network.recurrent
        with torch.enable_grad():
            objective = (self.readout * (rules.learning_signal(error, feedback) + drive)).sum()
            w_in, b, w_rec = torch.autograd.grad(objective, parameters)
        return where_connected(torch.cat((w_in.T, b[None], w_rec.T)), self.network), readout
