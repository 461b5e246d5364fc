"""PPO on CartPole in JAX, with an MLP or with a GRU: environments and learning in one call for each update.

Settings of the MLP are those of RL Baselines3 Zoo for CartPole-v1, else the defaults of Stable-Baselines3.
Network and settings of the GRU are those of PureJaxRL's recurrent PPO (its ``ppo_rnn.py``), but for the numbers of
environments and steps, and the rate: with its 2.5e-4, 16 environments needed twice the steps (one seed). Values are not
clipped. Truncated episodes bootstrap in both.

Source: Schulman et al., arXiv:1707.06347; Pleines et al., Generalization, mayhems and limits in recurrent PPO (2022).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lfcs.study.jax import acting, adam, encoders, gru, mlp
from lfcs.study.jax.acting import Lived, Model, advantages, log_prob
from lfcs.study.jax.program import Program


@dataclass(frozen=True)
class Settings:
    """Of a run; a minibatch is a share of the environments with all their steps in order."""

    envs: int
    steps: int
    updates: int  # over which the rate, and the clip where ``clip_falls``, fall linearly to 0
    epochs: int
    minibatches: int
    gamma: float
    lam: float
    rate: float
    clip: float = 0.2
    clip_falls: bool = False
    entropy: float = 0.0
    value: float = 0.5  # weight of the squared error
    max_norm: float = 0.5


ZOO = Settings(8, 32, 390, 20, 1, gamma=0.98, lam=0.8, rate=1e-3, clip_falls=True)
RECURRENT = Settings(16, 64, 488, 4, 4, gamma=0.99, lam=0.95, rate=1e-3, entropy=0.01, value=0.25)
OVER_TIME = Callable[[Any, Any, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
# (parameters, state [B, ...] at the start, x [T, B, D], reset [T, B]) -> logits [T, B, K], values [T, B]


class Run(NamedTuple):
    """The state of a run."""

    life: acting.Life
    weights: Any
    moments: adam.Moments
    updates: jax.Array


class Batch(NamedTuple):
    """Environments of a window, to learn from."""

    start: Any  # [B, ...]
    lived: Lived
    advantage: jax.Array  # [T, B]
    target: jax.Array  # [T, B]


def objective(weights: Any, run_over: OVER_TIME, settings: Settings, batch: Batch, clip: jax.Array) -> jax.Array:
    """Return the mean of min(ρ A, clip(ρ, 1 ± ε) A) + c_H H - c_V (R - V)², with A normalised over the batch.

    Source: arXiv:1707.06347, eq. (7) and (9).
    """
    logits, value = run_over(weights, batch.start, batch.lived.x, batch.lived.reset)
    rho = jnp.exp(log_prob(logits, batch.lived.action) - batch.lived.logp)
    scaled = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std() + 1e-8)
    gain = jnp.minimum(rho * scaled, jnp.clip(rho, 1.0 - clip, 1.0 + clip) * scaled)
    logp = jax.nn.log_softmax(logits)
    entropy = -(jnp.exp(logp) * logp).sum(-1)
    return (gain + settings.entropy * entropy - settings.value * (batch.target - value) ** 2).mean()


def shares(batch: Batch, order: jax.Array, count: int) -> Batch:
    """Return ``count`` minibatches [count, ...] of environments in the given order; steps stay in theirs."""
    start = jax.tree.map(lambda part: part[order].reshape(count, -1, *part.shape[1:]), batch.start)

    def over_time(part: jax.Array) -> jax.Array:
        split = part[:, order].reshape(len(part), count, -1, *part.shape[2:])
        return jnp.moveaxis(split, 1, 0)

    of_step = {name: part for name, part in batch.lived._asdict().items() if name in ("x", "action", "logp", "reset")}
    kept = batch.lived._replace(**{name: None for name in Lived._fields if name not in of_step})
    rest = jax.tree.map(over_time, (kept, batch.advantage, batch.target))
    return Batch(start, *rest)


def make(model: Model, run_over: OVER_TIME, weights: Any, settings: Settings, key: jax.Array) -> Program:
    """Return a run of PPO with a model that acts, and the same model over time."""
    encoder = encoders.identity()

    def epochs(run: Run, batch: Batch, key: jax.Array, left: jax.Array) -> Run:
        rates = jax.tree.map(lambda _: settings.rate * left, run.weights)
        clip = settings.clip * (left if settings.clip_falls else 1.0)

        def learn(run: Run, share: Batch) -> tuple[Run, None]:
            ascent = jax.grad(objective)(run.weights, run_over, settings, share, clip)
            moved = adam.ascend(run.weights, run.moments, ascent, rates, settings.max_norm, eps=1e-5)
            return run._replace(weights=moved[0], moments=moved[1]), None

        def epoch(run: Run, key: jax.Array) -> tuple[Run, None]:
            order = jax.random.permutation(key, settings.envs)
            return lax.scan(learn, run, shares(batch, order, settings.minibatches))

        return lax.scan(epoch, run, jax.random.split(key, settings.epochs))[0]

    def update(run: Run) -> tuple[Run, dict[str, jax.Array]]:
        start, left = run.life.state, jnp.maximum(0.0, 1.0 - run.updates / settings.updates)
        life, lived = acting.collect(model, encoder, run.weights, run.life, settings.steps)
        advantage = advantages(lived, lived.value, lived.bootstrap, settings.gamma, settings.lam)
        key, own = jax.random.split(life.key)
        run = run._replace(life=life._replace(key=key), updates=run.updates + 1)
        return epochs(run, Batch(start, lived, advantage, advantage + lived.value), own, left), {}

    def score(run: Run, key: jax.Array, episodes: int) -> jax.Array:
        return acting.play(model, encoder, run.weights, run.life.statistics, key, episodes)

    begun = acting.begin(model, encoder, settings.envs, key)
    run = Run(begun, weights, adam.begin(weights), jnp.zeros((), jnp.int32))
    return Program(update, run, settings.steps * settings.envs, score)


def make_ppo_mlp(seed: int = 0, settings: Settings = ZOO) -> Program:
    """Return a run of PPO with an MLP of 64-64 for the policy and another for the values."""
    first, second = jax.random.split(jax.random.key(seed))
    return make(mlp.MODEL, mlp.over_time, mlp.begin(first), settings, second)


def make_ppo_gru(envs: int, seed: int = 0, settings: Settings = RECURRENT) -> Program:
    """Return a run of PPO with a GRU of 128 units, in ``envs`` environments."""
    first, second = jax.random.split(jax.random.key(seed))
    settings = Settings(**{**vars(settings), "envs": envs})
    return make(gru.MODEL, gru.over_time, gru.begin(first), settings, second)
