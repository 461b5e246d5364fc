"""Compiled loops for CPUs, with those of the neuron model."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lfcs import kernels
from lfcs.engines.base import Steps, without_self_connections
from lfcs.network import NetState, SpikingNetwork

BLOCK = 256  # environments x ticks of a gradient that are worked on at a time, to stay in the cache


class CompiledEngine:
    """The same equations as compiled loops (:mod:`lfcs.kernels` and the neuron model's own).

    Raises ValueError where the neuron model has none.
    """

    def __init__(self, network: SpikingNetwork) -> None:
        if network.neuron.loops is None:
            raise ValueError(f"{type(network.neuron).__name__} has no compiled loops")
        self.network, self.loops, config = network, network.neuron.loops, network.config
        self.inputs, self.neurons, self.ticks = network.input.in_features, config.neurons, config.ticks
        self.hidden, self.readout = network.hidden.numpy(), network.readout.numpy()
        self.dtype = kind = self.hidden.dtype.type
        self.constants = tuple(kind(number) for number in self.loops.constants)
        self.kappa, self.update = kind(config.kappa), kind(1.0 - config.kappa)
        # kept from call to call: fresh memory of this size costs more than the arithmetic on it
        self.hidden_gradient, self.scratch = torch.empty_like(network.hidden), np.empty(0, kind)

    def run(
        self, x: Tensor, state: NetState, reset: Tensor, out: Tensor | None = None, differentiable: bool = False
    ) -> Steps:
        """See :meth:`Engine.run`."""
        self.network.check(x, reset, state)
        (steps, batch), width = reset.shape, state.data.shape[1]
        by_tick = np.empty((steps * self.ticks, batch, width), self.dtype) if out is None else out.numpy()
        outputs = np.empty((steps, batch, len(self.readout)), self.dtype)
        network = self.ticks, self.hidden, self.readout, self.constants, self.update
        self.loops.advance(_array(x), _array(reset), *network, _array(state.data), by_tick, outputs)
        read = torch.from_numpy(outputs)
        return Steps(state.with_data(torch.from_numpy(by_tick)), read[..., :-1], read[..., -1])

    def gradients(
        self, seen: NetState, reset: Tensor, error: Tensor, feedback: Tensor, drive: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`Engine.gradients`: dense for the inputs, a sum over spikes for the recurrent synapses."""
        hidden, readout, inputs = self.hidden_gradient, np.zeros_like(self.readout), self.inputs + 1
        from_inputs, recurrent = hidden[:inputs], hidden[inputs:]
        data, cleared, added = map(_array, (seen.data, reset, recurrent))
        (total, batch), length = cleared.shape, max(1, BLOCK // cleared.shape[1])
        given = *map(_array, (error, feedback, drive)), self.ticks, self.kappa, self.constants
        filtered = np.zeros((batch, self.neurons), self.dtype)
        shape = 2, min(length, total), batch, self.neurons
        if self.scratch.shape != shape:
            self.scratch = np.empty(shape, self.dtype)
        for end in range(total, 0, -length):
            begin, keep = max(0, end - length), float(end < total)
            post, credit = self.scratch[:, : end - begin]
            self.loops.backward(begin, data, cleared, *given, filtered, post, credit, readout)
            xbar = seen.trace[begin:end, :, :inputs].flatten(0, 1)
            from_inputs.addmm_(xbar.T, torch.from_numpy(post).flatten(0, 1), beta=keep)
            recurrent.addmm_(seen.trace[begin, :, inputs:].T, torch.from_numpy(credit[0]), beta=keep)
            kernels.add_credit(begin, data, cleared, credit, added)
        return without_self_connections(hidden), torch.from_numpy(readout)

    def post(self, seen: NetState, reset: Tensor, error: Tensor, feedback: Tensor, drive: Tensor) -> Tensor:
        """See :meth:`Engine.post`."""
        post, credit = np.empty((2, *reset.shape, self.neurons), self.dtype)  # credit is the gradients' alone
        given = *map(_array, (error, feedback, drive)), self.ticks, self.kappa, self.constants
        filtered, unused = np.zeros((reset.shape[1], self.neurons), self.dtype), np.empty_like(self.readout)
        self.loops.backward(0, _array(seen.data), _array(reset), *given, filtered, post, credit, unused)
        return torch.from_numpy(post)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.contiguous().numpy()
