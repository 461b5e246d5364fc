"""One update of a window in JAX, on the same window as ours: the rule's own, and backpropagation through time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lfcs.config import NetworkConfig
from lfcs.learner import Learner
from lfcs.network import SpikingNetwork
from lfcs.study.jax import adam, network, rule
from lfcs.study.jax.acting import Lived, log_prob
from lfcs.trajectory import Trajectory

EPS, VALUE, MAX_NORM, RATE = 0.2, 0.5, 0.5, 1e-4  # as in lfcs.study.measure.autograd_update


def weights_of(policy: SpikingNetwork) -> network.Weights:
    """Return a copy of a network's weights."""
    return network.Weights(jnp.array(policy.hidden.numpy()), jnp.array(policy.readout.numpy()))


def state_of(traj: Trajectory) -> network.State:
    """Return a copy of the state at a window's start."""
    state = traj.state
    return network.State(*(jnp.array(part.numpy()) for part in (state.spk, state.mem, state.readout, state.trace)))


def lived_of(traj: Trajectory) -> Lived:
    """Return a copy of a window."""
    none = np.zeros_like(traj.x[0].numpy())
    kept: dict[str, Any] = {
        "logp": traj.logp_ref.numpy(),
        "final": np.array([t in traj.final for t in range(len(traj.x))]),
        "following": np.stack([traj.final[t].numpy() if t in traj.final else none for t in range(len(traj.x))]),
    }
    same = {name: getattr(traj, name).numpy() for name in Lived._fields if name not in kept}
    return Lived(**{name: jnp.array(part) for name, part in (same | kept).items()})


def rule_update(learner: Learner, traj: Trajectory, eps: float = EPS) -> Callable[[], None]:
    """Return what :meth:`lfcs.learner.Learner.learn` does with a window, from the weights of a learner of ours."""
    policy = learner.update.network
    settings = rule.Settings(policy.config, learner.rule, eps)
    learning, start, lived = rule.begin(weights_of(policy), settings), state_of(traj), lived_of(traj)
    learn = jax.jit(partial(rule.learn, settings), donate_argnums=0)

    def update() -> None:
        nonlocal learning
        learning, _ = jax.block_until_ready(learn(learning, start, lived, 1.0))

    return update


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def spike(v: jax.Array, dampening: float) -> jax.Array:
    """Return H(v), with the derivative γ_pd max(0, 1 - |v|) of :func:`lfcs.rules.surrogate_derivative`."""
    return (v > 0.0).astype(v.dtype)


@spike.defjvp
def _spike_jvp(dampening: float, given: tuple[jax.Array], tangent: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (v,), (dv,) = given, tangent
    return spike(v, dampening), dampening * jnp.maximum(1.0 - jnp.abs(v), 0.0) * dv


def loss(weights: network.Weights, config: NetworkConfig, start: network.State, lived: Lived) -> jax.Array:
    """PPO's clipped loss of a window that has no resets, with the reward as advantage, differentiable through time."""
    recurrent = weights.hidden[lived.x.shape[-1] + 1 :]

    def one(state: tuple[jax.Array, ...], current: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
        z, u, y = state
        u = config.beta * u + current + z @ recurrent - lax.stop_gradient(z)
        z = spike(u - 1.0, config.dampening)
        y = y + (1.0 - config.kappa) * (z - y)
        return (z, u, y), y

    y = lax.scan(one, start[:3], network.input_current(weights, lived.x), unroll=rule.UNROLL)[1]
    logits, value = network.read(weights, y)
    rho = jnp.exp(log_prob(logits, lived.action) - lived.logp)
    gain = jnp.minimum(rho * lived.reward, jnp.clip(rho, 1.0 - EPS, 1.0 + EPS) * lived.reward).mean()
    return -gain + VALUE * ((lived.reward - value) ** 2).mean()


def bptt_update(policy: SpikingNetwork, traj: Trajectory) -> Callable[[], None]:
    """Return one update of a window by backpropagation through time, as :func:`lfcs.study.measure.autograd_update`."""
    start, lived, weights = state_of(traj), lived_of(traj), weights_of(policy)
    state = weights, adam.begin(weights)

    def step(state: Any, start: network.State, lived: Lived) -> tuple[network.Weights, adam.Moments]:
        weights, moments = state
        descent = jax.grad(loss)(weights, policy.config, start, lived)
        rates = network.Weights(jnp.array(-RATE), jnp.array(-RATE))
        return adam.ascend(weights, moments, descent, rates, MAX_NORM)[:2]

    compiled = jax.jit(step, donate_argnums=0)

    def update() -> None:
        nonlocal state
        state = jax.block_until_ready(compiled(state, start, lived))

    return update
