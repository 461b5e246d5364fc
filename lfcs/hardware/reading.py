"""NIR files read back: a policy of ours bit for bit, any recurrent LIF as the weights that a run starts from."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lfcs import checkpoint
from lfcs.config import EncoderConfig, NetworkConfig
from lfcs.errors import UserError
from lfcs.hardware.graph import FORMS, IN_GRAPH, nir_package
from lfcs.policy import Policy
from lfcs.run import revive
from lfcs.trainer import set_device

CELLS = {"LIF": "lif", "CubaLIF": "cubalif"}  # nodes that are neurons, and the form that their time constants have
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Layers:
    """What a NIR file holds of a network of N neurons with D inputs, in lfcs's terms; thresholds are 1."""

    weight: np.ndarray  # [N, D] from the inputs
    bias: np.ndarray  # [N]
    recurrent: np.ndarray  # [N, N], its diagonal zero
    self_weight: np.ndarray  # [N] the diagonal as it is in the file
    beta: np.ndarray  # [N] decay per tick
    readout: tuple[np.ndarray, np.ndarray, np.ndarray] | None  # κ [N], weights [K, N], biases [K]
    saved: dict[str, Any] | None  # the policy without these weights, of a file that lfcs wrote

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the weights by their names in a network's state; those of the readout where there are some."""
        arrays = [self.weight, self.bias, self.recurrent, *(self.readout[1:] if self.readout else ())]
        names = IN_GRAPH[: len(arrays)]
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in zip(names, arrays, strict=True)}


def read(path: str | Path) -> Layers:
    """Read a NIR file. Raises UserError where there is none, or it is not one recurrent layer of LIF neurons."""
    path, nir = Path(path), nir_package()
    if not path.is_file():
        raise UserError(f"no NIR file at {path}")
    try:
        graph = nir.read(path)
    except Exception as error:  # whatever h5py and nir make of a damaged file
        raise UserError(f"{path} is damaged or not a NIR file: {' '.join(str(error).split())[:120]}") from None
    try:
        return _layers(path, graph)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path} is not a network that lfcs can take: {' '.join(str(error).split())[:120]}") from None


def _layers(path: Path, graph: Any) -> Layers:
    """Return the layers of a graph; see :func:`read`."""
    nodes, edges = _flat(graph)
    cells = [name for name, node in nodes.items() if type(node).__name__ in CELLS]
    if len(cells) != 1:
        raise UserError(f"{path} has {len(cells)} layers of LIF neurons: lfcs takes one")
    cell, before = nodes[cells[0]], {a for a, b in edges if b == cells[0]}
    loops = [name for name in before if (cells[0], name) in edges]
    inputs = [name for name in before if name not in loops]
    if len(loops) != 1 or len(inputs) != 1 or not all(hasattr(nodes[name], "weight") for name in (*loops, *inputs)):
        raise UserError(f"{path}: its neurons are not fed by one layer of weights and one recurrent layer of weights")
    beta = _decay(path, type(cell).__name__, cell, graph.metadata)
    gain = (1.0 - beta) * cell.r * getattr(cell, "w_in", 1.0) / cell.v_threshold
    weight, bias = _affine(nodes[inputs[0]])
    recurrent, more = _affine(nodes[loops[0]])
    bias = bias + more + ((1.0 - beta) * cell.v_leak / cell.v_threshold).astype(bias.dtype)
    if np.abs(gain - 1.0).max() > TOLERANCE:  # else the weights are meant as they are, to the last bit
        weight, recurrent = ((array * gain[:, None]).astype(array.dtype) for array in (weight, recurrent))
    own = recurrent.diagonal().copy()
    recurrent = recurrent.copy()
    np.fill_diagonal(recurrent, 0.0)
    readout = _readout(path, nodes, edges, cells[0], graph.metadata)
    return Layers(weight, bias, recurrent, own, beta, readout, _saved(path, graph.metadata))


def _flat(graph: Any, at: str = "") -> tuple[dict[str, Any], set[tuple[str, str]]]:
    """Return nodes and edges with those of graphs in the graph in their place, without inputs and outputs."""
    nodes: dict[str, Any] = {}
    edges = {(at + a, at + b) for a, b in graph.edges}
    for name, node in graph.nodes.items():
        if type(node).__name__ != "NIRGraph":
            nodes[at + name] = node
            continue
        inner, within = _flat(node, f"{at}{name}.")
        ports = {kind: next((k for k, v in node.nodes.items() if type(v).__name__ == kind), "") for kind in ENDS}
        enters, leaves = (f"{at}{name}.{ports[kind]}" for kind in ENDS)
        nodes |= inner
        edges = {(leaves if a == at + name else a, enters if b == at + name else b) for a, b in edges} | within
    for passed in [name for name, node in nodes.items() if type(node).__name__ in ENDS]:
        sources, targets = {a for a, b in edges if b == passed}, {b for a, b in edges if a == passed}
        if sources and targets:  # one between layers
            del nodes[passed]
            edges = {e for e in edges if passed not in e} | {(a, b) for a in sources for b in targets}
    return nodes, edges


ENDS = "Input", "Output"


