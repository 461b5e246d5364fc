"""How the network advances: the fused engine, which users run, and snntorch, its slow witness.

Both take and return the same :class:`lfcs.network.NetState` and read the same parameters. snntorch defines the
network; the tests hold the fused engine to its numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from lfcs.errors import UserError, nearest
from lfcs.network import NetState, SpikingPolicy

GATHER_FROM = 256  # neurons from which summing the rows of the few neurons that spiked beats a dense product, on a CPU


class Engine(Protocol):
    """Advances and reads the network of one policy, without gradients. Made after the policy is on its device."""

    def tick(self, x: Tensor, state: NetState) -> NetState:
        """Return the state one tick later, with input ``x`` [B, D]; raises ValueError on shapes that do not fit."""

    def read(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the head's parameters [B, K] and the value [B] of a readout trace y [B, N]."""


class SnntorchEngine:
    """The network as snntorch computes it."""

    def __init__(self, policy: SpikingPolicy) -> None:
        self.policy = policy

    @torch.no_grad()
    def tick(self, x: Tensor, state: NetState) -> NetState:
        """See :meth:`Engine.tick`."""
        return self.policy.tick(x, state)

    @torch.no_grad()
    def read(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Engine.read`."""
        return self.policy.read(y)


class FusedEngine:
    """The same equations in a few tensor operations, without autograd, on the policy's packed weights.

        u_t = β u_{t-1} + b + W_in x_t + W_rec z_{t-1} - z_{t-1} ,  z_t = H(u_t - 1)
        y_t = y_{t-1} + (1 - κ)(z_t - y_{t-1}) ,  x̄_t = β x̄_{t-1} + [x_t, 1, z_{t-1}]

    In a large network on a CPU W_rec z is a sum over the neurons that spiked.
    """

    def __init__(self, policy: SpikingPolicy) -> None:
        self.policy, self.beta, self.update = policy, policy.config.beta, 1.0 - policy.config.kappa
        inputs, n = policy.input.in_features, policy.config.neurons
        self.hidden = policy.hidden
        self.w_in, self.bias, self.w_rec = policy.hidden[:inputs], policy.hidden[inputs], policy.hidden[inputs + 1 :]
        self.w_out, self.b_out = policy.readout[:n], policy.readout[n]
        self.gather = n >= GATHER_FROM and policy.hidden.device.type == "cpu"
        self.one = policy.hidden.new_ones(1, 1)

    def _recurrent(self, z: Tensor) -> Tensor:
        """Return Σ_j W_rec,ij z_j [B, N] as a sum of the rows of the neurons that spiked."""
        environment, neuron = torch.nonzero(z, as_tuple=True)
        first = torch.searchsorted(environment, torch.arange(len(z)))
        return torch.embedding_bag(self.w_rec, neuron, first, False, 0)[0]  # mode 0: sum

    def tick(self, x: Tensor, state: NetState) -> NetState:
        """See :meth:`Engine.tick`."""
        z, mem, y, trace = state
        if len(x) != len(z) or not z.shape == mem.shape == y.shape:
            self.policy.check(x, state)
        pre = torch.cat((x, self.one.expand(len(x), 1), z), dim=1)
        if pre.shape != trace.shape or pre.shape[1] != len(self.hidden):
            self.policy.check(x, state)
        u = torch.addmm(self.bias, x, self.w_in).add_(self._recurrent(z)) if self.gather else pre @ self.hidden
        u.add_(mem, alpha=self.beta).sub_(z)
        spk = (u > 1.0).to(u.dtype)
        return NetState(spk, u, torch.lerp(y, spk, self.update), pre.add_(trace, alpha=self.beta))

    def read(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Engine.read`."""
        out = torch.addmm(self.b_out, y, self.w_out)
        return out[:, :-1], out[:, -1]


ENGINES: dict[str, Callable[[SpikingPolicy], Engine]] = {"fused": FusedEngine, "snntorch": SnntorchEngine}


def make_engine(name: str, policy: SpikingPolicy) -> Engine:
    """Return the named engine for a policy. Raises UserError on an unknown name."""
    if name not in ENGINES:
        raise UserError(f"unknown engine {name!r}{nearest(name, ENGINES)}; known: {', '.join(ENGINES)}")
    return ENGINES[name](policy)


def step(engine: Engine, x: Tensor, state: NetState, ticks: int) -> list[NetState]:
    """Return the states after each of the ``ticks`` ticks of one environment step with input ``x`` [B, D]."""
    states = []
    for _ in range(ticks):
        state = engine.tick(x, state)
        states.append(state)
    return states
