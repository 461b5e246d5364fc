"""How the network advances and where its gradient comes from: the fused engine, which users run, and snntorch.

All engines take and return :class:`lfcs.network.NetState`, read the same parameters and give the same numbers. snntorch
defines the network; the tests hold the others to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from lfcs import kernels, rules
from lfcs.errors import UserError, nearest
from lfcs.network import NetState, SpikingPolicy

BLOCK = 256  # environments x ticks of a gradient that are worked on at a time, to stay in the cache


class Steps(NamedTuple):
    """What S steps of B environments gave."""

    states: NetState  # [T, B] by tick, T = S · ticks
    params: Tensor  # [S, B, K] of the head
    value: Tensor  # [S, B]


class Engine(Protocol):
    """Advances and differentiates the network of one policy. Made after the policy is on its device."""

    def run(self, x: Tensor, state: NetState, reset: Tensor, out: Tensor | None = None) -> Steps:
        """Run S steps with inputs ``x`` [S, B, D] from a state [B]; ``reset`` [S, B] clears a state before a step.

        ``out`` is memory for the states, which may be part of a larger one. Raises ValueError on shapes that do not
        fit.
        """

    def gradients(
        self, seen: NetState, reset: Tensor, error: Tensor, feedback: Tensor, drive: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the gradients of the packed weights, ``hidden`` [D+1+N, N] and ``readout`` [K + 1, N + 1].

            dW_out,k = Σ_t s_k,t [y_t, 1] ,  L_i,t = Σ_k B_ki s_k,t + c_i
            dW_hid,ij = Σ_t L_i,t ē_ij,t = Σ_t L̂_i,t ψ_i,t x̄_j,t

        The weights must have been constant over the S steps. The ``error`` s [S, B, K + 1] acts at each step's last
        tick, through the ``feedback`` weights B [K + 1, N], with the neurons' ``drive`` c [N]; ``seen`` and ``reset``
        [T', B], by tick, may begin before the steps (the tail). Source: Bellec et al. 2020, eq. (1) and Methods
        (reward-based e-prop). The result may be overwritten by the next call.
        """


class Past:
    """States by tick in one buffer, so that a chunk sees the ticks before it without copying them each time.

    Memory is for the ``tail`` and some chunks of at most ``chunk`` ticks, however long the window.
    """

    def __init__(self, state: NetState, tail: int, chunk: int) -> None:
        self.tail = tail
        self.buffer = state.data.new_empty(max(tail, 1) + max(chunk, 4 * tail), *state.data.shape)
        self.begin(state)

    def begin(self, state: NetState) -> None:
        """Forget everything but the state that comes before the next chunk."""
        self.start, self.filled = state, 0

    def extended(self, engine: Engine, x: Tensor, reset: Tensor, ticks: int) -> Steps:
        """Run a chunk of steps; return what it gave, with the states of up to ``tail`` ticks before it."""
        if self.filled + ticks > len(self.buffer):
            kept = min(self.filled, max(self.tail, 1))
            self.buffer[:kept] = self.buffer[self.filled - kept : self.filled].clone()
            self.filled = kept
        begin, self.filled = self.filled, self.filled + ticks
        state = NetState(self.buffer[begin - 1], self.start.neurons) if begin else self.start
        given = engine.run(x, state, reset, out=self.buffer[begin : self.filled])
        seen = self.buffer[max(0, begin - self.tail) : self.filled]
        return given._replace(states=NetState(seen, self.start.neurons))


def at_last_tick(signal: Tensor, ticks: int, total: int) -> Tensor:
    """Spread a signal by step [S, B, N] over ``total`` ticks: at each step's last tick, the last steps at the end."""
    _, batch, neurons = signal.shape
    out = signal.new_zeros(total, batch, neurons)
    out[total - (len(signal) - 1) * ticks - 1 :: ticks] = signal
    return out


