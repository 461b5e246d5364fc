"""The spiking network: recurrent neurons on snntorch with explicit state, a leaky readout for policy and critic.

    I_t = W_in x_t + W_rec z_{t-1} + b ,  z_t, … = tick(I_t, …)     a neuron model of lfcs/neurons
    y_t = κ y_{t-1} + (1 - κ) z_t                                   leaky readout
    params_t = W_pi y_t + b_pi ,  V_t = w_v · y_t + b_v + s · x_t   policy head, critic with a path of its own

Nothing is kept in the module between calls: state goes in and comes out, so two policies can run side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lfcs import rules
from lfcs.config import NetworkConfig
from lfcs.neurons import make_neuron

PRECISION = torch.float32  # of the weights a network is made with; everything else follows them


@dataclass(frozen=True)
class NetState:
    """States after a tick, of any leading shape: [B] environments, or [T, B] by tick.

    One row [z | u | … | y | x̄] holds the neurons' fields, the readout trace and the presynaptic trace of every source,
    as often as neurons have different decays: x̄ = [x̄^1 | … | x̄^G].
    """

    data: Tensor  # [..., F·N + N + G·(D + 1 + N)]
    neurons: int
    fields: int = 2  # F, numbers that a neuron carries: spikes, membrane, and what its model adds

    def of_neurons(self) -> tuple[Tensor, ...]:
        """Return the neurons' fields, F of [..., N]."""
        return self.data[..., : self.fields * self.neurons].split(self.neurons, dim=-1)

    @property
    def spk(self) -> Tensor:
        """Spikes z [..., N], 0 or 1."""
        return self.data[..., : self.neurons]

    @property
    def mem(self) -> Tensor:
        """Membrane u [..., N], in thresholds."""
        return self.data[..., self.neurons : 2 * self.neurons]

    @property
    def readout(self) -> Tensor:
        """Readout trace y [..., N]."""
        return self.data[..., self.fields * self.neurons : (self.fields + 1) * self.neurons]

    @property
    def trace(self) -> Tensor:
        """Presynaptic traces x̄ of [x, 1, z], [..., G·(D + 1 + N)]."""
        return self.data[..., (self.fields + 1) * self.neurons :]

    @staticmethod
    def join(fields: tuple[Tensor, ...], readout: Tensor, trace: Tensor) -> NetState:
        """Return the state with these parts, the fields of the neurons first."""
        return NetState(torch.cat((*fields, readout, trace), dim=-1), readout.shape[-1], len(fields))

    def with_data(self, data: Tensor) -> NetState:
        """Return a state of the same network with other numbers."""
        return NetState(data, self.neurons, self.fields)

    def at(self, tick: int | slice) -> NetState:
        """Return the state at a tick, or a stretch of ticks, of states by tick."""
        return self.with_data(self.data[tick])

    def cleared(self, reset: Tensor) -> NetState:
        """Return the state with the environments where ``reset`` [B] is true, and no other, started afresh."""
        return self.with_data(self.data * (~reset)[:, None])


def connections(neurons: int, fan_out: int) -> Tensor:
    """Return which recurrent synapses there are [N, N], 1 or 0: ``fan_out`` from every neuron and onto every neuron.

    Neuron j reaches the neurons j + o for so many offsets o, drawn once for all networks of this shape.
    """
    offsets = np.random.default_rng(neurons).permutation(neurons - 1)[:fan_out] + 1
    sources, found = torch.arange(neurons), torch.zeros(neurons, neurons)
    for offset in offsets.tolist():
        found[(sources + offset) % neurons, sources] = 1.0
    return found


