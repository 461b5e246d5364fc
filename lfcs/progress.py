"""How far it is: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from lfcs.callbacks import Callback, Running
from lfcs.evaluation import Count, Heard

EVERY = 5.0  # seconds between plain lines


def span(seconds: float) -> str:
    """Return a time in words: 41 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Lines:
    """Plain lines on standard error, one every ``every`` seconds at most."""

    def __init__(self, every: float = EVERY) -> None:
        self.every, self.last = every, time.monotonic()

    def __call__(self, text: Callable[[], str]) -> None:
        """Write a line, if the last is long enough ago; it is made only then."""
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            print(text(), file=sys.stderr, flush=True)


class Progress(Callback):
    """How far a run is, with return, steps a second and time left, evaluations too; nothing unless ``shown``."""

    def __init__(self, shown: bool = True) -> None:
        self.shown = shown
        self.plain = not sys.stderr.isatty()

    def begin(self, trainer: Running) -> None:
        """See :class:`Callback`."""
        total, done, off = trainer.config.steps, trainer.env_steps, self.plain or not self.shown
        self.bar = tqdm(total=total, initial=done, unit="step", disable=off, dynamic_ncols=True)
        self.lines, self.began, self.first = Lines(), time.monotonic(), done
        self.value = "no episode has ended"

    def window(self, trainer: Running, metrics: dict[str, float]) -> None:
        """See :class:`Callback`."""
        if "rollout/ep_rew_mean" in metrics:
            self.value = f"return {metrics['rollout/ep_rew_mean']:.4g}"
        if not self.shown:
            return
        if self.plain:
            self.lines(lambda: self.line(trainer.env_steps, trainer.config.steps))
            return
        self.bar.set_postfix_str(self.value, refresh=False)
        self.bar.update(min(trainer.env_steps, self.bar.total) - self.bar.n)

    def line(self, step: int, total: int) -> str:
        """Return the plain line at a step of ``total``."""
        rate = (step - self.first) / max(time.monotonic() - self.began, 1e-9)
        left = f", {span((total - step) / rate)} left" if rate > 0 and step < total else ""
        return f"step {step:,} of {total:,} ({100 * step // total} %), {self.value}, {rate:,.0f} steps/s{left}"

    def evaluating(self, trainer: Running, where: str, episodes: int, total: int, steps: int) -> None:
        """See :class:`Callback`."""
        text = f"evaluation, {where}: {episodes} of {total} episodes, {steps:,} steps"
        if self.shown and self.plain:
            self.lines(lambda: f"step {trainer.env_steps:,}: {text}")
        elif self.shown:
            self.bar.set_postfix_str(text)

    def warning(self, trainer: Running, message: str) -> None:
        """Say it above the bar."""
        if self.shown:
            self.bar.write(f"warning: {message}", file=sys.stderr)

    def close(self) -> None:
        """See :class:`Callback`."""
        if hasattr(self, "bar"):
            self.bar.close()


class Episodes:
    """How far an evaluation without a run is: a bar for each way of acting on a terminal, else lines."""

    def __init__(self, total: int) -> None:
        self.total, self.plain, self.lines = total, not sys.stderr.isatty(), Lines()
        self.bar: Any = None

    def hear(self, where: str) -> Heard:
        """Return what hears of the episodes with "greedy" or "sampled" actions."""
        self.close()
        self.bar = tqdm(total=self.total, unit="episode", desc=where, disable=self.plain, dynamic_ncols=True)

        def tell(episodes: int, steps: int) -> None:
            if self.plain:
                self.lines(lambda: f"{where}: {episodes} of {self.total} episodes, {steps:,} steps")
            else:
                self.bar.set_postfix_str(f"{steps:,} steps", refresh=False)
                self.bar.update(episodes - self.bar.n)
                self.bar.refresh()

        return Count(self.total, tell)

    def close(self) -> None:
        """Take the bar away: results follow."""
        if self.bar is not None:
            self.bar.leave = False
            self.bar.close()
