"""lf-cs learns CartPole in JAX: environments, encoder, network and rule in one call for each window."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lfcs.config import Config
from lfcs.study.jax import acting, cartpole, encoders, network, rule
from lfcs.study.jax.program import Program


class Run(NamedTuple):
    """The state of a run."""

    life: acting.Life
    learning: rule.Learning
    env_steps: jax.Array


def model_of(config: Config, inputs: int) -> acting.Model:
    """Return the network as a policy that can act."""

    def step(weights: network.Weights, state: network.State, x: jax.Array, reset: jax.Array) -> Any:
        state = network.tick(weights, config.network, state, x, network.input_current(weights, x), reset)
        return state, *network.read(weights, state.readout)

    return acting.Model(lambda batch: network.at_rest(batch, inputs, config.network.neurons), step)


def make_rule(config: Config, seed: int = 0) -> Program:
    """Return a run of lf-cs with the settings of ``config``. Raises ValueError on what is not written in JAX."""
    settings = rule.Settings(config.network, config.rule, config.options.eps)
    if config.agent != "lf-cs" or config.options.mask != "sided" or config.options.pull or config.replay.capacity:
        raise ValueError("in JAX: lf-cs with the sided mask, without a pull and without older windows")
    encoder, window, batch = encoders.population(config.encoder), config.rule.window, config.train.num_envs
    model = model_of(config, encoder.size)

    def update(run: Run) -> tuple[Run, dict[str, jax.Array]]:
        weights, start = run.learning.weights, run.life.state
        life, lived = acting.collect(model, encoder, weights, run.life, window)
        env_steps = run.env_steps + window * batch
        left = jnp.maximum(0.0, 1.0 - env_steps / config.steps)
        learning, figures = rule.learn(settings, run.learning, start, lived, left)
        return Run(life, learning, env_steps), figures

    def score(run: Run, key: jax.Array, episodes: int) -> jax.Array:
        return acting.play(model, encoder, run.learning.weights, run.life.statistics, key, episodes)

    first, second = jax.random.split(jax.random.key(seed))
    weights = network.begin(first, encoder.size, cartpole.ACTIONS, config.network)
    begun = Run(acting.begin(model, encoder, batch, second), rule.begin(weights, settings), jnp.zeros((), jnp.int32))
    return Program(update, begun, window * batch, score)
