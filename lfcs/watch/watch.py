"""The callback that shows a run: curves at every window; more at every evaluation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from lfcs import trackers
from lfcs.callbacks import Callback, Running
from lfcs.pictures.passes import Gone, draw_passes
from lfcs.trackers import Tracker
from lfcs.trainer import Trainer
from lfcs.watch import told
from lfcs.watch.budget import Budget
from lfcs.watch.drawn import pictures
from lfcs.watch.episode import Stage
from lfcs.watch.passes import Passes, band
from lfcs.watch.signals import signals_of

SATURATED = 0.9  # spikes per tick from which a neuron counts as saturated
RATIOS = 4  # passes whose ratios have a histogram each


class Watch(Callback):
    """Hands a run to a tracker. It reads and never writes, so that a watched run learns as one that is not.

    ``level`` is ``scalars``, ``full`` or ``auto``; see the setting ``train.watch``. ``make`` makes one environment, to
    play an episode of an evaluation again.
    """

    def __init__(
        self,
        level: str,
        tracker: str,
        run_dir: Path,
        make: Callable[[], gymnasium.vector.SyncVectorEnv],
    ) -> None:
        trackers.find(tracker)  # before anything slow
        self.level, self.name, self.run_dir = level, tracker, run_dir
        self.budget, self.stage = Budget(), Stage(make)
        self.tracker: Tracker | None = None
        self.passes: Passes | None = None
        self.evaluated, self.before, self.put_off = False, 0, 0
        self.said: set[str] = set()

    def begin(self, trainer: Running) -> None:
        """Open the tracker; tell the settings where the run is new."""
        assert isinstance(trainer, Trainer)
        self.tracker, self.before = trackers.begin(self.name, self.run_dir, trainer.env_steps), trainer.env_steps
        if self.level != "scalars":
            self.passes = Passes(trainer.learner.update)
            trainer.learner.show = self.passes.show
        if self.tracker is not None and not trainer.env_steps:
            self.tracker.layout(told.charts(self.passes is not None))
            self.tracker.text("settings", told.in_words(trainer.config), 0)

    def saving(self, trainer: Running) -> None:
        """See :class:`Callback`."""
        if self.tracker is not None:
            self.tracker.flush()

    def evaluation(self, trainer: Running, metrics: dict[str, float]) -> None:
        """Take note: the window that it belongs to is told of next."""
        self.evaluated = True

    def window(self, trainer: Running, metrics: dict[str, float]) -> None:
        """Show the window, and after an evaluation all that is not a curve."""
        assert isinstance(trainer, Trainer)
        step, tracker, passes = trainer.env_steps, self.tracker, self.passes
        if tracker is None:
            return
        with self.budget.counted():
            if passes is not None:
                passes.over()
                metrics = metrics | (self._looked(tracker, passes, trainer) if self._may(trainer) else {})
            tracker.scalars(metrics, step)
        if passes is not None and self.evaluated:
            self._evaluated(tracker, passes, trainer)
        self.evaluated, self.before = False, step

    def _may(self, trainer: Trainer) -> bool:
        """Return whether more than curves may be shown now: always, or where it has not cost too much."""
        return self.level == "full" or self.budget.fits(self._progress(trainer)[0])

    def _looked(self, tracker: Tracker, passes: Passes, trainer: Trainer) -> dict[str, float]:
        """Show the passes over a window; return what belongs to its end."""
        gone = passes.went(self.before, trainer.env_steps, trainer.since_sync == 0)
        masked = passes.masked() if self.evaluated and passes.whole is passes.latest else None
        *early, last = [self._of_pass(gone, masked, k) for k in range(len(gone.reference))]
        for values, step in zip(early, gone.steps(), strict=False):
            tracker.scalars(values, step)
        rates = trainer.learner.update.firing_rate
        return last | {"spikes/saturated_fraction": float((rates >= SATURATED).double().mean())}

    def _of_pass(self, gone: Gone, masked: np.ndarray | None, k: int) -> dict[str, float]:
        found = {"passes/kl_reference_new": float(gone.reference[k]), "passes/kl_new_acting": float(gone.acting[k])}
        return found if masked is None else found | {"passes/share_masked": float(masked[k])}

    def _evaluated(self, tracker: Tracker, passes: Passes, trainer: Trainer) -> None:
        """Show how numbers are distributed and what an episode looked like, where there is time for it."""
        if self._may(trainer):
            with self.budget.counted():
                self._histograms(tracker, passes, trainer)
        if self.level == "full" or self.budget.allows(*self._progress(trainer)):
            with self.budget.drawing():
                whole = self._pictures(tracker, passes, trainer)
            self.put_off += not whole
        else:
            self.put_off += 1

    def _progress(self, trainer: Trainer) -> tuple[float, float]:
        """Return the seconds that a run has taken, and which part of it is done."""
        return trainer.seconds + trainer.evaluation_seconds, trainer.env_steps / trainer.config.steps

    def _histograms(self, tracker: Tracker, passes: Passes, trainer: Trainer) -> None:
        update, ratios, step = trainer.learner.update, passes.ratios(), trainer.env_steps
        hidden, readout = (weight.numpy(force=True) for weight in update.weights[:2])
        n = hidden.shape[1]
        shown = {
            "spikes/firing_rate": update.firing_rate.numpy(force=True),
            "weights/input": hidden[: -n - 1],
            "weights/recurrent": hidden[-n:][~np.eye(n, dtype=bool)],
            "weights/readout": readout[:, :-1],
        }
        for k in sorted({round(k) for k in np.linspace(0, len(ratios) - 1, min(RATIOS, len(ratios)))}):
            shown[f"ratio/pass_{k + 1:02}"] = ratios[k]
        for key, values in shown.items():
            tracker.histogram(key, values, step)

    def _pictures(self, tracker: Tracker, passes: Passes, trainer: Trainer) -> bool:
        """Play an episode; show its signals, pictures of it and a video. Returns whether there was time for all."""
        step, update = trainer.env_steps, trainer.learner.update
        episode, frames, terminated = self.stage.play(trainer)
        signals = signals_of(episode, trainer.final, update, terminated)
        tracker.histogram("signals/eligibility", signals.eligibility, step)
        tracker.histogram("signals/learning_signal", signals.signal, step)
        if frames is not None:
            tracker.video("episode/video", frames, step)
        elif self.stage.missing:
            self._say_once(trainer, f"no video: {self.stage.missing}")
        if find_spec("matplotlib") is None:
            self._say_once(trainer, "no pictures: they need the extra 'plots', pip install 'lfcs[plots]'")
            return True
        ratios, masked, region = passes.ratios(), passes.masked(), band(update.agent)
        draw = partial(draw_passes, gone=passes.gone, ratios=ratios, masked=masked, band=region)
        for key, figure in pictures(episode, trainer.final, signals.synapses, draw):
            tracker.image(key, figure, step)
            if self.level == "auto" and self.budget.exceeded(*self._progress(trainer)):
                return False
        return True

    def _say_once(self, trainer: Trainer, message: str) -> None:
        if message not in self.said:
            self.said.add(message)
            trainer.warn(message)

    def end(self, trainer: Running, summary: dict[str, Any]) -> None:
        """Record settings and final scores; tell where pictures were left out."""
        if self.tracker is None:
            return
        final = told.ending(summary)
        if self.put_off:
            final += f"\n\nPictures were left out at {self.put_off} evaluations to save time: `--watch full` draws all."
        self.tracker.hparams(told.flat(trainer.config), told.scores(summary))
        self.tracker.text("summary", final, summary["env_steps"])

    def close(self) -> None:
        """See :class:`Callback`."""
        with ExitStack() as stack:
            stack.callback(self.stage.close)
            if self.tracker is not None:
                stack.callback(self.tracker.close)