def _affine(node: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return weights [N, D] and biases [N] of a linear node."""
    weight = np.asarray(node.weight)
    bias = getattr(node, "bias", None)
    return weight, np.zeros(len(weight), weight.dtype) if bias is None else np.asarray(bias, weight.dtype)


def _decay(path: Path, kind: str, node: Any, metadata: dict[str, Any]) -> np.ndarray:
    """Return decays [N] per tick of neurons or a leaky readout. Raises UserError where the file does not say them."""
    if "dt" not in metadata:
        raise UserError(f"{path} does not say the seconds of a tick: put dt into the metadata of its graph")
    dt = float(metadata["dt"])
    decay = str(metadata.get("decay", FORMS[CELLS.get(kind, "lif")]))
    tau = np.asarray(node.tau_mem if kind == "CubaLIF" else node.tau, np.float64)
    if kind == "CubaLIF" and np.abs(node.tau_syn / dt - 1.0).max() > TOLERANCE:
        raise UserError(f"{path}: its neurons have synaptic currents that last (tau_syn), lfcs's have none")
    return 1.0 - dt / tau if decay == "euler" else np.exp(-dt / tau)


def _readout(
    path: Path, nodes: dict[str, Any], edges: set[tuple[str, str]], cell: str, metadata: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return the leaky readout behind the neurons and its weights, None where there is something else."""
    leaky = [b for a, b in edges if a == cell and type(nodes[b]).__name__ == "LI"]
    last = [b for a, b in edges if leaky and a == leaky[0] and hasattr(nodes[b], "weight")]
    if not last:
        return None
    return _decay(path, "LI", nodes[leaky[0]], metadata), *_affine(nodes[last[0]])


def _saved(path: Path, metadata: dict[str, Any]) -> dict[str, Any] | None:
    """Return the policy that lfcs wrote beside the graph, without the graph's weights."""
    if "policy" not in metadata:
        return None
    arrays = {name: np.asarray(array) for name, array in metadata.get("arrays", {}).items()}
    return checkpoint.unpacked(metadata["policy"], arrays, torch.device("cpu"), path)


def load_nir(path: str | Path, device: str = "cpu", engine: str = "fused") -> Policy:
    """Return the policy of a NIR file that lfcs wrote, bit for bit what it was.

    Raises UserError where there is none or it is damaged, and on a file of another maker, which has neither encoder nor
    spaces: a run can start from it.
    """
    layers, on = read(path), set_device(device, torch.get_num_threads())
    if layers.saved is None:
        raise UserError(f"{path} was not written by lfcs: start a run from it, lfcs train ENV --from-nir {path}")
    return revive(layers.saved | {"weights": layers.saved["weights"] | layers.weights()}, on, engine)


def settings_of(path: str | Path) -> dict[str, Any]:
    """Return the settings, ``section.key``, that a run from a NIR file has by its file. Raises UserError as read does.

    A file of another maker says the number of neurons and, where all have the same, their time constant.
    """
    layers = read(path)
    if layers.saved is not None:
        sections = {"network": NetworkConfig, "encoder": EncoderConfig}
        return {
            f"{name}.{field.name}": layers.saved[name][field.name]
            for name, section in sections.items()
            for field in dataclasses.fields(section)
            if field.name in layers.saved[name]
        }
    if np.ptp(layers.beta) > TOLERANCE:
        raise UserError(f"{path}: its neurons have several time constants, which lfcs has on a grid only")
    return {"network.neurons": len(layers.beta), "network.tau_m": -1.0 / math.log(layers.beta[0])}


@torch.no_grad()
def start(policy: Policy, path: str | Path) -> None:
    """Give a new policy the weights of a NIR file, and the encoder's moments of one that lfcs wrote.

    The readout's are taken where the file has as many outputs and the same decay. Raises UserError where they do not
    fit.
    """
    layers, network = read(path), policy.network
    given, wanted = layers.weight.shape, tuple(network.input.weight.shape)
    if given != wanted:
        raise UserError(
            f"{path} has {given[0]} neurons of {given[1]} inputs, the run {wanted[0]} of {wanted[1]}: "
            "network.neurons and the encoder must fit"
        )
    own = np.resize(np.array(network.config.betas), len(layers.beta))
    if np.abs(own - layers.beta).max() > TOLERANCE:
        raise UserError(f"{path}: a membrane keeps {layers.beta[0]:.6g} a tick, network.tau_m makes it {own[0]:.6g}")
    state, weights = network.state_dict(), layers.weights()
    if layers.saved is not None:
        weights |= {name: w for name, w in layers.saved["weights"].items() if w.shape == state[name].shape}
        policy.encoder.load_state_dict(layers.saved["statistics"])
    if layers.readout is None or not _same_readout(layers.readout, network.config.kappa, state):
        weights = {name: weight for name, weight in weights.items() if "readout" not in name}
    network.load_state_dict(state | weights)


def _same_readout(readout: tuple[np.ndarray, np.ndarray, np.ndarray], kappa: float, state: dict[str, Any]) -> bool:
    """Return whether a file's readout is one that a network with this state can have."""
    fits = readout[1].shape == tuple(state["policy_readout.weight"].shape)
    return fits and bool(np.abs(readout[0] - kappa).max() <= TOLERANCE)