class SpikingNetwork(nn.Module):
    """A recurrent spiking network of N neurons with D inputs, ``outputs`` policy parameters and one value.

    Weights start normal with the gains of :class:`NetworkConfig`; recurrent weights are non-zero except for the
    diagonal, which is and stays zero, as is what ``fan_out`` leaves out; readouts start small, so that the first policy
    is near uniform. ``drive`` is the number of inputs whose gain it is, where that is not D because most of them are
    zero at any time.
    """

    def __init__(
        self, inputs: int, outputs: int, config: NetworkConfig, generator: torch.Generator, drive: float | None = None
    ) -> None:
        super().__init__()
        n = config.neurons
        self.config = config
        self.input = nn.Linear(inputs, n)
        self.neuron = make_neuron(config)
        self.cell: Any = self.neuron.cell(n)
        self.policy_readout = nn.Linear(n, outputs)
        self.value_readout = nn.Linear(n, 1)
        self.value_path = nn.Linear(inputs, 1, bias=False) if config.critic_path else None
        with torch.no_grad():
            for weight, std in (
                (self.input.weight, config.input_gain / (drive or inputs) ** 0.5),
                (self.recurrent, config.recurrent_gain / (config.fan_out or n) ** 0.5),
                (self.policy_readout.weight, config.readout_gain / n**0.5),
                (self.value_readout.weight, config.readout_gain / n**0.5),
            ):
                weight.normal_(0.0, std, generator=generator)
            for bias in (self.input.bias, self.policy_readout.bias, self.value_readout.bias):
                bias.zero_()
            self.recurrent.fill_diagonal_(0.0)
            if config.fan_out:
                self.recurrent.mul_(connections(n, config.fan_out))
            if self.value_path is not None:
                self.value_path.weight.zero_()
        self.to(PRECISION)

    @property
    def recurrent(self) -> nn.Parameter:
        """W_rec [N, N], from the second index to the first."""
        return self.cell.recurrent.weight

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SpikingNetwork:
        """Move or convert the module, then lay its weights out again (called by ``to``, ``double``, ``cuda``)."""
        super()._apply(fn, recurse)
        self._pack()
        return self

    @torch.no_grad()
    def _pack(self) -> None:
        """Keep all weights in few tensors, so that one product or one optimiser step covers each; parameters are views.

        ``hidden`` [D + 1 + N, N] holds [W_in | b | W_rec]ᵀ: a row is the fan-out of one presynaptic source.
        ``readout`` [K + 1, N + 1] holds [W_pi; w_v] and, in its last column, the biases. ``path`` [D] is the critic's
        own from the inputs, s, or [0] where it has none; ``decay`` [G·(D + 1 + N)] that of every number in x̄;
        ``present`` [N, N], from the first index to the second, which recurrent synapses there are, None for all.
        """
        d, n, k = self.input.in_features, self.config.neurons, self.policy_readout.out_features
        self.hidden = torch.cat((self.input.weight.T, self.input.bias[None], self.recurrent.T))
        weights = torch.cat((self.policy_readout.weight, self.value_readout.weight))
        biases = torch.cat((self.policy_readout.bias, self.value_readout.bias))
        self.readout = torch.cat((weights, biases[:, None]), dim=1)
        self.path = self.hidden.new_zeros(0) if self.value_path is None else self.value_path.weight.data[0]
        self.input.weight.data, self.input.bias.data = self.hidden[:d].T, self.hidden[d]
        self.recurrent.data = self.hidden[d + 1 :].T
        fan_out = self.config.fan_out
        self.present = connections(self.config.neurons, fan_out).T.to(self.hidden) if fan_out else None
        self.decay = self.hidden.new_tensor(self.neuron.decays).repeat_interleave(len(self.hidden))
        self.policy_readout.weight.data, self.policy_readout.bias.data = self.readout[:k, :n], self.readout[:k, n]
        self.value_readout.weight.data, self.value_readout.bias.data = self.readout[k:, :n], self.readout[k:, n]

    def __deepcopy__(self, memo: dict[int, Any]) -> SpikingNetwork:
        """Return an independent twin whose parameters are views of tensors of its own."""
        outputs = self.policy_readout.out_features
        twin = SpikingNetwork(self.input.in_features, outputs, self.config, torch.Generator().manual_seed(0))
        twin.to(self.hidden.device, self.hidden.dtype)
        twin.load_state_dict(self.state_dict())
        return twin

    @torch.no_grad()
    def take(self, weights: SpikingNetwork) -> None:
        """Copy the weights of another network of the same shape."""
        for own, other in zip(self.packed, weights.packed, strict=True):
            own.copy_(other)

    @property
    def packed(self) -> list[Tensor]:
        """The tensors that hold all weights: hidden, readout and the critic's path."""
        return [self.hidden, self.readout, self.path]

    def initial_state(self, batch: int) -> NetState:
        """Return the state at rest for ``batch`` environments."""
        n, fields = self.hidden.shape[1], len(self.neuron.fields)
        return NetState(self.hidden.new_zeros(batch, (fields + 1) * n + len(self.decay)), n, fields)

    def state_of(self, data: np.ndarray) -> NetState:
        """Return the state whose rows are ``data`` [B, ...]; its shape is checked when it is used."""
        like = self.hidden
        return NetState(torch.from_numpy(data).to(like.device, like.dtype), like.shape[1], len(self.neuron.fields))

    def resets(self, reset: Tensor, ticks: int = 1) -> Tensor:
        """Return where a state is cleared [T, B], by tick: where an episode begins, without memory before every step.

        ``reset`` [T, B] ends with a step's last tick. Whatever clears a state, or the credit that goes back through it,
        asks here; returns and advantages go by where episodes begin and end.
        """
        if self.config.memory:
            return reset
        out = reset.clone()
        out[len(reset) % ticks :: ticks] = True
        return out

    def check(self, x: Tensor, reset: Tensor, state: NetState) -> None:
        """Raise ValueError if inputs [S, B, D], resets [S, B] and state [B] do not fit each other and the network.

        snntorch would silently start from zeros.
        """
        (sources, n), shape = self.hidden.shape, state.data.shape
        width = (len(self.neuron.fields) + 1) * n + len(self.decay)
        fits = shape[1:] == (width,) and x.shape[1:] == (shape[0], sources - 1 - n)
        if not (fits and reset.shape == x.shape[:2] and x.dtype == state.data.dtype == self.hidden.dtype):
            raise ValueError(
                f"input {tuple(x.shape)} {x.dtype}, resets {tuple(reset.shape)} and state {tuple(shape)} are not "
                f"[S, B, {sources - 1 - n}] {self.hidden.dtype}, [S, B] and [B, {width}]"
            )

    def tick(self, x: Tensor, state: NetState) -> NetState:
        """Advance one tick with input ``x`` [B, D], by snntorch. Raises ValueError on a shape that does not fit."""
        self.check(x[None], x[None, :, 0], state)
        fields = self.neuron.witness(self.cell, self.input(x), state.of_neurons())
        pre = torch.cat((x, x.new_ones(len(x), 1), state.spk.detach()) * len(self.neuron.decays), dim=1)
        y = rules.leaky_readout(state.readout, fields[0], self.config.kappa)
        return NetState.join(fields, y, rules.presynaptic_trace(state.trace, pre, self.decay))

    def read(self, state: NetState, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the head's parameters [..., K] and the value [...] of states [...] after inputs ``x`` [..., D]."""
        y = state.readout
        return self.policy_readout(y), self.along_path(x, self.value_readout(y)[..., 0])

    def along_path(self, x: Tensor, value: Tensor) -> Tensor:
        """Return V + s · x [...] for inputs ``x`` [..., D]; V where the critic has no path of its own."""
        return value + x @ self.path if len(self.path) else value
