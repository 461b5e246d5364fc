"""Engines, by name: how a network advances and where its gradient comes from, one file each."""

from __future__ import annotations

from collections.abc import Callable

from lfcs.engines.base import Engine, Steps
from lfcs.engines.bptt import BpttEngine
from lfcs.engines.compiled import CompiledEngine
from lfcs.engines.fixed import Fixed, FixedEngine
from lfcs.engines.snntorch import SnntorchEngine
from lfcs.engines.tensor import TensorEngine
from lfcs.errors import UserError, nearest
from lfcs.network import SpikingNetwork

__all__ = [
    "ENGINES", "BpttEngine", "CompiledEngine", "Engine", "Fixed", "FixedEngine", "SnntorchEngine", "Steps",
    "TensorEngine", "make_engine",
]  # fmt: skip


def make_fused(network: SpikingNetwork) -> Engine:
    """Return the fast engine: compiled loops on a CPU where the neuron model has them, else tensor operations."""
    compiled = network.hidden.device.type == "cpu" and network.neuron.loops is not None
    return CompiledEngine(network) if compiled else TensorEngine(network)


ENGINES: dict[str, Callable[[SpikingNetwork], Engine]] = {
    "fused": make_fused,
    "tensor": TensorEngine,
    "snntorch": SnntorchEngine,
    "fixed": FixedEngine,
}


def make_engine(name: str, network: SpikingNetwork, fixed: Fixed | None = None) -> Engine:
    """Return the named engine for a network, whose quantised form is ``fixed`` where it has one.

    Raises UserError on an unknown name, and where the engine cannot run the network.
    """
    if name not in ENGINES:
        raise UserError(f"unknown engine {name!r}{nearest(name, ENGINES)}; known: {', '.join(ENGINES)}")
    return FixedEngine(network, fixed) if name == "fixed" else ENGINES[name](network)
