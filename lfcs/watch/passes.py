"""Learning fast, changing slow: what every pass over a window saw, and how far the new policy has gone by then."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lfcs.agent import Agent
from lfcs.learner import Pass
from lfcs.measured import kl_terms, reverse_kl_terms
from lfcs.pictures.passes import Gone
from lfcs.update import Update

KEPT = 6  # windows of which distances are kept
GRID = 2001  # ratios that the trust region is looked for among


class Passes:
    """Looks at the passes over a window as they are made; :meth:`over` ends the window."""

    def __init__(self, update: Update) -> None:
        self.update = update
        self.seen: list[Pass] = []  # over the window of now
        self.latest: list[Pass] = []  # over the latest window that is over
        self.whole: list[Pass] = []  # over the latest that was not cut short
        self.gone: deque[Gone] = deque(maxlen=KEPT)

    def show(self, seen: Pass) -> None:
        """Take note of a pass; nothing is computed yet, and no device is waited for."""
        self.seen.append(seen)

    def over(self) -> None:
        """End a window. Where that is all, it is soon forgotten, and has cost nothing."""
        self.latest, self.seen = self.seen, []
        if not self.whole or len(self.latest[0].rho) >= self.update.rule.window:
            self.whole = self.latest

    def went(self, first: int, last: int, synced: bool) -> Gone:
        """Return how far the passes over the latest window went, which stays among those of late."""
        reference = means(kl_terms, [seen.rho for seen in self.latest])
        to_acting = [seen.rho if seen.stale is None else seen.rho * seen.stale for seen in self.latest]
        acting = means(reverse_kl_terms, to_acting)
        self.gone.append(Gone(first, last, reference, acting, synced))
        return self.gone[-1]

    def ratios(self) -> list[np.ndarray]:
        """Return the ratios π_new/π_ref [T·B] of each pass over the latest whole window."""
        return [seen.rho.numpy(force=True).reshape(-1) for seen in self.whole]

    def masked(self) -> np.ndarray:
        """Return the share [R] of its steps from which a pass learned nothing, for all their advantage."""
        advantage = torch.cat([seen.advantage.flatten() for seen in self.whole])
        return means(lambda rho: nothing(self.update.agent, rho, advantage).double(), [seen.rho for seen in self.whole])


def means(of: Callable[[Tensor], Tensor], passes: list[Tensor]) -> np.ndarray:
    """Return the mean [R] over each pass of what ``of`` makes of the numbers of all: few operations on many.

    A pass over an older window may be shorter than one over the window of now.
    """
    every = of(torch.cat([part.flatten() for part in passes]))
    return torch.stack([part.mean() for part in every.split([part.numel() for part in passes])]).numpy(force=True)


def nothing(agent: Agent, rho: Tensor, advantage: Tensor) -> Tensor:
    """Return where a rule learns nothing from a step, for all its advantage."""
    return (agent.weight(rho, advantage) == 0) & (advantage != 0)


def band(agent: Agent) -> tuple[float, float]:
    """Return the ratios between which a rule learns from a step: those of its trust region, 0 and infinity for none.

    Below the first it learns nothing from a step of negative advantage, above the second nothing from one of positive
    advantage. They are found by asking the rule for its weights.
    """
    rho, middle = torch.logspace(-2, 2, GRID, dtype=torch.float64), GRID // 2
    better, worse = (nothing(agent, rho, torch.full_like(rho, sign)) for sign in (1.0, -1.0))
    if better[middle] or worse[middle]:  # even where the policies agree: it is no trust region
        return 0.0, float("inf")
    above, below = torch.nonzero(better[middle:]), torch.nonzero(worse[:middle])
    low = float(rho[int(below[-1])]) if len(below) else 0.0
    high = float(rho[middle + int(above[0])]) if len(above) else float("inf")
    return low, high
