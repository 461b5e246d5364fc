"""lf-cs in JAX: what lfcs/update.py and lfcs/learner.py do with a window, as one program for XLA.

The window form with tau_s = window: the reference is the new policy as it was at the window's start. Gradients are
dense products of traces and signals; nothing here follows the spikes.

Source: Capone & Muratore, arXiv:2402.10069; Bellec et al., Nature Communications 11:3625 (2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lfcs.config import NetworkConfig, RuleConfig
from lfcs.study.jax import adam
from lfcs.study.jax.acting import Lived, advantages, log_prob
from lfcs.study.jax.network import State, Weights, input_current, read, tick

UNROLL = 4


@dataclass(frozen=True)
class Settings:
    """What the rule reads; ``eps`` is the width of the sided mask. Raises ValueError on what is not written here."""

    network: NetworkConfig
    rule: RuleConfig
    eps: float = 0.2

    def __post_init__(self) -> None:
        rule = self.rule
        known = rule.form == "window" and rule.feedback == "symmetric" and rule.tau_s == rule.window
        if not (known and self.network.ticks == 1 and rule.window % rule.tau_f == 0):
            raise ValueError("in JAX: the window form, symmetric feedback, 1 tick, tau_s = window, a multiple of tau_f")


class Learning(NamedTuple):
    """All that learning changes."""

    weights: Weights
    moments: adam.Moments
    firing_rate: jax.Array  # [N] low-passed, in spikes per tick


class Tail(NamedTuple):
    """The ticks before a chunk whose eligibility still counts through the readout filter."""

    mem: jax.Array  # [tail, B, N]
    trace: jax.Array  # [tail, B, D + 1 + N]
    reset: jax.Array  # [tail, B]


class Seen(NamedTuple):
    """What a chunk of S steps, or a pass, gave."""

    value: jax.Array  # [S, B]
    bootstrap: jax.Array  # [S, B]
    rho: jax.Array  # [S, B]


def begin(weights: Weights, settings: Settings) -> Learning:
    """Return what learning starts from."""
    n, like = settings.network.neurons, weights.hidden.dtype
    return Learning(weights, adam.begin(weights), jnp.full(n, settings.rule.target_rate, like))


def forward(weights: Weights, config: NetworkConfig, start: State, lived: Lived) -> tuple[State, jax.Array]:
    """Run the network over S stored steps; return the states by tick [S, B, ...] and the bootstraps [S, B]."""

    def one(state: State, given: Any) -> tuple[State, tuple[State, jax.Array]]:
        x, current, reset, final, following = given
        state = tick(weights, config, state, x, current, reset)

        def look() -> jax.Array:
            given = following, input_current(weights, following), jnp.zeros_like(reset)
            return read(weights, tick(weights, config, state, *given).readout)[1]

        return state, (state, lax.cond(final, look, lambda: jnp.zeros_like(x[:, 0])))

    xs = lived.x, input_current(weights, lived.x), lived.reset, lived.final, lived.following
    return lax.scan(one, start, xs, unroll=min(UNROLL, len(lived.x)))[1]


def filter_backwards(signal: jax.Array, kappa: float, reset: jax.Array) -> jax.Array:
    """Return L̂_t = (1 - κ) L_t + κ L̂_{t+1} [T, B, N], no credit crossing a reset; see lfcs/rules.py."""
    cut = jnp.concatenate((reset[1:], jnp.ones_like(reset[:1])))
    keep = (kappa * ~cut)[..., None].astype(signal.dtype)

    def back(later: jax.Array, given: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        now = given[0] + given[1] * later
        return now, now

    return lax.scan(back, jnp.zeros_like(signal[0]), ((1.0 - kappa) * signal, keep), reverse=True, unroll=UNROLL)[1]


def output_error(
    settings: Settings, logits: jax.Array, lived: Lived, advantage: jax.Array, entropy_bonus: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return what the logits should change by [S, B, K], and ρ [S, B].

    ρ m A (1[a = k] - π_k) - c_H π_k (log π_k + H) ,  m = 1[sign(A) (ρ - 1) < ε]
    """
    logp = jax.nn.log_softmax(logits)
    pi = jnp.exp(logp)
    rho = jnp.exp(log_prob(logits, lived.action) - lived.logp)
    weight = jnp.where(jnp.sign(advantage) * (rho - 1.0) < settings.eps, rho * advantage, 0.0)
    score = jax.nn.one_hot(lived.action, logits.shape[-1], dtype=logits.dtype) - pi
    entropy = -(pi * logp).sum(-1, keepdims=True)
    return weight[..., None] * score - entropy_bonus * pi * (logp + entropy), rho


