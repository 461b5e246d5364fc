"""The recorder: what the network did in chosen episodes, step by step, bounded in memory, as one ``.npz``."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from lfcs import episodes
from lfcs.callbacks import Callback, Running
from lfcs.errors import UserError
from lfcs.evaluation import MAX_BATCH
from lfcs.rollout import Moment

WHERE = ("training", "greedy", "sampled")


class Recorder(Callback):
    """Keeps the last ``keep`` episodes of one environment, each up to ``steps`` steps, T of them.

    ``where`` is "greedy" or "sampled" for the first episode of each evaluation, or "training" for every episode. An
    episode is a dictionary of arrays by step, as :mod:`lfcs.episodes` has them, with ``env_steps``, when it was
    recorded. :meth:`save` writes them all into one file, keys ``0/spikes`` and so on, the oldest first; a run writes
    ``recording.npz`` into its directory at its end, which :meth:`lfcs.Recording.load` reads.
    Raises ValueError on an unknown ``where`` or a bad number.
    """

    def __init__(self, where: str = "greedy", keep: int = 4, steps: int = 1000, environment: int = 0) -> None:
        if where not in WHERE:
            raise ValueError(f"where must be one of {', '.join(WHERE)}, got {where!r}")
        if keep < 1 or steps < 1 or environment < 0:
            raise ValueError("keep and steps must be at least 1, environment at least 0")
        self.where, self.steps, self.environment = where, steps, environment
        self.episodes: deque[dict[str, np.ndarray]] = deque(maxlen=keep)
        self.open: dict[str, list[np.ndarray]] = {}
        self.waiting = False  # an evaluation's first episode has been recorded

    def begin(self, trainer: Running) -> None:
        """Start with nothing."""
        count = trainer.config.train.num_envs if self.where == "training" else MAX_BATCH
        if self.environment >= count:
            raise UserError(f"Recorder: there is no environment {self.environment} of {count}")
        self.episodes.clear()
        self.open, self.waiting = {}, False

    def acted(self, trainer: Running, where: str, moment: Moment) -> None:
        """See :class:`Callback`."""
        if where != self.where or self.waiting:
            return
        if moment.began[self.environment] and self.open:  # the one before was cut by a fresh start of all environments
            self._finish(trainer.env_steps)
        policy = trainer.policy if self.where == "training" else trainer.final
        row = episodes.row_of(policy, moment, self.environment)
        if len(self.open.setdefault("reward", [])) < self.steps:
            for name, value in row.items():
                self.open.setdefault(name, []).append(value)
        if moment.ended[self.environment]:
            self._finish(trainer.env_steps)
            self.waiting = where != "training"

    def _finish(self, env_steps: int) -> None:
        episode = {name: np.stack(column) for name, column in self.open.items()}
        self.episodes.append(episode | {"env_steps": np.array(env_steps)})
        self.open = {}

    def evaluation(self, trainer: Running, metrics: dict[str, float]) -> None:
        """See :class:`Callback`."""
        self.waiting = False

    def end(self, trainer: Running, summary: dict[str, Any]) -> None:
        """See :class:`Callback`."""
        if trainer.run_dir is not None:
            self.save(trainer.run_dir / "recording.npz")

    def save(self, path: str | Path) -> Path:
        """Write all episodes into one file, either whole or not at all; return its path."""
        return episodes.write(path, self.episodes)

    def state_dict(self) -> dict[str, Any]:
        """Return the kept episodes and the one that is being recorded."""
        begun = {name: np.stack(column) for name, column in self.open.items()}
        return {"episodes": list(self.episodes), "open": begun}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the episodes."""
        self.episodes.clear()
        self.episodes.extend(saved["episodes"])
        self.open = {name: list(column) for name, column in saved["open"].items()}
