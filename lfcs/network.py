"""The spiking policy: snntorch's RLeaky with explicit state, a leaky readout, a policy head and a critic.

    u_t = β u_{t-1} + W_in x_t + W_rec z_{t-1} + b - θ z_{t-1}      membrane, reset by subtraction, θ = 1
    z_t = H(u_t - θ)                                                spike
    y_t = κ y_{t-1} + (1 - κ) z_t                                   leaky readout
    params_t = W_pi y_t + b_pi ,  V_t = w_v · y_t + b_v             policy head, critic

Nothing is kept in the module between calls: state goes in and comes out, so two policies can run side by side.
"""

from __future__ import annotations

from typing import NamedTuple

import snntorch
import torch
from torch import Tensor, nn

from lfcs import rules
from lfcs.config import NetworkConfig


class NetState(NamedTuple):
    """State of B environments after a tick. ``trace`` is x̄ of [x, 1, z], the presynaptic side of every synapse."""

    spk: Tensor  # [B, N] spikes z, 0 or 1
    mem: Tensor  # [B, N] membrane u, in thresholds
    readout: Tensor  # [B, N] y
    trace: Tensor  # [B, D + 1 + N]

    def cleared(self, reset: Tensor) -> NetState:
        """Return the state with the environments where ``reset`` [B] is true, and no other, started afresh."""
        keep = (~reset)[:, None]
        return NetState(*(s * keep for s in self))


class Spike(torch.autograd.Function):
    """Heaviside step with the surrogate derivative of :func:`lfcs.rules.surrogate_derivative`.

    snntorch's own surrogates return float32 whatever they are given; this one keeps the dtype.
    """

    @staticmethod
    def forward(ctx, v: Tensor, dampening: float) -> Tensor:  # type: ignore[override]
        """Return 1 where v > 0, else 0, in the dtype of ``v``."""
        ctx.save_for_backward(v)
        ctx.dampening = dampening
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        """Return grad · ψ(v)."""
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
                (self.policy_readout.weight, 0.1 / n**0.5),
                (self.value_readout.weight, 0.1 / n**0.5),
            ):
                weight.normal_(0.0, std, generator=generator)
            for bias in (self.input.bias, self.policy_readout.bias, self.value_readout.bias):
                bias.zero_()
        self.clear_diagonal()
        self.to(torch.get_default_dtype())

    @property
    def recurrent(self) -> Tensor:
        """W_rec [N, N], from the second index to the first."""
        return self.rleaky.recurrent.weight

    def hidden_parameters(self) -> list[nn.Parameter]:
        """Return W_in [N, D], b [N] and W_rec [N, N]: the weights that learn from eligibility traces."""
        return [self.input.weight, self.input.bias, self.rleaky.recurrent.weight]

    def readout_parameters(self) -> list[nn.Parameter]:
        """Return W_pi [K, N], b_pi [K], w_v [1, N] and b_v [1]."""
        return [*self.policy_readout.parameters(), *self.value_readout.parameters()]

    def clear_diagonal(self) -> None:
        """Set the self-connections of W_rec to zero."""
        with torch.no_grad():
            self.recurrent.fill_diagonal_(0.0)

    def initial_state(self, batch: int) -> NetState:
        """Return the state at rest for ``batch`` environments."""
        n, d = self.input.weight.shape
        zeros = self.input.weight.new_zeros
        return NetState(zeros(batch, n), zeros(batch, n), zeros(batch, n), zeros(batch, d + 1 + n))

    def tick(self, x: Tensor, state: NetState) -> NetState:
        """Advance one tick with input ``x`` [B, D]. Raises ValueError on a shape that does not fit the state.

        (snntorch would silently replace a state of another shape by zeros.)
        """
        n, d = self.input.weight.shape
        batch = len(x)
        expected = ((batch, n), (batch, n), (batch, n), (batch, d + 1 + n))
        if x.shape != (batch, d) or tuple(tuple(s.shape) for s in state) != expected:
            raise ValueError(f"input {tuple(x.shape)} or state {[tuple(s.shape) for s in state]} is not {expected}")
        spk, mem = self.rleaky(self.input(x), state.spk, state.mem)
        pre = torch.cat((x, x.new_ones(batch, 1), state.spk.detach()), dim=1)
        return NetState(
            spk,
            mem,
            rules.leaky_readout(state.readout, spk, self.config.kappa),
            rules.presynaptic_trace(state.trace, pre, self.config.beta),
        )

    def step(self, x: Tensor, state: NetState) -> list[NetState]:
        """Return the states after each of the ``ticks`` ticks of one environment step with input ``x`` [B, D]."""
        states = []
        for _ in range(self.config.ticks):
            state = self.tick(x, state)
            states.append(state)
        return states

    def read(self, readout: Tensor) -> tuple[Tensor, Tensor]:
        """Return the head's parameters [..., K] and the value [...] of a readout trace y [..., N]."""
        return self.policy_readout(readout), self.value_readout(readout)[..., 0]

    def surrogate(self, mem: Tensor) -> Tensor:
        """Return ψ of a membrane potential, any shape."""
        return rules.surrogate_derivative(mem - 1.0, self.config.dampening)
