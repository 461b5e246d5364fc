"""What looks on while a run goes: one small protocol. What is not there costs nothing.

A callback is told of the begin, of every window, of every evaluation and of the end, in the order of the list of
callbacks; of every acted step only if it defines :meth:`Callback.acted`. Its state is saved with the run's.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from lfcs import checkpoint
from lfcs.config import Config
from lfcs.policy import Policy
from lfcs.rollout import Moment

KEEP = 2  # checkpoints kept in a run directory


class Running(Protocol):
    """What a callback may use of the run, which is a :class:`lfcs.trainer.Trainer`."""

    config: Config
    policy: Policy  # that acts, with the reference's weights
    final: Policy  # that is evaluated and kept: the same, or with the running mean of those weights
    run_dir: Path | None  # where to write, None for nowhere
    columns: list[str]  # the keys of all metrics
    interrupted: bool  # whether the run leaves after this window, to be continued

    @property
    def env_steps(self) -> int:
        """Environment steps taken so far."""

    @property
    def done(self) -> bool:
        """Whether this was the last window."""

    def crossed(self, every: int) -> bool:
        """Return whether the latest window passed a multiple of ``every`` environment steps."""

    def stop(self, why: str) -> None:
        """End the run after this window; the policy that acts, as it was evaluated, is the final one."""

    def interrupt(self) -> None:
        """Leave after this window with a checkpoint, to be continued."""

    def warn(self, message: str) -> None:
        """Say something to the user at once."""

    def tell(self, event: str, *given: Any) -> None:
        """Call a method of every callback."""

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state of the run."""


class Callback:
    """Does nothing: override what is wanted.

    What :meth:`state_dict` saves is restored after :meth:`begin`, so that a cut run goes on where it was.
    """

    metrics: tuple[str, ...] = ()  # the keys that it adds to a window's metrics: columns of metrics.csv

    def begin(self, trainer: Running) -> None:
        """Before the first window, or the first after a checkpoint was restored."""

    def acted(self, trainer: Running, where: str, moment: Moment) -> None:
        """After every step: ``where`` is "training", "greedy" or "sampled", the last two in evaluations."""

    def evaluating(self, trainer: Running, where: str, episodes: int, total: int, steps: int) -> None:
        """While a long evaluation goes on, about twice a second: how many episodes of ``total`` have ended, in how many
        steps of all. ``where`` is "greedy" or "sampled". The thread may be another than the run's.
        """

    def evaluation(self, trainer: Running, metrics: dict[str, float]) -> None:
        """After an evaluation on the way, with its ``eval/...``; the last one is told by :meth:`end`."""

    def window(self, trainer: Running, metrics: dict[str, float]) -> None:
        """After every window of acting and learning, with all its metrics; keys of its own may be added."""

    def saving(self, trainer: Running) -> None:
        """Before a checkpoint is written: what was told of until now has to last, as it is not told of again."""

    def warning(self, trainer: Running, message: str) -> None:
        """When something is to be said to the user at once."""

    def end(self, trainer: Running, summary: dict[str, Any]) -> None:
        """After the final evaluation, with the run's summary; keys of its own may be added."""

    def close(self) -> None:
        """Whatever happened: release what is held open."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on as if nothing had happened."""
        return {}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the state."""


class StopAt(Callback):
    """Stops a run at the first evaluation whose mean return, with greedy actions, is at least ``mean_return``."""

    def __init__(self, mean_return: float) -> None:
        self.mean_return = mean_return

    def evaluation(self, trainer: Running, metrics: dict[str, float]) -> None:
        """See :class:`Callback`."""
        if metrics["eval/mean_reward"] >= self.mean_return:
            trainer.stop(f"mean return {metrics['eval/mean_reward']:g} at step {trainer.env_steps}")


class Summary(Callback):
    """Writes ``summary.json`` when the others have seen the end."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "summary.json"

    def end(self, trainer: Running, summary: dict[str, Any]) -> None:
        """See :class:`Callback`."""
        metrics = self.path.with_name("metrics.csv")
        checked = {"metrics_digest": checkpoint.digest_of(metrics)} if metrics.exists() else {}
        checkpoint.write_sealed(self.path, summary | checked)


class Checkpoints(Callback):
    """Saves the whole state of a run: now and then, when it is interrupted, and before the final evaluation.

    It stands last in the list, so that what is saved has been told of the window by all others.
    """

    def __init__(self, run_dir: Path) -> None:
        self.folder = run_dir / "checkpoints"

    def window(self, trainer: Running, metrics: dict[str, float]) -> None:
        """See :class:`Callback`."""
        if trainer.crossed(trainer.config.train.checkpoint_every) or trainer.interrupted or trainer.done:
            self.save(trainer)

    def save(self, trainer: Running) -> None:
        """Write a checkpoint of now and forget the oldest."""
        trainer.tell("saving")
        checkpoint.save(self.folder / f"step_{trainer.env_steps:012d}.npz", trainer.state_dict())
        past, later = checkpoint.around(self.folder, trainer.env_steps)
        for old in (*past[:-KEEP], *later):  # a later one was not intact: the run went on from the one before
            old.unlink()

    def remove(self) -> None:
        """Take all away, and their directory where it holds nothing else."""
        checkpoint.sweep(self.folder)
        for path in self.folder.glob("step_*.npz"):
            path.unlink()
        with suppress(OSError):
            self.folder.rmdir()
