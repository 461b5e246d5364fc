"""Encoders of observations: numbers in, input currents or spikes out (float32).

Each has ``size``, ``observe`` (learns running statistics while training), ``encode`` (uses them as they are), its
compiled form, its form on tensors where it has one (``encode_tensor``, for a device) and its state for checkpoints: the
protocol of :class:`lfcs.policy.Encoder`. Numbers that are 0 or 1 by nature (:mod:`lfcs.spaces`) are inputs as they are.
"""

from __future__ import annotations

import gymnasium

from lfcs.config import EncoderConfig
from lfcs.device_rollout import has_tensor_form
from lfcs.envs.encoders.analog import Identity, Population, Spanned, Standardised
from lfcs.envs.encoders.spiking import Bernoulli, Delta, Latency
from lfcs.names import lookup

__all__ = [
    "ENCODERS",
    "Bernoulli",
    "Delta",
    "Identity",
    "Latency",
    "Population",
    "Spanned",
    "Standardised",
    "encodes_tensors",
    "make_encoder",
]

ENCODERS = {
    "identity": Identity,
    "standardised": Standardised,
    "population": Population,
    "bernoulli": Bernoulli,
    "latency": Latency,
    "delta": Delta,
}


def make_encoder(space: gymnasium.spaces.Box, config: EncoderConfig) -> Identity:
    """Return the encoder that the settings name, for observations of ``space``, which may be one of lfcs.spaces.Flat.

    Raises UserError on an unknown encoder, on bounds that are asked for and not there, or where ``delta`` is not told
    the last observation.
    """
    return lookup(config.kind, ENCODERS, "encoder")(space, config)


def encodes_tensors(config: EncoderConfig) -> bool:
    """Return whether the encoder that the settings name has a form on tensors. Raises UserError on an unknown one."""
    made = lookup(config.kind, ENCODERS, "encoder")
    return isinstance(made, type) and has_tensor_form(made)
