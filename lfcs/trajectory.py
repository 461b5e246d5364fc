"""Experience: a window of steps in order of time, and the windows that are kept. Nothing is ever shuffled."""

from __future__ import annotations

import dataclasses
from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lfcs.network import NetState


class Cuts(NamedTuple):
    """Where time limits cut episodes of a window, without the host knowing: up to K times in each environment.

    A time limit of L steps cuts at most once in L steps, so that K = 1 for windows that are no longer.
    """

    at: Tensor  # [K, B] step of the window, -1 where there is none
    x: Tensor  # [K, B, D] encoded next observation, before the reset


@dataclass
class Trajectory:
    """T steps of B environments, in order of time, as the reference policy lived them."""

    x: Tensor  # [T, B, D] encoded observations
    action: Tensor  # [T, B]
    params: Tensor  # [T, B, P] head parameters of the reference
    logp_ref: Tensor  # [T, B] log π_ref(a), stored when acting
    value: Tensor  # [T, B] V of the reference
    bootstrap: Tensor  # [T, B] V of the next observation where an episode or the window ends, else 0
    reward: Tensor  # [T, B]
    terminated: Tensor  # [T, B] bool
    truncated: Tensor  # [T, B] bool
    reset: Tensor  # [T, B] bool, the environment began an episode at this step
    final: dict[int, Tensor]  # t -> [B, D] next observation before any reset; always holds the last step
    state: NetState  # the policy's state before the first step
    cuts: Cuts | None = None  # truncations that are not in ``final``
    stale: Tensor | None = None  # [T, B] π_ref/π_acting where ``logp_ref`` is no longer that of the policy that acted


class Replay:
    """Keeps the last ``capacity`` windows, each with the recurrent state at its start; draws whole windows."""

    def __init__(self, capacity: int, generator: torch.Generator) -> None:
        self.windows: deque[Trajectory] = deque(maxlen=capacity)
        self.generator = generator

    def add(self, traj: Trajectory) -> None:
        """Keep a window; the oldest is forgotten."""
        self.windows.append(traj)

    def draw(self) -> Trajectory:
        """Return one of the kept windows, all equally likely."""
        return self.windows[int(torch.randint(len(self.windows), (), generator=self.generator))]

    def state_dict(self) -> dict[str, Any]:
        """Return the kept windows and the generator's state."""
        kept = []
        for traj in self.windows:
            fields: dict[str, Any] = {f.name: getattr(traj, f.name) for f in dataclasses.fields(traj)}
            state = {"state": traj.state.data, "neurons": traj.state.neurons, "fields": traj.state.fields}
            kept.append(fields | state)
        return {"windows": kept, "generator": self.generator.get_state()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the kept windows and the generator's state."""
        self.windows.clear()
        for fields in saved["windows"]:
            state = NetState(fields.pop("state"), fields.pop("neurons"), fields.pop("fields"))
            cuts = fields.pop("cuts", None)  # older checkpoints have none
            window = Trajectory(**fields, state=state, cuts=cuts and Cuts(*cuts))
            _check_whole(window)
            self.windows.append(window)
        self.generator.set_state(saved["generator"])


def _check_whole(traj: Trajectory) -> None:
    """Raise ValueError where the parts of a stored window are of different steps or environments."""
    shape = traj.value.shape
    for f in dataclasses.fields(traj):
        part = getattr(traj, f.name)
        if isinstance(part, Tensor) and part.shape[:2] != shape:
            raise ValueError(f"{f.name} of a stored window is of {tuple(part.shape)}, not of {tuple(shape)}")
    following = (shape[1], traj.x.shape[2])
    if (
        any(type(t) is not int or x.shape != following for t, x in traj.final.items())
        or len(traj.state.data) != shape[1]
    ):
        raise ValueError("a stored window is not whole")


def after(traj: Trajectory, steps: int, state: NetState) -> Trajectory:
    """Return a window without its first ``steps`` steps, beginning in ``state``."""
    fields: dict[str, Any] = {f.name: getattr(traj, f.name) for f in dataclasses.fields(traj)}
    cut = {k: v[steps:] for k, v in fields.items() if isinstance(v, Tensor)}
    final = {t - steps: following for t, following in traj.final.items() if t >= steps}
    cuts = traj.cuts and traj.cuts._replace(at=traj.cuts.at - steps)  # below 0 is none of the window's steps
    return Trajectory(**fields | cut | {"final": final, "cuts": cuts, "state": state})
