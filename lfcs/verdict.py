"""When a run has diverged: one definition for every agent.

With the return's mean over the last 100 training episodes, let ``gain`` be its best value so far minus its first. A run
has *diverged* if it had learned something, gain > |first| / 2, and for the last fifth of the run's steps

    the return has been below best - gain / 2                                     ("lost what it had learned"), or
    the policy's entropy has been below that of a closed one and the return below best - gain / 4 ("entropy collapsed"),

or if a gradient was not finite. When a policy is *closed* its head says (:class:`lfcs.heads.Head`): 0.05 nats for each
choice, and where numbers are drawn, whose entropy may be negative, that of twice the least deviation. The verdict can
be lifted while the run goes on: what counts is its end.
"""

from __future__ import annotations

import math
from typing import Any

from lfcs.callbacks import Callback, Running

SPAN = 0.2  # of the run's steps


class Verdict(Callback):
    """Follows a run of ``total`` environment steps, in constant memory."""

    metrics = ("train/diverged",)

    def __init__(self, total: int, closed: float = 0.05) -> None:
        self.span, self.closed = SPAN * total, closed
        self.first: float | None = None
        self.best = -math.inf
        self.kept = self.open = 0  # steps at which the run last had what it had learned; and was open or doing well
        self.reason: str | None = None

    def update(self, step: int, metrics: dict[str, float]) -> bool:
        """Add what a window showed; returns whether the verdict has just become bad."""
        value, entropy = metrics.get("rollout/ep_rew_mean", math.nan), metrics["train/entropy"]
        if math.isnan(value):
            return False
        if self.first is None:
            self.first = value
        self.best = max(self.best, value)
        gain = self.best - self.first
        if value >= self.best - gain / 2:
            self.kept = step
        if value >= self.best - gain / 4 or entropy >= self.closed:
            self.open = step
        before, self.reason = self.reason, None
        if gain > abs(self.first) / 2:
            if step - self.kept >= self.span:
                self.reason = "lost what it had learned"
            elif step - self.open >= self.span:
                self.reason = "entropy collapsed"
        return self.reason is not None and before is None

    def begin(self, trainer: Running) -> None:
        """Ask the head when a policy is closed."""
        self.closed = trainer.policy.head.closed

    def window(self, trainer: Running, metrics: dict[str, float]) -> None:
        """Judge the window and warn where the verdict has just become bad."""
        if self.update(trainer.env_steps, metrics):
            trainer.warn(f"diverged at step {trainer.env_steps}: {self.reason}")
        metrics["train/diverged"] = float(self.reason is not None)

    def end(self, trainer: Running, summary: dict[str, Any]) -> None:
        """Put the verdict into the summary, unless a gradient that is not finite has done so."""
        summary["diverged"] = summary["diverged"] or self.reason

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state."""
        return dict(vars(self))

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the state, but for the span, which is of the run's steps now."""
        vars(self).update({key: value for key, value in saved.items() if key != "span"})
