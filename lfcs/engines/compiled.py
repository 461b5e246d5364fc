"""Compiled loops for CPUs, with those of the neuron model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lfcs import kernels
from lfcs.engines.base import Steps, where_connected
from lfcs.network import NetState, SpikingNetwork

BLOCK = 256  # environments x ticks of a gradient that are worked on at a time, to stay in the cache


class CompiledEngine:
    """The same equations as compiled loops (:mod:`lfcs.kernels` and the neuron model's own).

    Raises ValueError where the neuron model has none.
    """

    local = True

    def __init__(self, network: SpikingNetwork) -> None:
        if network.neuron.loops is None:
            raise ValueError(f"{type(network.neuron).__name__} has no compiled loops")
        self.network, loops, config = network, network.neuron.loops, network.config
        self.inputs, self.neurons, self.ticks = network.input.in_features, config.neurons, config.ticks
        self.hidden, self.readout = network.hidden.numpy(), network.readout.numpy()
        self.dtype = kind = self.hidden.dtype.type
        self.tick, self.post_of = loops.tick.of(kind), loops.post.of(kind)
        self.fields, self.constants = len(network.neuron.fields), np.array(loops.constants, kind)
        self.kappa, self.update = kind(config.kappa), kind(1.0 - config.kappa)
        self.decays, self.slow = np.array(network.neuron.decays, kind), np.array(network.neuron.slow or (), kind)
        self.decay = np.resize(self.decays, config.neurons)  # of every neuron
        self.kernels = kernels.kernels_of(kind)
        # kept from call to call: fresh memory of this size costs more than the arithmetic on it
        self.hidden_gradient, self.scratch = torch.empty_like(network.hidden), np.empty(0, kind)
        self.fired, self.counts = np.empty((2, 0, self.neurons), np.int32), np.empty((2, 0), np.int64)

    def run(
        self, x: Tensor, state: NetState, reset: Tensor, out: Tensor | None = None, differentiable: bool = False
    ) -> Steps:
        """See :meth:`Engine.run`."""
        self.network.check(x, reset, state)
        reset = self.network.resets(reset)
        (steps, batch), width = reset.shape, state.data.shape[1]
        by_tick = np.empty((steps * self.ticks, batch, width), self.dtype) if out is None else out.numpy()
        outputs = np.empty((steps, batch, len(self.readout)), self.dtype)
        if self.counts.shape[1] != batch:
            self.fired, self.counts = np.empty((2, batch, self.neurons), np.int32), np.empty((2, batch), np.int64)
        network = self.ticks, self.hidden, self.readout, self.fields, self.constants, self.update, self.decays
        states = _array(state.data), by_tick, outputs, self.fired, self.counts
        kernels.run(self.kernels, int(self.tick.address), _array(x), _array(reset), *network, *states)
        read = torch.from_numpy(outputs)
        value = self.network.along_path(x, read[..., -1])
        return Steps(state.with_data(torch.from_numpy(by_tick)), read[..., :-1], value)

    def gradients(
        self,
        seen: NetState,
        reset: Tensor,
        error: Tensor,
        feedback: Tensor,
        drive: Tensor,
        slow: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`Engine.gradients`: dense for the inputs, a sum over spikes for the recurrent synapses."""
        hidden, readout, inputs = self.hidden_gradient.zero_(), np.zeros_like(self.readout), self.inputs + 1
        from_inputs, recurrent, cleared = hidden[:inputs], hidden[inputs:], self._cleared(reset)
        fired, counts = spikes(seen.spk)
        at, groups = self.fields * self.neurons, len(self.decays)
        traces = seen.trace.chunk(groups, dim=2)
        kernels.add_readout(_array(error), _array(seen.data), self.ticks, at, readout, 0, self.neurons + 1)
        for begin, gate in self._backwards(seen, cleared, error, feedback, drive):
            post = torch.from_numpy(gate).flatten(0, 1)
            for g, trace in enumerate(traces):
                xbar = trace[begin : begin + len(gate), :, :inputs].flatten(0, 1)
                from_inputs[:, g::groups].addmm_(xbar.T, post[:, g::groups])
            kernels.accumulate(begin, cleared, self.decay, gate, self.later, 0, len(self.later))
            kernels.add_credit(begin, fired, counts, cleared, gate, recurrent.numpy(), 0, self.neurons)
        later = torch.from_numpy(self.later)
        for g, trace in enumerate(traces):
            recurrent[:, g::groups].addmm_(trace[0, :, inputs:].T, later[:, g::groups])
        if slow is not None:
            hidden += (slow * (torch.from_numpy(self.carry) * ~reset[0, :, None])[:, None]).sum(0)
        return where_connected(hidden, self.network), torch.from_numpy(readout)

    def _cleared(self, reset: Tensor) -> np.ndarray:
        return _array(self.network.resets(reset, self.ticks))

    def _backwards(
        self, seen: NetState, cleared: np.ndarray, error: Tensor, feedback: Tensor, drive: Tensor
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield blocks of ticks, the last first: where each begins and its postsynaptic factors [..., B, N]."""
        (total, batch), length = cleared.shape, max(1, BLOCK // cleared.shape[1])
        data, given = _array(seen.data), (*map(_array, (error, feedback, drive)), self.ticks, self.kappa)
        filtered, self.carry, self.later = np.zeros((3, batch, self.neurons), self.dtype)
        shape = min(length, total), batch, self.neurons
        if self.scratch.shape != shape:
            self.scratch = np.empty(shape, self.dtype)
        for end in range(total, 0, -length):
            begin = max(0, end - length)
            gate, neuron = self.scratch[: end - begin], (self.post_of, self.fields, self.constants)
            kernels.backward(begin, data, cleared, *given, *neuron, filtered, self.carry, gate, 0, batch)
            yield begin, gate

    def post(self, seen: NetState, reset: Tensor, error: Tensor, feedback: Tensor, drive: Tensor) -> Tensor:
        """See :meth:`Engine.post`."""
        post = np.empty((*reset.shape, self.neurons), self.dtype)
        for begin, gate in self._backwards(seen, self._cleared(reset), error, feedback, drive):
            post[begin : begin + len(gate)] = gate
        return torch.from_numpy(post)


def spikes(spk: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the neurons that spike, by tick and environment, and how many they are, of z [T, B, N]."""
    fired, counts = np.empty(spk.shape, np.int32), np.empty(spk.shape[:2], np.int64)
    kernels.list_spikes(spk.numpy(), fired, counts)
    return fired, counts


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.contiguous().numpy()
