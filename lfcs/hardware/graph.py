"""A policy as a graph of the Neuromorphic Intermediate Representation, in a file of the package ``nir``.

    input → w_in → neurons → readout → action → output ,   neurons → w_rec → neurons

NIR's neurons live in continuous time and its readers reset them in the tick of the spike; ours count ticks and subtract
the spike a tick later, before the decay has touched it. Both differences are written away exactly.

The reset. Ours is u_t = β u_{t-1} + I_t - z_{t-1} with z_t = H(u_t - 1) and I_t = W_in x_t + b + W_rec z_{t-1}. What a
reader that subtracts the threshold at once keeps after a spike is v_t = u_t - z_t, and with it

    u_t = β v_{t-1} + I_t - (1 - β) z_{t-1}

So its neuron is ours where neuron i inhibits itself with the weight β_i - 1. It stands on the diagonal of ``w_rec``,
which in our networks is zero. In floating point the two sums differ in their last bit, no more.

Time constants. NIR has τ dv/dt = v_leak - v + r I. With a current that is constant over a tick ``dt``,

    solved exactly      v_t = e^{-dt/τ} v_{t-1} + (1 - e^{-dt/τ}) r I_t      τ = -dt / ln β
    by forward Euler    v_t = (1 - dt/τ) v_{t-1} + (dt/τ) r I_t              τ = dt / (1 - β)

Either way r = 1 / (1 - β) lets a current in as it is, so that weights are the network's, bit for bit; the readout has
r = 1, which is y_t = κ y_{t-1} + (1 - κ) z_t. A reader does one or the other, and NIR does not say which:

    form "lif"      LIF, solved exactly                                      Rockpool, Sinabs
    form "cubalif"  CubaLIF, by forward Euler, τ_syn = dt: i_t = w_in I_t    Norse, and most others

Source: Pedersen et al., Nature Communications 15:8122 (2024), the equations of LIF, CubaLIF and LI.
"""

from __future__ import annotations

import importlib
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from lfcs import __version__, checkpoint
from lfcs.errors import UserError
from lfcs.heads import head_name
from lfcs.policy import Policy

DT = 1e-3  # seconds a tick: what Norse and Rockpool take where nothing is said
FORMS = {"lif": "exponential", "cubalif": "euler"}  # and how its time constants are meant
# what the graph's nodes hold of a network's state
IN_GRAPH = "input.weight", "input.bias", "cell.recurrent.weight", "policy_readout.weight", "policy_readout.bias"

RESET = (
    "reset: NIR has v_reset and no reset by subtraction. These neurons subtract their threshold; a reader that sets "
    "them to v_reset = 0 loses what was above it and spikes otherwise"
)
SPIKES = (
    "spikes: at most one a neuron and tick, where the membrane is above its threshold. A reader for which it is enough "
    "to reach it, or that sends several spikes at once from two thresholds on, spikes otherwise"
)
SELF = (
    "self-weights: the diagonal of w_rec, decay - 1, belongs to the reset: it makes a subtraction in the tick of the "
    "spike out of lfcs's in the tick after"
)
DELAY = "delay: a spike comes through w_rec in the next tick; a reader that adds a tick, or none, spikes otherwise"
TIME = {
    "lif": "time: tau is for readers that solve the membrane exactly over dt; by forward Euler they decay otherwise",
    "cubalif": "time: tau is for readers that go by forward Euler; tau_syn = dt is then no synaptic current at all",
}


def nir_package() -> Any:
    """Return the package ``nir``. Raises UserError where it, or h5py below it, is not installed."""
    try:
        return importlib.import_module("nir")
    except ImportError as error:
        raise UserError(f"NIR files need the extra 'nir' ({error}): pip install 'lfcs[nir]'") from None


