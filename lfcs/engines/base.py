"""What an engine does: it advances a network through time and gives the local gradient of its weights.

All engines take and return :class:`lfcs.network.NetState`, read the same parameters and give the same numbers. snntorch
defines the network; the tests hold the others to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lfcs import rules
from lfcs.network import NetState, SpikingNetwork


class Steps(NamedTuple):
    """What S steps of B environments gave."""

    states: NetState  # [T, B] by tick, T = S · ticks
    params: Tensor  # [S, B, K] of the head
    value: Tensor  # [S, B]


class Engine(Protocol):
    """Advances and differentiates a network. Made after the network is on its device.

    ``local`` says that its gradient is made of eligibilities, so that a slow one may be carried over chunks.
    """

    local: bool

    def run(
        self, x: Tensor, state: NetState, reset: Tensor, out: Tensor | None = None, differentiable: bool = False
    ) -> Steps:
        """Run S steps with inputs ``x`` [S, B, D] from a state [B]; ``reset`` [S, B] clears a state before a step.

        ``out`` is memory for the states, which may be part of a larger one. ``differentiable`` says that
        :meth:`gradients` of these steps will be asked for next. Raises ValueError on shapes that do not fit.
        """

    def gradients(
        self,
        seen: NetState,
        reset: Tensor,
        error: Tensor,
        feedback: Tensor,
        drive: Tensor,
        slow: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the gradients of the packed weights, ``hidden`` [D+1+N, N] and ``readout`` [K + 1, N + 1].

            dW_out,k = Σ_t s_k,t [y_t, 1] ,  L_i,t = Σ_k B_ki s_k,t + c_i
            dW_hid,ij = Σ_t L_i,t ē_ij,t = Σ_t L̂_i,t ψ_i,t x̄_j,t          x̄ with the decay of neuron i

        The weights must have been constant over the S steps. The ``error`` s [S, B, K + 1] acts at each step's last
        tick, through the ``feedback`` weights B [K + 1, N], with the neurons' ``drive`` c [N]; ``seen`` and ``reset``
        [T', B], by tick, may begin before the steps (the tail). ``slow`` [B, D+1+N, N] is the slow eligibility that
        enters their first tick, where the neuron model has one; none is nought. Source: Bellec et al. 2020, eq. (1) and
        Methods (reward-based e-prop). The result may be overwritten by the next call.
        """

    def post(self, seen: NetState, reset: Tensor, error: Tensor, feedback: Tensor, drive: Tensor) -> Tensor:
        """Return the postsynaptic factor [T', B, N] of Σ_t post_t x̄_t, for LIF L̂_t ψ_t; see :meth:`gradients`."""


def at_last_tick(signal: Tensor, ticks: int, total: int) -> Tensor:
    """Spread a signal by step [S, B, N] over ``total`` ticks: at each step's last tick, the last steps at the end."""
    _, batch, neurons = signal.shape
    out = signal.new_zeros(total, batch, neurons)
    out[total - (len(signal) - 1) * ticks - 1 :: ticks] = signal
    return out


def where_connected(hidden: Tensor, network: SpikingNetwork) -> Tensor:
    """Return a gradient of the packed hidden weights [..., D+1+N, N] set to 0 where there are no synapses.

    No neuron has one onto itself, nor those that ``network.fan_out`` leaves out.
    """
    recurrent = hidden[..., -hidden.shape[-1] :, :]
    recurrent.diagonal(dim1=-2, dim2=-1).zero_()
    if network.present is not None:
        recurrent.mul_(network.present)
    return hidden


class TickwiseEngine(ABC):
    """Time as a loop over single ticks; the gradient as one dense product. Runs on every device."""

    local = True

    def __init__(self, network: SpikingNetwork) -> None:
        self.network, self.ticks = network, network.config.ticks

    @abstractmethod
    def run(
        self, x: Tensor, state: NetState, reset: Tensor, out: Tensor | None = None, differentiable: bool = False
    ) -> Steps:
        """See :meth:`Engine.run`."""

    def steps(self, by_tick: NetState, x: Tensor) -> Steps:
        """Return the states [T, B] by tick with what is read at each step's last, after inputs ``x`` [S, B, D]."""
        return Steps(by_tick, *self.read(by_tick.at(slice(self.ticks - 1, None, self.ticks)), x))

    @abstractmethod
    def read(self, states: NetState, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the head's parameters [..., K] and the value [...] of states [...] after inputs ``x`` [..., D]."""

    @torch.no_grad()
    def gradients(
        self,
        seen: NetState,
        reset: Tensor,
        error: Tensor,
        feedback: Tensor,
        drive: Tensor,
        slow: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`Engine.gradients`."""
        own = seen.readout[len(seen.data) - len(error) * self.ticks :][self.ticks - 1 :: self.ticks]
        readout = torch.cat((rules.chunk_gradient(error, own), error.sum((0, 1))[:, None]), dim=1)
        post = self.post(seen, reset, error, feedback, drive)
        neuron = self.network.neuron
        hidden = rules.grouped_gradient(seen.trace, post, len(neuron.decays))
        if slow is not None and neuron.slow is not None:
            hidden += (slow * rules.slow_factor(post, reset, *neuron.slow)[:, None]).sum(0)
        return where_connected(hidden, self.network), readout

    @torch.no_grad()
    def post(self, seen: NetState, reset: Tensor, error: Tensor, feedback: Tensor, drive: Tensor) -> Tensor:
        """See :meth:`Engine.post`."""
        signal = at_last_tick(rules.learning_signal(error, feedback) + drive, self.ticks, len(seen.data))
        reset = self.network.resets(reset, self.ticks)
        filtered = rules.filter_backwards(signal, self.network.config.kappa, reset)
        return self.network.neuron.post(filtered, seen.of_neurons(), reset)
