"""Learning fast, changing slow: what every pass over a window saw, and how far the new policy has gone by then."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch

from lfcs.agent import Agent
from lfcs.measured import Record, kl_estimate, reverse_kl_estimate
from lfcs.pictures.passes import Gone
from lfcs.trajectory import Trajectory
from lfcs.update import Update, View

KEPT = 6  # windows of which distances are kept
GRID = 2001  # ratios that the trust region is looked for among


class Passes:
    """Looks at the passes over a window as they are made; :meth:`over` ends the window."""

    def __init__(self, update: Update) -> None:
        self.update = update
        self.seen: list[tuple[Trajectory, View, Record]] = []
        self.whole: list[tuple[Trajectory, View, Record]] = []  # those over the latest window that was not cut short
        self.gone: deque[Gone] = deque(maxlen=KEPT)

    def show(self, traj: Trajectory, view: View, record: Record) -> None:
        """Take note of a pass; nothing is computed yet, and no device is waited for."""
        self.seen.append((traj, view, record))

    def over(self, first: int, last: int, synced: bool) -> Gone:
        """Return how far the passes over a window went, which stays among the latest."""
        if not self.whole or len(self.seen[0][0].reward) >= self.update.rule.window:
            self.whole = self.seen
        reference = [float(kl_estimate(record.rho)) for _, _, record in self.seen]
        acting = [float(reverse_kl_estimate(ratio_to_acting(traj, record))) for traj, _, record in self.seen]
        self.gone.append(Gone(first, last, np.array(reference), np.array(acting), synced))
        return self.gone[-1]

    def ratios(self) -> list[np.ndarray]:
        """Return the ratios π_new/π_ref [T·B] of each pass over the latest whole window."""
        return [record.rho.numpy(force=True).reshape(-1) for _, _, record in self.whole]

    def masked(self) -> np.ndarray:
        """Return the share [R] of steps from which a pass learned nothing, for all their advantage."""
        found = []
        for traj, view, record in self.whole:
            advantage = self.update.credit(traj, view).advantage
            weight = self.update.agent.weight(record.rho, advantage)
            found.append(float(((weight == 0) & (advantage != 0)).double().mean()))
        return np.array(found)

    def rates(self) -> np.ndarray:
        """Return the firing rate of every neuron [N] in the latest pass, in spikes per tick."""
        return self.seen[-1][2].rate.mean(0).numpy(force=True)

    def forget(self) -> None:
        """Let the window go."""
        self.seen = []


def ratio_to_acting(traj: Trajectory, record: Record) -> torch.Tensor:
    """Return π_new/π_acting of the actions of a window, which is ρ where the reference acted."""
    return record.rho if traj.stale is None else record.rho * traj.stale


def band(agent: Agent) -> tuple[float, float]:
    """Return the ratios between which a rule learns from a step: those of its trust region, 0 and infinity for none.

    Below the first it learns nothing from a step of negative advantage, above the second nothing from one of positive
    advantage. They are found by asking the rule for its weights.
    """
    rho = torch.logspace(-2, 2, GRID, dtype=torch.float64)
    better, worse = (agent.weight(rho, torch.full_like(rho, sign)) != 0 for sign in (1.0, -1.0))
    middle = GRID // 2
    if not (better[middle] and worse[middle]):
        return 0.0, float("inf")
    above = torch.nonzero(~better[middle:])
    below = torch.nonzero(~worse[: middle + 1])
    low = float(rho[int(below[-1])]) if len(below) else 0.0
    high = float(rho[middle + int(above[0])]) if len(above) else float("inf")
    return low, high