def gradient(settings: Settings, learning: Learning, past: Tail, states: State, error: jax.Array) -> Weights:
    """Return the local gradient Σ_t L̂_t ψ_t x̄_t, and Σ_t s_t [y_t, 1] of the readout.

    ``error`` s [S, B, K + 1] acts in the last S ticks of ``past``, whose states are ``states``.
    """
    rule, network, mean = settings.rule, settings.network, 1.0 / error[..., 0].size
    shares = jnp.ones(error.shape[-1], error.dtype).at[-1].set(rule.critic_share)
    drive = mean * rule.homeostasis * (rule.target_rate - learning.firing_rate)
    signal = error @ (learning.weights.readout[:, :-1] * shares[:, None]) + drive
    before = len(past.reset) - len(error)
    signal = jnp.concatenate((jnp.zeros((before, *signal.shape[1:]), signal.dtype), signal))
    psi = network.dampening * jnp.maximum(1.0 - jnp.abs(past.mem - 1.0), 0.0)
    post = filter_backwards(signal, network.kappa, past.reset) * psi
    hidden = jnp.einsum("tbd,tbn->dn", past.trace, post)
    n, sources = network.neurons, len(hidden)
    own = jnp.arange(sources)[:, None] - (sources - n) == jnp.arange(n)
    readout = jnp.einsum("tbk,tbn->kn", error, states.readout), error.sum((0, 1))[:, None]
    return Weights(jnp.where(own, 0.0, hidden), jnp.concatenate(readout, axis=1))


def learn_chunk(
    settings: Settings, rates: Weights, entropy_bonus: jax.Array, carry: Any, given: Any
) -> tuple[Any, tuple[Seen, jax.Array]]:
    """One update from a chunk of steps; returns what it saw and the norm of the gradient."""
    (learning, state, tail), (lived, advantage, target) = carry, given
    rule, weights = settings.rule, learning.weights
    states, bootstrap = forward(weights, settings.network, state, lived)
    logits, value = read(weights, states.readout)
    memory = (1.0 - 1.0 / rule.rate_memory) ** len(lived.x)
    rate = states.spk.mean((0, 1))
    learning = learning._replace(firing_rate=rate + memory * (learning.firing_rate - rate))
    error, rho = output_error(settings, logits, lived, advantage, entropy_bonus)
    error = jnp.concatenate((error, rule.value * (target - value)[..., None]), axis=-1) / value.size
    past = jax.tree.map(lambda *parts: jnp.concatenate(parts), tail, Tail(states.mem, states.trace, lived.reset))
    ascent = gradient(settings, learning, past, states, error)
    weights, moments, norm = adam.ascend(weights, learning.moments, ascent, rates, rule.max_grad_norm)
    learning = learning._replace(weights=weights, moments=moments)
    tail = jax.tree.map(lambda part: part[len(part) - rule.tail :], past)
    return (learning, jax.tree.map(lambda part: part[-1], states), tail), (Seen(value, bootstrap, rho), norm)


def learn_pass(
    settings: Settings, learning: Learning, start: State, lived: Lived, view: Seen, left: jax.Array
) -> tuple[Learning, Seen, jax.Array]:
    """One pass over a window in order of time, an update from each chunk; ``view`` is what the pass before saw.

    ``left`` is the share of the run still to come.
    """
    rule = settings.rule
    fall = rule.lr_final + (1.0 - rule.lr_final) * left
    bonus = rule.entropy * (rule.entropy_final + (1.0 - rule.entropy_final) * left)
    raw = advantages(lived, view.value, view.bootstrap, rule.gamma, rule.lam)
    advantage = (raw - raw.mean()) / (raw.std() + 1e-8) if rule.normalise else raw
    given = lived, advantage, raw + view.value
    chunks = jax.tree.map(lambda part: part.reshape(-1, rule.tau_f, *part.shape[1:]), given)
    parts = start.mem, start.trace, lived.reset[0]
    tail = Tail(*(jnp.zeros((rule.tail, *part.shape), part.dtype) for part in parts))  # no trace: it adds nothing
    rates = Weights(rule.lr_hidden * fall, rule.lr_readout * fall)

    def chunk(carry: Any, given: Any) -> tuple[Any, tuple[Seen, jax.Array]]:
        return learn_chunk(settings, rates, bonus, carry, given)

    (learning, _, _), (seen, norm) = lax.scan(chunk, (learning, start, tail), chunks)
    return learning, jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:]), seen), norm


def learn(
    settings: Settings, learning: Learning, start: State, lived: Lived, left: jax.Array
) -> tuple[Learning, dict[str, jax.Array]]:
    """R passes over a window from the state at its start; returns some figures of the last one."""
    view = Seen(lived.value, lived.bootstrap, jnp.ones_like(lived.value))

    def again(carry: Any, _: None) -> tuple[Any, jax.Array]:
        learning, view = carry
        learning, view, norm = learn_pass(settings, learning, start, lived, view, left)
        return (learning, view), norm

    (learning, view), norm = lax.scan(again, (learning, view), None, length=settings.rule.replays)
    kl = (view.rho - 1.0 - jnp.log(view.rho)).mean()
    return learning, {"kl": kl, "rate": learning.firing_rate.mean(), "norm": norm[-1].mean()}
