"""The recorder: what the network did in chosen episodes, step by step, bounded in memory, as one ``.npz``."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from lfcs import checkpoint
from lfcs.callbacks import Callback, Running
from lfcs.errors import UserError
from lfcs.evaluation import MAX_BATCH
from lfcs.nested import named
from lfcs.rollout import Moment

WHERE = ("training", "greedy", "sampled")


class Recorder(Callback):
    """Keeps the last ``keep`` episodes of one environment, each up to ``steps`` steps, T of them.

    ``where`` is "greedy" or "sampled" for the first episode of each evaluation, or "training" for every episode. An
    episode is a dictionary of arrays by step: ``observation`` [T, ...], ``input`` [T, D] (currents), ``spikes`` [T, N],
    ``membrane`` [T, N] (in thresholds), ``readout`` [T, N], ``trace`` [T, G·(D + 1 + N)] (presynaptic), ``params``
    [T, K] of the head, ``value`` [T], ``action`` (``action/0`` or ``action/key`` where it has parts), ``reward`` [T],
    and ``env_steps``, when it was recorded. State is that of a step's last tick. :meth:`save` writes them all into one
    file, keys ``0/spikes`` and so on, the oldest first; a run writes ``recording.npz`` into its directory at its end.
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
            self.finish(trainer.env_steps)
        row = self._row(trainer, moment, self.environment)
        if len(self.open.setdefault("reward", [])) < self.steps:
            for name, value in row.items():
                self.open.setdefault(name, []).append(value)
        if moment.ended[self.environment]:
            self.finish(trainer.env_steps)
            self.waiting = where != "training"

    def _row(self, trainer: Running, moment: Moment, b: int) -> dict[str, np.ndarray]:
        policy = trainer.policy if self.where == "training" else trainer.final
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
        row |= {name: part[0].cpu().numpy() for name, part in parts.items()}
        return {name: np.array(item) for name, item in row.items()}

    def finish(self, env_steps: int) -> None:
        """End the episode that is being recorded, as if it were over."""
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
        path = checkpoint.with_ending(path)
        arrays: dict[str, Any] = {f"{i}/{k}": v for i, e in enumerate(self.episodes) for k, v in e.items()}
        with checkpoint.whole(path) as file:
            np.savez_compressed(file, **arrays)
        return path

    def state_dict(self) -> dict[str, Any]:
        """Return the kept episodes and the one that is being recorded."""
        begun = {name: np.stack(column) for name, column in self.open.items()}
        return {"episodes": list(self.episodes), "open": begun}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the episodes."""
        self.episodes.clear()
        self.episodes.extend(saved["episodes"])
        self.open = {name: list(column) for name, column in saved["open"].items()}
