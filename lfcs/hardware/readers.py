"""Other simulators that run a NIR file of ours, tick by tick: Norse, Sinabs, Rockpool, and NIRTorch's executor.

Each is built as far as its own import of NIR goes, and from the file by its own layers where that import cannot say
what ours means. docs/hardware.md has the table of who keeps what.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lfcs.errors import UserError
from lfcs.hardware.graph import export, nir_package
from lfcs.policy import Policy
from lfcs.spaces import batched


class Reader(Protocol):
    """A network in another simulator, with its state."""

    def reset(self) -> None:
        """Begin at rest."""

    def tick(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return spikes [N] and the head's parameters [K] after one more tick with input ``x`` [D]."""


def imported(package: str, of: str) -> Any:
    """Return a module of another simulator. Raises UserError where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(f"{of} is not installed ({error}): pip install {of}") from None


class Norse:
    """Norse's own import, told to reset by subtraction; NIR's LI it does not know: that is its LIBoxCell."""

    form, dt, package = "cubalif", 1e-3, "norse"

    def __init__(self, graph: Any) -> None:
        norse, functional = (imported(f"norse.torch{part}", "norse") for part in ("", ".functional.reset"))
        nir, nodes = nir_package(), graph.nodes
        n = len(nodes["readout"].tau)
        kept = {name: nodes[name] for name in ("input", "w_in", "neurons", "w_rec")}
        edges = [(a, b) for a, b in graph.edges if b in kept] + [("neurons", "output")]
        recurrent = nir.NIRGraph(kept | {"output": nir.Output({"output": np.array([n])})}, edges)
        self.core = norse.from_nir(recurrent, reset_method=functional.reset_subtract, dt=self.dt)
        decay = norse.LIBoxParameters(tau_mem_inv=1.0 / torch.from_numpy(nodes["readout"].tau))
        self.leaky, self.action = norse.LIBoxCell(p=decay, dt=self.dt), _linear(nodes["action"])
        self.reset()

    def reset(self) -> None:
        """See :class:`Reader`."""
        self.state: Any = None
        self.kept: Any = None

    def tick(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Reader`."""
        _, self.state = self.core(x[None], self.state)
        spikes = self.state.cache["neurons"]
        y, self.kept = self.leaky(spikes, self.kept)
        return spikes[0], self.action(y)[0]


