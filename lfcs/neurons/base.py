"""What a neuron model is: the fields of its state, its tick, and what it makes of a learning signal."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from lfcs import rules
from lfcs.kernels import POST, TICK
from lfcs.pointers import Pointer, pointer

tick_pointer, post_pointer = pointer(TICK), pointer(POST)


class Loops(NamedTuple):
    """The compiled forms of a neuron model's ``tick`` and ``post``, one tick of B environments in a call.

    ``tick`` (before, current, cleared, constants, after) writes the fields of a state's rows [B, ...], which may be the
    same rows as before; its fields come first in a row. ``post`` (signal, after, cut, constants, carry, out) is called
    backwards in time and may leave in ``carry`` [B, N] what the tick before needs, 0 at the end and where ``cut``.
    """

    tick: Pointer
    post: Pointer
    constants: tuple[float, ...]  # the model's numbers, given to both as an array in the network's precision


class Slow(NamedTuple):
    """A second, slow component of the eligibility: e_t = ψ_t (x̄_t - strength · ε_t) ,  ε_{t+1} = decay · ε_t + e_t.

    ``post`` of a model that has one is post_t = ψ_t (L̂_t + λ_{t+1}) with λ_t = decay · λ_{t+1} - strength · post_t, and
    its compiled form carries λ.
    """

    strength: float
    decay: float  # per tick


class Neuron(Protocol):
    """A neuron model, made from :class:`lfcs.config.NetworkConfig`; it keeps no state between calls.

    ``fields`` names the numbers that a neuron carries from tick to tick, spikes "spk" first and membrane "mem" second.
    ``decays`` are those of the presynaptic traces of G groups of neurons, per tick: the synapses onto neuron i see
    x̄^g_t = decays_g · x̄^g_{t-1} + pre_t with g = i mod G. ``slow`` is what an eligibility has beside ψ x̄, mostly None.
    ``loops`` are compiled loops, or None where the tensor operations of :meth:`tick` and :meth:`post` are all there is.
    """

    fields: tuple[str, ...]
    decays: tuple[float, ...]
    slow: Slow | None
    loops: Loops | None

    def cell(self, neurons: int) -> nn.Module:
        """Return snntorch's module for N neurons, whose ``recurrent`` is an nn.Linear without bias."""

    def witness(self, cell: Any, current: Tensor, fields: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the fields one tick later by snntorch; ``current`` [B, N] is without the recurrent part."""

    def tick(self, current: Tensor, fields: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the fields [B, N] one tick later, from all that flows in, ``current`` [B, N]."""

    def post(self, signal: Tensor, fields: tuple[Tensor, ...], reset: Tensor) -> Tensor:
        """Return the postsynaptic factor [T, B, N] of dW = Σ_t post_t x̄_t from the filtered signal L̂ [T, B, N].

        ``fields`` are by tick, [T, B, N] each; ``reset`` [T, B] is true where the state was cleared before a tick.
        """


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
