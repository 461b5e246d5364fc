"""Recorded episodes: what the network did step by step, as dictionaries of arrays, and their file.

An episode of T steps has ``observation`` [T, ...], ``input`` [T, D] (currents), ``spikes`` [T, N], ``membrane`` [T, N]
(in thresholds), ``readout`` [T, N], ``trace`` [T, G·(D + 1 + N)] (presynaptic), ``params`` [T, K] of the head,
``value`` [T], ``action`` (``action/0`` or ``action/key`` where it has parts), ``reward`` [T], and ``threshold`` [T, N]
where it moves. State is that of a step's last tick.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lfcs.checkpoint import DAMAGED, read_arrays, whole, with_ending
from lfcs.errors import UserError
from lfcs.nested import named
from lfcs.policy import Policy
from lfcs.rollout import Moment

Episode = dict[str, np.ndarray]
AXES = {  # behind the step; of what is not here, as many numbered ones as there are
    "input": "input", "spikes": "neuron", "membrane": "neuron", "threshold": "neuron", "readout": "neuron",
    "trace": "source", "params": "parameter",
}  # fmt: skip


def row_of(policy: Policy, moment: Moment, b: int) -> Episode:
    """Return the arrays of one step of environment ``b``, without the axis of steps."""
    state = moment.state.at(slice(b, b + 1))
    x = policy.encode(moment.obs[b : b + 1])
    params, value = (part[0].detach().cpu().numpy() for part in policy.network.read(state, x))
    row = {
        "observation": moment.obs[b],
        "input": x[0].cpu().numpy(),
        "params": params,
        "value": value,
        "reward": np.float64(moment.reward[b]),
    }
    row |= {name: action[b] for name, action in named("action", moment.action)}
    parts = {"spikes": state.spk, "membrane": state.mem, "readout": state.readout, "trace": state.trace}
    moving = getattr(policy.network.neuron, "threshold", None)
    parts |= {"threshold": moving(state.of_neurons())} if moving else {}
    row |= {name: part[0].cpu().numpy() for name, part in parts.items()}
    return {name: np.array(item) for name, item in row.items()}


def stacked(rows: Iterable[Episode]) -> Episode:
    """Return an episode of its steps."""
    rows = list(rows)
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _same_steps(episode: Episode) -> bool:
    """Return whether all arrays by step of an episode have as many steps, and spikes are by neuron."""
    lengths = {len(array) for array in episode.values() if array.ndim}
    return len(lengths) == 1 and episode["spikes"].ndim == 2 and episode["reward"].ndim == 1


def axes_of(name: str, array: np.ndarray) -> tuple[str, ...]:
    """Return the names of the axes of an array of an episode."""
    if array.ndim == 0:
        return ()
    more = array.ndim - 1
    if name in AXES and more == 1:
        return "step", AXES[name]
    own = name.replace("/", "_")
    return "step", *([f"{own}_number"] if more == 1 else [f"{own}_axis_{k}" for k in range(more)])


def actions_of(episode: Episode) -> dict[str, np.ndarray]:
    """Return the actions of an episode, each part by its name."""
    return {name: part for name, part in episode.items() if name == "action" or name.startswith("action/")}


def write(path: str | Path, episodes: Iterable[Episode]) -> Path:
    """Write episodes into one ``.npz``, keys ``0/spikes`` and so on, whole or not at all; return its path."""
    path = with_ending(path)
    arrays: dict[str, Any] = {f"{i}/{k}": v for i, e in enumerate(episodes) for k, v in e.items()}
    with whole(path) as file:
        np.savez_compressed(file, **arrays)
    return path


def read(path: str | Path) -> list[Episode]:
    """Return the episodes of a file of :func:`write`. Raises UserError if it is missing, damaged or another."""
    found: dict[int, Episode] = {}
    try:
        for key, array in read_arrays(Path(path), compressed=True).items():
            number, _, name = key.partition("/")
            found.setdefault(int(number), {})[name] = array
    except FileNotFoundError:
        raise UserError(f"no recording at {path}") from None
    except DAMAGED:
        raise UserError(f"{path} is damaged or not a recording") from None
    if not all({"spikes", "reward"} <= episode.keys() and _same_steps(episode) for episode in found.values()):
        raise UserError(f"{path} is not a recording")
    return [found[number] for number in sorted(found)]