class Sinabs:
    """Sinabs's own import, then told to send one spike at most; its leaky readout has no factor 1 - κ: see below."""

    form, dt, package = "lif", 1.0, "sinabs"  # its time constants are in ticks

    def __init__(self, graph: Any) -> None:
        self.activation = imported("sinabs.activation", "sinabs")
        self.core = imported("sinabs.nir", "sinabs").from_nir(graph, batch_size=1)
        self.core.neurons.spike_fn = self.activation.SingleSpike
        with torch.no_grad():
            self.core.action.weight *= 1.0 - torch.exp(-1.0 / self.core.readout.tau_mem)
        self.reset()

    def reset(self) -> None:
        """See :class:`Reader`."""
        self.state: Any = None
        for layer in (self.core.neurons, self.core.readout):
            if layer.is_state_initialised():
                layer.reset_states()

    def tick(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Reader`."""
        params, self.state = self.core(x[None], self.state)
        return self.state.cache["neurons"][0], params[0]


class Rockpool:
    """Rockpool's layers: its import takes no LIF, and its LIFTorch has a synaptic current that lasts."""

    form, dt, package = "lif", 1e-3, "rockpool"

    def __init__(self, graph: Any) -> None:
        layers, nodes = imported("rockpool.nn.modules.torch", "rockpool"), graph.nodes
        cell, leaky = nodes["neurons"], nodes["readout"]
        n = len(cell.tau)
        self.w_in, self.w_rec, self.action = (self._weights(layers, nodes[k]) for k in ("w_in", "w_rec", "action"))
        self.neurons = layers.LIFNeuronTorch(
            shape=(n,), tau_mem=torch.from_numpy(cell.tau), threshold=torch.from_numpy(cell.v_threshold), dt=self.dt,
            max_spikes_per_dt=torch.tensor(1.0),
        )  # fmt: skip
        self.leaky = layers.ExpSynTorch(shape=n, tau=torch.from_numpy(leaky.tau), dt=self.dt)
        kappa = torch.exp(-self.dt / torch.from_numpy(leaky.tau))
        self.gain = (1.0 - kappa) / kappa  # its current decays in the tick in which it comes
        self.reset()

    @staticmethod
    def _weights(layers: Any, node: Any) -> Any:
        weight, bias = (torch.from_numpy(part.copy()) for part in (node.weight.T, node.bias))
        return layers.LinearTorch(shape=tuple(weight.shape), weight=weight, bias=bias, has_bias=True)

    def reset(self) -> None:
        """See :class:`Reader`."""
        for layer in (self.neurons, self.leaky):
            layer.reset_state()
        self.spikes = torch.zeros(1, 1, self.neurons.size_out)

    def tick(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Reader`."""
        current = self.w_in(x[None, None])[0] + self.w_rec(self.spikes)[0]
        self.spikes = self.neurons(current)[0]
        y = self.leaky(self.gain * self.spikes)[0]
        return self.spikes[0, 0], self.action(y)[0][0, 0]


class NirTorch:
    """NIRTorch's executor of graphs: it wires nodes and delays a cycle, of neurons it has none and takes ours."""

    form, dt, package = "lif", 1e-3, "nirtorch"

    def __init__(self, graph: Any) -> None:
        nir, nirtorch = nir_package(), imported("nirtorch", "nirtorch")
        self.seen: list[Tensor] = []
        cells = {nir.LIF: lambda node: Membrane(node, self.dt, self.seen), nir.LI: lambda node: Leaky(node, self.dt)}
        self.core = nirtorch.nir_to_torch(graph, {**cells, nir.Affine: _linear})
        self.reset()

    def reset(self) -> None:
        """See :class:`Reader`."""
        self.state: Any = None

    def tick(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Reader`."""
        params, self.state = self.core(x[None], self.state)
        spikes = self.seen[-1]
        self.seen.clear()
        return spikes[0], params[0]


class Membrane(torch.nn.Module):
    """NIR's LIF, solved exactly over a tick, reset by subtraction in the tick of the spike."""

    def __init__(self, node: Any, dt: float, seen: list[Tensor]) -> None:
        super().__init__()
        self.decay, self.gain = _solved(node, dt)
        self.threshold, self.seen = torch.from_numpy(node.v_threshold), seen

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return spikes and the membrane after them."""
        v = (0.0 if state is None else self.decay * state) + self.gain * x
        z = (v > self.threshold).to(v.dtype)
        self.seen.append(z)
        return z, v - z * self.threshold


class Leaky(torch.nn.Module):
    """NIR's LI, solved exactly over a tick."""

    def __init__(self, node: Any, dt: float) -> None:
        super().__init__()
        self.decay, self.gain = _solved(node, dt)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the potential, twice: as output and as state."""
        v = (0.0 if state is None else self.decay * state) + self.gain * x
        return v, v


def _solved(node: Any, dt: float) -> tuple[Tensor, Tensor]:
    """Return what a tick leaves of a potential and what it lets in of a current."""
    decay = np.exp(-dt / node.tau.astype(np.float64))
    kind = node.tau.dtype
    return torch.from_numpy(decay.astype(kind)), torch.from_numpy(((1.0 - decay) * node.r).astype(kind))


def _linear(node: Any) -> torch.nn.Linear:
    """Return PyTorch's layer of an Affine node."""
    layer = torch.nn.Linear(node.weight.shape[1], node.weight.shape[0])
    layer.weight.data, layer.bias.data = torch.from_numpy(node.weight), torch.from_numpy(node.bias)
    return layer


READERS: dict[str, Callable[[Any], Reader]] = {
    "rockpool": Rockpool, "norse": Norse, "sinabs": Sinabs, "nirtorch": NirTorch,
}  # fmt: skip


def open_policy(policy: Policy, name: str) -> Reader:
    """Return a policy's network in another simulator, by way of a NIR file.

    Raises UserError on an unknown simulator, or one that is not installed.
    """
    if name not in READERS:
        raise UserError(f"unknown reader {name!r}; known: {', '.join(READERS)}")
    made: Any = READERS[name]
    imported(made.package, made.package)  # before anything slow
    with TemporaryDirectory() as folder:
        path = Path(folder) / "policy.nir"
        export(policy, path, made.form, made.dt)
        return made(nir_package().read(path))


@dataclass
class Elsewhere:
    """A policy whose network runs in another simulator; it predicts for one environment at a time, greedily."""

    policy: Policy
    reader: Reader

    @torch.no_grad()
    def predict(
        self, obs: Any, state: Any = None, episode_start: np.ndarray | None = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        """Return the most probable action; see :meth:`lfcs.Policy.predict`. The state is the simulator's own.

        Raises ValueError on several observations, and where an action is to be drawn.
        """
        batch, single = batched(self.policy.observation_space, obs)
        if len(batch) != 1 or not deterministic:
            raise ValueError("another simulator plays one environment, with the most probable actions")
        config = self.policy.network.config
        if state is None or not config.memory or (episode_start is not None and np.any(episode_start)):
            self.reader.reset()
        x = self.policy.encode(batch)[0]
        for _ in range(config.ticks):
            _, params = self.reader.tick(x)
        head = self.policy.head
        action = head.to_env(head.greedy(params[None]))
        return action[0] if single else action, ()
