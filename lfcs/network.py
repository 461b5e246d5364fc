"""The spiking policy: snntorch's RLeaky with explicit state, a leaky readout, a policy head and a critic.

    u_t = β u_{t-1} + W_in x_t + W_rec z_{t-1} + b - θ z_{t-1}      membrane, reset by subtraction, θ = 1
    z_t = H(u_t - θ)                                                spike
    y_t = κ y_{t-1} + (1 - κ) z_t                                   leaky readout
    params_t = W_pi y_t + b_pi ,  V_t = w_v · y_t + b_v             policy head, critic

Nothing is kept in the module between calls: state goes in and comes out, so two policies can run side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import snntorch
import torch
from torch import Tensor, nn

from lfcs import rules
from lfcs.config import NetworkConfig


@dataclass(frozen=True)
class NetState:
    """States after a tick, of any leading shape: [B] environments, or [T, B] by tick.

    One row [z | u | y | x̄] holds spikes, membrane, readout trace and the presynaptic trace of every synapse.
    """

    data: Tensor  # [..., 3N + D + 1 + N]
    neurons: int

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
        return self.data[..., 2 * self.neurons : 3 * self.neurons]

    @property
    def trace(self) -> Tensor:
        """Presynaptic trace x̄ of [x, 1, z], [..., D + 1 + N]."""
        return self.data[..., 3 * self.neurons :]

    @staticmethod
    def join(spk: Tensor, mem: Tensor, readout: Tensor, trace: Tensor) -> NetState:
        """Return the state with these parts."""
        return NetState(torch.cat((spk, mem, readout, trace), dim=-1), spk.shape[-1])

    def at(self, tick: int | slice) -> NetState:
        """Return the state at a tick, or a stretch of ticks, of states by tick."""
        return NetState(self.data[tick], self.neurons)

    def cleared(self, reset: Tensor) -> NetState:
        """Return the state with the environments where ``reset`` [B] is true, and no other, started afresh."""
        return NetState(self.data * (~reset)[:, None], self.neurons)


class Spike(torch.autograd.Function):
    """Heaviside step with the surrogate derivative of :func:`lfcs.rules.surrogate_derivative`.

    snntorch's own surrogates return float32 whatever they are given; this one keeps the dtype.
    """

    @staticmethod
    def forward(*args: Any) -> Tensor:
        """Return 1 where v > 0, else 0, in the dtype of ``v``; arguments are the context, v and the dampening."""
        ctx, v, dampening = args
        ctx.save_for_backward(v)
        ctx.dampening = dampening
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(*args: Any) -> tuple[Tensor, None]:
        """Return grad · ψ(v); arguments are the context and grad."""
        ctx, grad = args
        (v,) = ctx.saved_tensors
        return grad * rules.surrogate_derivative(v, ctx.dampening), None


class SpikingPolicy(nn.Module):
    """A recurrent spiking network of N neurons with D inputs, ``outputs`` policy parameters and one value.

    Weights start normal with the gains of :class:`NetworkConfig`; recurrent weights are non-zero except for the
    diagonal, which is and stays zero; readouts start small, so that the first policy is near uniform.
    """

    def __init__(self, inputs: int, outputs: int, config: NetworkConfig, generator: torch.Generator) -> None:
        super().__init__()
        n = config.neurons
        self.config = config
        self.input = nn.Linear(inputs, n)
        self.rleaky = snntorch.RLeaky(
            # a float64 tensor keeps beta exact when the policy is moved to double precision
            beta=torch.tensor(config.beta, dtype=torch.float64),
            linear_features=n,
            spike_grad=lambda v: Spike.apply(v, config.dampening),
            reset_mechanism="subtract",
        )
        self.rleaky.recurrent = nn.Linear(n, n, bias=False)  # the input layer has the one bias a neuron needs
        self.policy_readout = nn.Linear(n, outputs)
        self.value_readout = nn.Linear(n, 1)
        with torch.no_grad():
            for weight, std in (
                (self.input.weight, config.input_gain / inputs**0.5),
                (self.rleaky.recurrent.weight, config.recurrent_gain / n**0.5),
                (self.policy_readout.weight, config.readout_gain / n**0.5),
                (self.value_readout.weight, config.readout_gain / n**0.5),
            ):
                weight.normal_(0.0, std, generator=generator)
            for bias in (self.input.bias, self.policy_readout.bias, self.value_readout.bias):
                bias.zero_()
            self.recurrent.fill_diagonal_(0.0)
        self.to(torch.get_default_dtype())

    @property
    def recurrent(self) -> nn.Parameter:
        """W_rec [N, N], from the second index to the first."""
        return self.rleaky.recurrent.weight

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SpikingPolicy:
        """Move or convert the module, then lay its weights out again (called by ``to``, ``double``, ``cuda``)."""
        super()._apply(fn, recurse)
        self._pack()
        return self

    @torch.no_grad()
    def _pack(self) -> None:
        """Keep all weights in two tensors, so that one product or one optimiser step covers each; parameters are views.

        ``hidden`` [D + 1 + N, N] holds [W_in | b | W_rec]ᵀ: a row is the fan-out of one presynaptic source.
        ``readout`` [K + 1, N + 1] holds [W_pi; w_v] and, in its last column, the biases.
        """
        d, n, k = self.input.in_features, self.config.neurons, self.policy_readout.out_features
        self.hidden = torch.cat((self.input.weight.T, self.input.bias[None], self.recurrent.T))
        weights = torch.cat((self.policy_readout.weight, self.value_readout.weight))
        biases = torch.cat((self.policy_readout.bias, self.value_readout.bias))
        self.readout = torch.cat((weights, biases[:, None]), dim=1)
        self.input.weight.data, self.input.bias.data = self.hidden[:d].T, self.hidden[d]
        self.recurrent.data = self.hidden[d + 1 :].T
        self.policy_readout.weight.data, self.policy_readout.bias.data = self.readout[:k, :n], self.readout[:k, n]
        self.value_readout.weight.data, self.value_readout.bias.data = self.readout[k:, :n], self.readout[k:, n]

    def __deepcopy__(self, memo: dict[int, Any]) -> SpikingPolicy:
        """Return an independent twin whose parameters are views of tensors of its own."""
        outputs = self.policy_readout.out_features
        twin = SpikingPolicy(self.input.in_features, outputs, self.config, torch.Generator().manual_seed(0))
        twin.to(self.hidden.device, self.hidden.dtype)
        twin.load_state_dict(self.state_dict())
        return twin

    def initial_state(self, batch: int) -> NetState:
        """Return the state at rest for ``batch`` environments."""
        n, d = self.input.weight.shape
        return NetState(self.hidden.new_zeros(batch, 4 * n + d + 1), n)

    def check(self, x: Tensor, reset: Tensor, state: NetState) -> None:
        """Raise ValueError if inputs [S, B, D], resets [S, B] and state [B] do not fit each other and the network.

        snntorch would silently start from zeros.
        """
        (sources, n), shape = self.hidden.shape, state.data.shape
        fits = shape[1:] == (3 * n + sources,) and x.shape[1:] == (shape[0], sources - 1 - n)
        if not (fits and reset.shape == x.shape[:2] and x.dtype == state.data.dtype == self.hidden.dtype):
            raise ValueError(
                f"input {tuple(x.shape)} {x.dtype}, resets {tuple(reset.shape)} and state {tuple(shape)} are not "
                f"[S, B, {sources - 1 - n}] {self.hidden.dtype}, [S, B] and [B, {3 * n + sources}]"
            )

    def tick(self, x: Tensor, state: NetState) -> NetState:
        """Advance one tick with input ``x`` [B, D]. Raises ValueError on a shape that does not fit the state."""
        self.check(x[None], x[None, :, 0], state)
        before = state.spk
        spk, mem = self.rleaky(self.input(x), before, state.mem)
        pre = torch.cat((x, x.new_ones(len(x), 1), before.detach()), dim=1)
        y = rules.leaky_readout(state.readout, spk, self.config.kappa)
        return NetState.join(spk, mem, y, rules.presynaptic_trace(state.trace, pre, self.config.beta))

    def read(self, state: NetState) -> tuple[Tensor, Tensor]:
        """Return the head's parameters [..., K] and the value [...] of states [...]."""
        y = state.readout
        return self.policy_readout(y), self.value_readout(y)[..., 0]

    def surrogate(self, mem: Tensor) -> Tensor:
        """Return ψ of a membrane potential, any shape."""
        return rules.surrogate_derivative(mem - 1.0, self.config.dampening)