class TickwiseEngine(ABC):
    """Time as a loop over single ticks; the gradient as one dense product. Runs on every device."""

    def __init__(self, policy: SpikingPolicy) -> None:
        self.policy, self.ticks = policy, policy.config.ticks

    @abstractmethod
    def tick(self, x: Tensor, state: NetState) -> NetState:
        """Return the state one tick later, with input ``x`` [B, D]."""

    @torch.no_grad()
    def run(self, x: Tensor, state: NetState, reset: Tensor, out: Tensor | None = None) -> Steps:
        """See :meth:`Engine.run`."""
        states = []
        self.policy.check(x, reset, state)
        for x_t, reset_t in zip(x, reset, strict=True):
            state = state.cleared(reset_t)
            for _ in range(self.ticks):
                state = self.tick(x_t, state)
                states.append(state.data)
        by_tick = NetState(torch.stack(states, out=out), self.policy.config.neurons)
        return Steps(by_tick, *self.read(by_tick.at(slice(self.ticks - 1, None, self.ticks))))

    @abstractmethod
    def read(self, states: NetState) -> tuple[Tensor, Tensor]:
        """Return the head's parameters [..., K] and the value [...] of states [...]."""

    @torch.no_grad()
    def gradients(
        self, seen: NetState, reset: Tensor, error: Tensor, feedback: Tensor, drive: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`Engine.gradients`."""
        own = seen.readout[len(seen.data) - len(error) * self.ticks :][self.ticks - 1 :: self.ticks]
        signal = at_last_tick(rules.learning_signal(error, feedback) + drive, self.ticks, len(seen.mem))
        post = rules.filter_backwards(signal, self.policy.config.kappa, reset).mul_(self.policy.surrogate(seen.mem))
        readout = torch.cat((rules.chunk_gradient(error, own), error.sum((0, 1))[:, None]), dim=1)
        return without_self_connections(rules.chunk_gradient(seen.trace, post)), readout


class SnntorchEngine(TickwiseEngine):
    """The network as snntorch computes it: the slow witness."""

    def tick(self, x: Tensor, state: NetState) -> NetState:
        """See :meth:`TickwiseEngine.tick`."""
        return self.policy.tick(x, state)

    def read(self, states: NetState) -> tuple[Tensor, Tensor]:
        """See :meth:`TickwiseEngine.read`."""
        return self.policy.read(states)


class BpttEngine(SnntorchEngine):
    """snntorch with autograd: the learning signal travels back through time and recurrent spikes, within a chunk.

    All else is as in e-prop: the signal is the error through the feedback weights, and no gradient enters the past.
    """

    def run(self, x: Tensor, state: NetState, reset: Tensor, out: Tensor | None = None) -> Steps:
        """See :meth:`Engine.run`; where the states go to ``out``, their graph is kept for the gradients."""
        if out is None:
            return super().run(x, state, reset)
        self.policy.check(x, reset, state)
        states = []
        with torch.enable_grad():
            for x_t, reset_t in zip(x, reset, strict=True):
                state = state.cleared(reset_t)
                for _ in range(self.ticks):
                    state = self.policy.tick(x_t, state)
                    states.append(state.data)
            by_tick = NetState(torch.stack(states), state.neurons)
            last = by_tick.at(slice(self.ticks - 1, None, self.ticks))
            self.readout = last.readout
        out.copy_(by_tick.data.detach())
        return Steps(NetState(out, state.neurons), *self.read(NetState(last.data.detach(), state.neurons)))

    def gradients(
        self, seen: NetState, reset: Tensor, error: Tensor, feedback: Tensor, drive: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`Engine.gradients`: Σ_t L_t dy_t/dW with the whole derivative, over the steps run last."""
        _, readout = super().gradients(seen, reset, error, feedback, drive)
        parameters = self.policy.input.weight, self.policy.input.bias, self.policy.recurrent
        with torch.enable_grad():
            objective = (self.readout * (rules.learning_signal(error, feedback) + drive)).sum()
            w_in, b, w_rec = torch.autograd.grad(objective, parameters)
        return without_self_connections(torch.cat((w_in.T, b[None], w_rec.T))), readout


class TensorEngine(TickwiseEngine):
    """A tick in a few tensor operations on the policy's packed weights, without waiting for the device.

    u_t = β u_{t-1} + [x_t, 1, z_{t-1}] · hidden - z_{t-1} ,  z_t = H(u_t - 1)
    y_t = y_{t-1} + (1 - κ)(z_t - y_{t-1}) ,  x̄_t = β x̄_{t-1} + [x_t, 1, z_{t-1}]
    """

    def __init__(self, policy: SpikingPolicy) -> None:
        super().__init__(policy)
        self.one = policy.hidden.new_ones(1, 1)

    def tick(self, x: Tensor, state: NetState) -> NetState:
        """See :meth:`TickwiseEngine.tick`."""
        config, hidden = self.policy.config, self.policy.hidden
        pre = torch.cat((x, self.one.expand(len(x), 1), state.spk), dim=1)
        mem = torch.addmm(state.mem, pre, hidden, beta=config.beta).sub_(state.spk)
        spk = (mem > 1.0).to(mem.dtype)
        y = torch.lerp(state.readout, spk, 1.0 - config.kappa)
        return NetState.join(spk, mem, y, pre.add_(state.trace, alpha=config.beta))

    def read(self, states: NetState) -> tuple[Tensor, Tensor]:
        """See :meth:`TickwiseEngine.read`."""
        weights = self.policy.readout
        out = torch.nn.functional.linear(states.readout, weights[:, :-1], weights[:, -1])
        return out[..., :-1], out[..., -1]


class CompiledEngine:
    """The same equations as compiled loops (:mod:`lfcs.kernels`), for CPUs."""

    def __init__(self, policy: SpikingPolicy) -> None:
        self.policy, config = policy, policy.config
        self.inputs, self.neurons, self.ticks = policy.input.in_features, config.neurons, config.ticks
        self.hidden, self.readout = policy.hidden.numpy(), policy.readout.numpy()
        self.dtype = kind = self.hidden.dtype.type
        self.beta, self.kappa, self.update = kind(config.beta), kind(config.kappa), kind(1.0 - config.kappa)
        self.dampening = kind(config.dampening)
        # kept from call to call: fresh memory of this size costs more than the arithmetic on it
        self.hidden_gradient, self.scratch = torch.empty_like(policy.hidden), np.empty(0, kind)

    def run(self, x: Tensor, state: NetState, reset: Tensor, out: Tensor | None = None) -> Steps:
        """See :meth:`Engine.run`."""
        self.policy.check(x, reset, state)
        (steps, batch), width = reset.shape, state.data.shape[1]
        by_tick = np.empty((steps * self.ticks, batch, width), self.dtype) if out is None else out.numpy()
        outputs = np.empty((steps, batch, len(self.readout)), self.dtype)
        network = self.ticks, self.hidden, self.readout, self.beta, self.update
        kernels.advance(_array(x), _array(reset), *network, _array(state.data), by_tick, outputs)
        read = torch.from_numpy(outputs)
        return Steps(NetState(torch.from_numpy(by_tick), self.neurons), read[..., :-1], read[..., -1])

    def gradients(
        self, seen: NetState, reset: Tensor, error: Tensor, feedback: Tensor, drive: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`Engine.gradients`: dense for the inputs, a sum over spikes for the recurrent synapses."""
        hidden, readout, inputs = self.hidden_gradient, np.zeros_like(self.readout), self.inputs + 1
        from_inputs, recurrent = hidden[:inputs], hidden[inputs:]
        data, cleared, added = map(_array, (seen.data, reset, recurrent))
        (total, batch), length = cleared.shape, max(1, BLOCK // cleared.shape[1])
        constants = *map(_array, (error, feedback, drive)), self.ticks, self.kappa, self.beta, self.dampening
        filtered = np.zeros((batch, self.neurons), self.dtype)
        shape = 2, min(length, total), batch, self.neurons
        if self.scratch.shape != shape:
            self.scratch = np.empty(shape, self.dtype)
        for end in range(total, 0, -length):
            begin, keep = max(0, end - length), float(end < total)
            post, credit = self.scratch[:, : end - begin]
            kernels.backward(begin, data, cleared, *constants, filtered, post, credit, readout)
            xbar = seen.trace[begin:end, :, :inputs].flatten(0, 1)
            from_inputs.addmm_(xbar.T, torch.from_numpy(post).flatten(0, 1), beta=keep)
            recurrent.addmm_(seen.trace[begin, :, inputs:].T, torch.from_numpy(credit[0]), beta=keep)
            kernels.add_credit(begin, data, cleared, credit, added)
        return without_self_connections(hidden), torch.from_numpy(readout)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.contiguous().numpy()


def without_self_connections(hidden: Tensor) -> Tensor:
    """Return a gradient of the packed hidden weights [D+1+N, N] with the diagonal of the recurrent part set to 0."""
    hidden[-hidden.shape[1] :].fill_diagonal_(0.0)
    return hidden


def make_fused(policy: SpikingPolicy) -> Engine:
    """Return the fast engine for the device the policy is on."""
    return CompiledEngine(policy) if policy.hidden.device.type == "cpu" else TensorEngine(policy)


ENGINES: dict[str, Callable[[SpikingPolicy], Engine]] = {"fused": make_fused, "snntorch": SnntorchEngine}


def make_engine(name: str, policy: SpikingPolicy) -> Engine:
    """Return the named engine for a policy. Raises UserError on an unknown name."""
    if name not in ENGINES:
        raise UserError(f"unknown engine {name!r}{nearest(name, ENGINES)}; known: {', '.join(ENGINES)}")
    return ENGINES[name](policy)
