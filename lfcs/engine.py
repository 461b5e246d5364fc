"""How the network advances and where its gradient comes from: the fused engine, which users run, and snntorch.

All engines take and return :class:`lfcs.network.NetState`, read the same parameters and give the same numbers. snntorch
defines the network; the tests hold the others to it. States by tick are a NetState with a leading dimension of time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lfcs import kernels, rules
from lfcs.errors import UserError, nearest
from lfcs.network import NetState, SpikingPolicy

WORTH_THREADS = 2**18  # neurons x environments x ticks from which a call is shared out between threads


class Engine(Protocol):
    """Advances, reads and differentiates the network of one policy. Made after the policy is on its device.

    S steps have T = S · ticks ticks. Every method raises ValueError on shapes that do not fit.
    """

    def run(self, x: Tensor, state: NetState, reset: Tensor) -> NetState:
        """Return the states by tick [T, B, ...] with inputs ``x`` [S, B, D]; ``reset`` [S, B] clears before a step."""

    def read(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the head's parameters [..., K] and the value [...] of a readout trace y [..., N]."""

    def hidden_gradient(self, seen: NetState, reset: Tensor, signal: Tensor) -> Tensor:
        """Return dW_hid [D+1+N, N] of the packed ``hidden`` weights, which must be constant over the S steps.

            dW_hid,ij = Σ_t L_i,t ē_ij,t = Σ_t L̂_i,t ψ_i,t x̄_j,t

        ``signal`` L [S, B, N] acts at each step's last tick; ``seen`` [T', B, ...] and ``reset`` [T', B], by tick, may
        begin before the steps (the tail). Source: Bellec et al. 2020, eq. (1) and Methods (reward-based e-prop).
        """


def at_last_tick(signal: Tensor, ticks: int, total: int) -> Tensor:
    """Spread a signal by step [S, B, N] over ``total`` ticks: at each step's last tick, the last steps at the end."""
    _, batch, neurons = signal.shape
    out = signal.new_zeros(total, batch, neurons)
    out[total - (len(signal) - 1) * ticks - 1 :: ticks] = signal
    return out


class TickwiseEngine:
    """Time as a loop over single ticks; the gradient as one dense product. Runs on every device."""

    def __init__(self, policy: SpikingPolicy) -> None:
        self.policy, self.ticks = policy, policy.config.ticks

    def tick(self, x: Tensor, state: NetState) -> NetState:
        """Return the state one tick later, with input ``x`` [B, D]."""
        raise NotImplementedError

    @torch.no_grad()
    def run(self, x: Tensor, state: NetState, reset: Tensor) -> NetState:
        """See :meth:`Engine.run`."""
        states = []
        self.policy.check(x, reset, state)
        for x_t, reset_t in zip(x, reset, strict=True):
            state = state.cleared(reset_t)
            for _ in range(self.ticks):
                state = self.tick(x_t, state)
                states.append(state)
        return NetState(*(torch.stack(part) for part in zip(*states, strict=True)))

    @torch.no_grad()
    def read(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Engine.read`."""
        return self.policy.read(y)

    @torch.no_grad()
    def hidden_gradient(self, seen: NetState, reset: Tensor, signal: Tensor) -> Tensor:
        """See :meth:`Engine.hidden_gradient`."""
        signal = at_last_tick(signal, self.ticks, len(seen.mem))
        post = rules.filter_backwards(signal, self.policy.config.kappa, reset).mul_(self.policy.surrogate(seen.mem))
        return without_self_connections(rules.chunk_gradient(seen.trace, post))


class SnntorchEngine(TickwiseEngine):
    """The network as snntorch computes it: the slow witness."""

    def tick(self, x: Tensor, state: NetState) -> NetState:
        """See :meth:`TickwiseEngine.tick`."""
        return self.policy.tick(x, state)


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
        return NetState(spk, mem, y, pre.add_(state.trace, alpha=config.beta))

    @torch.no_grad()
    def read(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Engine.read`."""
        weights = self.policy.readout
        out = torch.nn.functional.linear(y, weights[:, :-1], weights[:, -1])
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
        self.threads = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None

    def _shared(self, kernel: Callable[..., None], count: int, work: int, *args: Any) -> None:
        """Call ``kernel(low, high, *args)`` on the range [0, count), in a piece for each thread if there is enough work.

        The pieces write to separate places and each is summed in its own fixed order: threads do not change a number.
        """
        if self.pool is None or work < WORTH_THREADS:
            kernel(0, count, *args)
            return
        bounds = [count * i // self.threads for i in range(self.threads + 1)]
        others = [self.pool.submit(kernel, *piece, *args) for piece in zip(bounds[1:], bounds[2:])]  # noqa: B905
        kernel(bounds[0], bounds[1], *args)
        for other in others:
            other.result()

    def run(self, x: Tensor, state: NetState, reset: Tensor) -> NetState:
        """See :meth:`Engine.run`."""
        self.policy.check(x, reset, state)
        total, (batch, sources) = len(x) * self.ticks, state.trace.shape
        out = [np.empty((total, batch, size), self.dtype) for size in (*[self.neurons] * 3, sources)]
        given, start = (_array(x), _array(reset), self.ticks, self.hidden), map(_array, state)
        self._shared(kernels.advance, batch, out[0].size, *given, self.beta, self.update, *start, *out)
        return NetState(*map(torch.from_numpy, out))

    def read(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Engine.read`."""
        out = np.empty((*y.shape[:-1], len(self.readout)), self.dtype)
        kernels.read_out(_array(y).reshape(-1, self.neurons), self.readout, out.reshape(-1, len(self.readout)))
        both = torch.from_numpy(out)
        return both[..., :-1], both[..., -1]

    def hidden_gradient(self, seen: NetState, reset: Tensor, signal: Tensor) -> Tensor:
        """See :meth:`Engine.hidden_gradient`; the recurrent part is a sum over spikes."""
        mem, spk, cleared, wanted = map(_array, (seen.mem, seen.spk, reset, signal))
        post, credit = np.empty_like(mem), np.empty_like(mem)
        constants = self.ticks, self.kappa, self.beta, self.dampening
        self._shared(kernels.backward, mem.shape[1], mem.size, mem, cleared, wanted, *constants, post, credit)
        gradient, rest = torch.empty_like(self.policy.hidden), self.inputs + 1
        by_source = seen.trace[..., :rest].flatten(0, 1).T
        torch.mm(by_source, torch.from_numpy(post).flatten(0, 1), out=gradient[:rest])
        torch.mm(seen.trace[0, :, rest:].T, torch.from_numpy(credit[0]), out=gradient[rest:])
        recurrent = gradient[rest:].numpy()
        self._shared(kernels.add_credit, self.neurons, mem.size, spk, cleared, credit, recurrent)
        return without_self_connections(gradient)


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