def to_graph(policy: Policy, form: str = "lif", dt: float = DT) -> Any:
    """Return a policy as an ``nir.NIRGraph``, with all that :func:`lfcs.load_nir` needs in its metadata.

    ``form`` is one of :data:`FORMS`, ``dt`` the seconds of a tick. Raises UserError on a network that NIR has no words
    for, on another form, on a ``dt`` that is no time.
    """
    nir, network, config = nir_package(), policy.network, policy.network.config
    if form not in FORMS:
        raise UserError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    if not (math.isfinite(dt) and dt > 0.0):
        raise UserError(f"dt must be the seconds of a tick, more than 0, got {dt!r}")
    if config.neuron != "lif":
        raise UserError(f"network.neuron={config.neuron} has no node in NIR: only lif has")
    arrays = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    kind, n = arrays["input.weight"].dtype, config.neurons
    beta = np.resize(np.array(config.betas), n)
    recurrent = arrays["cell.recurrent.weight"].copy()
    np.fill_diagonal(recurrent, beta - 1.0)
    kappa = np.full(n, config.kappa)
    weight, bias = arrays["policy_readout.weight"], arrays["policy_readout.bias"]
    nodes = {
        "input": nir.Input({"input": np.array([policy.encoder.size])}),
        "w_in": nir.Affine(weight=arrays["input.weight"], bias=arrays["input.bias"]),
        "neurons": _neurons(nir, form, beta, dt, kind),
        "w_rec": nir.Affine(weight=recurrent, bias=np.zeros(n, kind)),  # Sinabs drops a Linear
        "readout": nir.LI(tau=_tau(form, kappa, dt, kind), r=np.ones(n, kind), v_leak=np.zeros(n, kind)),
        "action": nir.Affine(weight=weight, bias=bias),
        "output": nir.Output({"output": np.array([len(weight)])}),
    }
    edges = [
        ("input", "w_in"), ("w_in", "neurons"), ("neurons", "w_rec"), ("w_rec", "neurons"),
        ("neurons", "readout"), ("readout", "action"), ("action", "output"),
    ]  # fmt: skip
    return nir.NIRGraph(nodes, edges, metadata=_metadata(policy, form, dt))


def _tau(form: str, decay: np.ndarray, dt: float, kind: Any) -> np.ndarray:
    """Return the time constants [N] in seconds of decays per tick; see the module."""
    return (dt / (1.0 - decay) if form == "cubalif" else -dt / np.log(decay)).astype(kind)


def _neurons(nir: Any, form: str, beta: np.ndarray, dt: float, kind: Any) -> Any:
    """Return the node of neurons with decays ``beta`` [N] per tick."""
    ones, zeros, tau = np.ones(len(beta), kind), np.zeros(len(beta), kind), _tau(form, beta, dt, kind)
    shared = {"r": (1.0 / (1.0 - beta)).astype(kind), "v_leak": zeros, "v_threshold": ones, "v_reset": zeros}
    if form == "cubalif":
        return nir.CubaLIF(tau_mem=tau, tau_syn=np.full(len(beta), dt, kind), w_in=ones, **shared)
    return nir.LIF(tau=tau, **shared)


def notes(form: str) -> list[str]:
    """Return what a reader may do differently, a line each: in the file, and printed where one is written."""
    return [RESET, SPIKES, SELF, DELAY, TIME[form]]


def _metadata(policy: Policy, form: str, dt: float) -> dict[str, Any]:
    """Return what the nodes cannot say: for people, for readers, and for our own way back."""
    config, saved = policy.network.config, policy.state_dict()
    saved["weights"] = {name: value for name, value in saved["weights"].items() if name not in IN_GRAPH}
    text, arrays = checkpoint.packed(saved)
    return {
        "creator": f"lfcs {__version__}",
        "form": form,
        "decay": FORMS[form],
        "dt": dt,
        "threshold": 1.0,
        "reset": "subtract",
        "self_weight": "decay - 1",
        "recurrent_delay_in_ticks": 1,
        "ticks_per_step": config.ticks,
        "memory": int(config.memory),
        "betas": np.array(config.betas),
        "kappa": config.kappa,
        "encoder": json.dumps(_encoder(policy)),
        "output": f"parameters of the head {head_name(policy.head)}: {' '.join(str(policy.action_space).split())}",
        "step": "the input is held for ticks_per_step ticks; the output counts after the last of them",
        "notes": "\n".join(notes(form)),
        "policy": text,
        "arrays": arrays,
        "critic": "in policy: value_readout and value_path, which learning needs and acting does not",
    }


def _encoder(policy: Policy) -> dict[str, Any]:
    """Return what the encoder makes of an observation, in words and plain numbers."""
    told: dict[str, Any] = {"inputs": policy.encoder.size, **vars(policy.encoder.config)}
    if hasattr(policy.encoder, "ranges"):
        told["lowest"], told["highest"] = (list(map(float, bound)) for bound in policy.encoder.ranges())
    return told


def export(policy: Policy, path: str | Path, form: str = "lif", dt: float = DT) -> list[str]:
    """Write a policy into one NIR file; return what a reader may do differently, a line each.

    Raises UserError as :func:`to_graph` does, and on a path without a name.
    """
    path, memory = checkpoint.with_ending(path, ".nir"), io.BytesIO()
    nir_package().write(memory, to_graph(policy, form, dt), compression=None)  # which would refuse single numbers
    with checkpoint.whole(path) as file:
        file.write(memory.getvalue())
    return notes(form)
