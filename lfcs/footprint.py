"""How much memory a run needs, from its settings: asked before anything large is allocated."""

from __future__ import annotations

from lfcs import machine
from lfcs.config import Config
from lfcs.neurons import make_neuron


def estimate(config: Config, inputs: int, outputs: int) -> float:
    """Return about how many bytes a run allocates at once, beside the interpreter and the environments.

    ``inputs`` D are the encoder's, ``outputs`` K the head's. Counted are what grows with the settings, in single
    precision: weights with Adam's moments and a gradient, what a pass keeps, traces by synapse, and stored windows.
    """
    network, rule, neuron = config.network, config.rule, make_neuron(config.network)
    n, batch, sources = network.neurons, config.train.num_envs, inputs + 1 + network.neurons
    weights = sources * n + (outputs + 1) * (n + 1) + inputs
    networks = 2 + (rule.average > 0)  # that acts, that learns, and the mean
    state = (len(neuron.fields) + 1) * n
    by_synapse = (neuron.slow is not None) + (rule.form == "online")
    window = rule.window * batch * (2.0 * inputs + 2 * outputs + 10)
    numbers = (
        weights * (networks + 3.0)
        + (rule.tail + 1 + rule.tau_f * network.ticks) * batch * state
        + batch * len(neuron.decays) * sources
        + by_synapse * batch * sources * n
        + window * max(1, config.replay.capacity)
    )
    return 4.0 * numbers


def check(config: Config, inputs: int, outputs: int) -> None:
    """Raise UserError where a run needs more memory than this machine has left, if that is known."""
    what = (
        f"a run with network.neurons={config.network.neurons}, {inputs:,} inputs, rule.window={config.rule.window}, "
        f"replay.capacity={config.replay.capacity} and train.num_envs={config.train.num_envs}"
    )
    machine.check_memory(estimate(config, inputs, outputs), what, ": make one of them smaller")
