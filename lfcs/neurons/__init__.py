"""Neuron models, by name. A new one is one file beside these and one entry here, or a ``package.module:Class``."""

from lfcs.config import NetworkConfig
from lfcs.errors import UserError
from lfcs.names import lookup
from lfcs.neurons.alif import ALIF
from lfcs.neurons.base import Neuron, Spike
from lfcs.neurons.lif import LIF

__all__ = ["ALIF", "LIF", "NEURONS", "Neuron", "Spike", "make_neuron"]

NEURONS: dict[str, type] = {"lif": LIF, "alif": ALIF}


def make_neuron(config: NetworkConfig) -> Neuron:
    """Return the neuron model that the settings name. Raises UserError on an unknown one, or one that is none."""
    made = lookup(config.neuron, NEURONS, "neuron")
    if not all(hasattr(made, name) for name in ("fields", "cell", "witness", "tick", "post")):
        raise UserError(f"neuron {config.neuron!r} is not a neuron model: see lfcs.neurons.base.Neuron")
    return made(config)
