"""How the network advances: the fused engine, which users run, and snntorch, its slow witness.

Both take and return the same :class:`lfcs.network.NetState` and read the same parameters. snntorch defines the
network; the tests hold the fused engine to its numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from lfcs.errors import UserError, nearest
from lfcs.network import NetState, SpikingPolicy

GATHER_FROM = 256  # neurons from which summing the rows of the few neurons that spiked beats a dense product, on a CPU


class Engine(Protocol):
    """Advances the network of one policy."""

    def tick(self, x: Tensor, state: NetState) -> NetState:
        """Return the state one tick later, with input ``x`` [B, D]; raises ValueError on shapes that do not fit."""


class SnntorchEngine:
    """The network as snntorch computes it."""

    def __init__(self, policy: SpikingPolicy) -> None:
        self.policy = policy

    @torch.no_grad()
    def tick(self, x: Tensor, state: NetState) -> NetState:
        """See :meth:`Engine.tick`."""
        return self.policy.tick(x, state)


class FusedEngine:
    """The same equations in a few tensor operations, without autograd, on the policy's packed weights.

        u_t = β u_{t-1} + b + W_in x_t + W_rec z_{t-1} - z_{t-1} ,  z_t = H(u_t - 1)
        y_t = y_{t-1} + (1 - κ)(z_t - y_{t-1}) ,  x̄_t = β x̄_{t-1} + [x_t, 1, z_{t-1}]

    In a large network on a CPU W_rec z is a sum over the neurons that spiked.
    """

    def __init__(self, policy: SpikingPolicy) -> None:
        self.policy = policy
        self.beta, self.kappa = policy.config.beta, policy.config.kappa
        self.gather = policy.config.neurons >= GATHER_FROM and policy.hidden.device.type == "cpu"

    def _recurrent(self, z: Tensor, weight: Tensor) -> Tensor:
        """Return Σ_j W_rec,ij z_j [B, N] as a sum of rows; ``weight`` [N, N] is W_recᵀ."""
        row, column = torch.nonzero(z, as_tuple=True)
        starts = torch.searchsorted(row, torch.arange(len(z), device=z.device))
        return functional.embedding_bag(column, weight, starts, mode="sum")

    @torch.no_grad()
    def tick(self, x: Tensor, state: NetState) -> NetState:
        """See :meth:`Engine.tick`."""
        hidden, inputs = self.policy.hidden, x.shape[-1]
        z, mem, y, trace = state
        self.policy.check(x, state)
        pre = torch.cat((x, x.new_ones(len(x), 1), z), dim=1)
        if self.gather:
            current = torch.addmm(hidden[inputs], x, hidden[:inputs])
            current += self._recurrent(z, hidden[inputs + 1 :])
        else:
            current = pre @ hidden
        u = current.add_(mem, alpha=self.beta).sub_(z)
        spk = torch.gt(u, 1.0, out=torch.empty_like(u))
        return NetState(spk, u, torch.lerp(y, spk, 1.0 - self.kappa), pre.add_(trace, alpha=self.beta))


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
