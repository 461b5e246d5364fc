"""Neuron models, by name. A new one is one file beside these and one entry here, or a ``package.module:Class``."""

from lfcs.config import NetworkConfig
from lfcs.names import lookup
from lfcs.neurons.base import Neuron, Spike
from lfcs.neurons.lif import LIF

__all__ = ["LIF", "NEURONS", "Neuron", "Spike", "make_neuron"]

NEURONS: dict[str, type] = {"lif": LIF}


def make_neuron(config: NetworkConfig) -> Neuron:
    """Return the neuron model that the settings name. Raises UserError on an unknown one."""
    return lookup(config.neuron, NEURONS, "neuron")(config)
