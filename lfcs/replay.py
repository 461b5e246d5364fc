"""Stored experience: windows with the probabilities of the policy that acted, in order of time, never shuffled."""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import Any

import torch
from torch import Tensor

from lfcs.network import NetState
from lfcs.rollout import Trajectory


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
            kept.append(fields | {"state": traj.state.data, "neurons": traj.state.neurons})
        return {"windows": kept, "generator": self.generator.get_state()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the kept windows and the generator's state."""
        self.windows.clear()
        for fields in saved["windows"]:
            state = NetState(fields["state"], fields["neurons"])
            self.windows.append(Trajectory(**{k: v for k, v in fields.items() if k != "neurons"} | {"state": state}))
        self.generator.set_state(saved["generator"])


def after(traj: Trajectory, steps: int, state: NetState) -> Trajectory:
    """Return a window without its first ``steps`` steps, beginning in ``state``."""
    fields: dict[str, Any] = {f.name: getattr(traj, f.name) for f in dataclasses.fields(traj)}
    cut = {k: v[steps:] for k, v in fields.items() if isinstance(v, Tensor)}
    final = {t - steps: following for t, following in traj.final.items() if t >= steps}
    return Trajectory(**fields | cut | {"final": final, "state": state})
