"""The trials of a search, tried by any number of processes that share one journal file."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from lfcs import lock
from lfcs.callbacks import Callback, Running
from lfcs.errors import Diverged, Interrupted, UserError
from lfcs.monitor import read_metrics
from lfcs.run import begin, complete, proceed, read_summary
from lfcs.study.jobs import is_begun
from lfcs.study.leaving import LEAVING, Leave
from lfcs.study.many import Outcome
from lfcs.study.search import Search

JOURNAL, NAME = "study.journal", "tune"
RETURNS = {
    "greedy": ("eval/mean_reward", "mean_return"),
    "sampled": ("eval/mean_reward_sampled", "mean_return_sampled"),
}
# what a trial may have as ``user_attrs``: why it failed; that it was put in line by us; in which trial's directory its
# runs are; which process tries it; its scores and seconds by seed
FAILED, LINED_UP, RUNS, WORKER, SCORES, SECONDS = "failed", "lined up", "runs", "worker", "scores", "seconds"


def check_installed() -> None:
    """Raise UserError where Optuna is missing."""
    if importlib.util.find_spec("optuna") is None:
        raise UserError("tuning needs the extra 'tune': pip install 'lfcs[tune]', or make install")


def open_study(root: Path, evaluations: int) -> Any:
    """Return the Optuna study of a directory, made where there is none.

    A trial is given up where its running score is below the median of the others' at the same evaluation, once five
    have ended and a third of its first run is over.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    backend = JournalFileBackend(str(root / JOURNAL))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=evaluations // 3)
    storage = optuna.storages.JournalStorage(backend)
    return optuna.create_study(
        storage=storage, pruner=pruner, study_name=NAME, direction="maximize", load_if_exists=True
    )


def last_third(returns: list[float]) -> float:
    """Return the mean of the last third of evaluations, at least one."""
    return float(np.mean(returns[-max(1, -(-len(returns) // 3)) :]))


class Told(Callback):
    """Tells of the returns so far at every evaluation on the way, and of the step."""

    def __init__(self, key: str, tell: Callable[[list[float], int], None]) -> None:
        self.key, self.tell = key, tell
        self.returns: list[float] = []

    def evaluation(self, trainer: Running, metrics: dict[str, float]) -> None:
        """Keep the return and tell; the final evaluation stands for that of the last step."""
        if trainer.env_steps < trainer.config.steps:
            self.returns.append(metrics[self.key])
            self.tell(self.returns, trainer.env_steps)

    def state_dict(self) -> dict[str, Any]:
        """See :class:`Callback`."""
        return {"returns": list(self.returns)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """See :class:`Callback`."""
        self.returns = list(saved["returns"])


class Tried:
    """One trial: its seeds, one after the other, each a run that is kept and resumed."""

    def __init__(self, search: Search, root: Path, trial: Any, params: dict[str, Any], leave: Leave) -> None:
        self.search, self.trial, self.params, self.leave = search, trial, params, leave
        self.folder = root / "runs" / f"trial{trial.user_attrs.get(RUNS, trial.number):05d}"
        self.key, self.of_summary = RETURNS[search.actions]
        self.scores: list[float] = []
        self.seconds: list[float] = []

    def score(self) -> float:
        """Return the median over seeds of the mean of the last third of evaluations.

        Raises optuna.TrialPruned where the trial is given up, Interrupted when it is cut, UserError where it fails.
        """
        for seed in self.search.seeds:
            self.scores.append(last_third(self._run(seed)))
            self._tell([], 0)
        self.trial.set_user_attr(SECONDS, self.seconds)
        return float(np.median(self.scores))

    def _run(self, seed: int) -> list[float]:
        """Return the returns of a run's evaluations: read them, or continue the run, or start it."""
        config, run_dir = self.search.config(self.params, seed), self.folder / f"seed{seed}"
        if not (run_dir / "summary.json").exists():
            with lock.held(run_dir, lock.ORPHANS) as held:
                given: dict[str, Any] = {"callbacks": [Told(self.key, self._tell)], "progress": False, "held": held}
                begun = is_begun(config, run_dir)
                trainer = proceed(run_dir, **given) if begun else begin(config, run_dir, **given)
                self.leave.made(trainer)
                complete(trainer)
                shutil.rmtree(run_dir / "checkpoints")  # of hundreds of runs they would fill the disk
        is_begun(config, run_dir)
        summary = read_summary(run_dir)
        if summary["diverged"] == Diverged.reason:
            raise Diverged(Diverged.reason)
        self.seconds.append(summary["seconds"] + summary["evaluation_seconds"])
        rows = read_metrics(run_dir)
        way = [row[self.key] for row in rows if np.isfinite(row[self.key]) and row["step"] < config.steps]
        return [*way, summary[self.of_summary]]

    def _tell(self, returns: list[float], step: int) -> None:
        """Report the median over the seeds so far, of this one's ``returns`` too. Raises TrialPruned if it is low."""
        import optuna

        running = [*self.scores, *([last_third(returns)] if returns else [])]
        at = len(self.scores) * evaluations(self.search) + step // self.search.base.train.eval_every - 1
        self.trial.report(float(np.median(running)), at)
        self.trial.set_user_attr(SCORES, running)
        if len(self.scores) < len(self.search.seeds) and self.trial.should_prune():
            raise optuna.TrialPruned


def evaluations(search: Search) -> int:
    """Return how many evaluations a run has, the final one included."""
    return -(-search.steps // search.base.train.eval_every)


def counted(study: Any) -> list[Any]:
    """Return the trials that count: all but those that were cut, whose successors do. A failed one has a score."""
    import optuna

    cut = optuna.trial.TrialState.FAIL
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state != cut]


def next_trial(study: Any, most: int) -> Any:
    """Return a new trial, or None where there are ``most`` already, however many processes ask at once."""
    import optuna

    waiting = optuna.trial.TrialState.WAITING
    if len(found := counted(study)) >= most and not any(trial.state == waiting for trial in found):
        return None
    trial = study.ask()
    if LINED_UP not in trial.user_attrs and sum(other.number < trial.number for other in counted(study)) >= most:
        cut(study, trial.number)
        return None
    trial.set_user_attr(WORKER, f"{socket.gethostname()}:{os.getpid()}")
    return trial


def cut(study: Any, number: int) -> None:
    """End a trial so that it does not count."""
    import optuna

    study.tell(number, state=optuna.trial.TrialState.FAIL)


def line_up(study: Any, params: dict[str, Any], runs: int | None = None) -> None:
    """Let these settings be tried next; ``runs`` is the trial in whose directory they were begun."""
    study.enqueue_trial(params, user_attrs={LINED_UP: True} | ({} if runs is None else {RUNS: runs}))


def again(study: Any, trial: Any) -> None:
    """Cut a trial and let it go on later from where it was."""
    params, runs = dict(trial.params), trial.user_attrs.get(RUNS, trial.number)
    cut(study, trial.number)
    line_up(study, params, runs)


def rescue(study: Any) -> int:
    """Let trials go on whose process on this machine is gone; return how many."""
    import optuna

    gone = []
    for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
        host, _, process = trial.user_attrs.get(WORKER, "").rpartition(":")
        if host == socket.gethostname():
            try:
                os.kill(int(process), 0)
            except ProcessLookupError:
                gone.append(trial)
    for trial in gone:
        again(study, trial)
    return len(gone)


def attempt(search: Search, root: Path, study: Any, trial: Any, leave: Leave) -> bool:
    """Try the settings of a trial and tell the study; returns whether to go on.

    A trial whose settings contradict each other, that diverges or raises has the worst of scores, -inf.
    """
    import optuna

    try:
        params = {of.key: of.suggest(trial) for of in search.parsed}
        tried = Tried(search, root, trial, params, leave)
        study.tell(trial, tried.score())
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        for kept in tried.folder.glob("*/checkpoints"):
            shutil.rmtree(kept)
    except Interrupted:
        again(study, trial)
        return False
    except OSError:
        raise  # a full disk is no fault of the settings
    except Exception as error:  # an environment's or a rule's own: the report says so
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        trial.set_user_attr(FAILED, kind + " ".join(str(error).split()))
        study.tell(trial, -math.inf)
    print(line(study, trial.number, search), flush=True)
    return True


def line(study: Any, number: int, search: Search) -> str:
    """Return what is said of a trial that has ended."""
    import optuna

    trial = next(one for one in study.get_trials(deepcopy=False) if one.number == number)
    if trial.state == optuna.trial.TrialState.PRUNED:
        ended = "given up at " + ", ".join(f"{score:.4g}" for score in trial.user_attrs[SCORES])
    elif FAILED in trial.user_attrs:
        ended = f"failed: {trial.user_attrs[FAILED]}"
    else:
        ended = f"{trial.value:.4g}"
    over = [one for one in counted(study) if one.state.is_finished()]
    scored = [one for one in over if one.value is not None and math.isfinite(one.value)]
    best = max(scored, key=lambda one: one.value, default=None)
    of_best = f"; best {best.value:.4g}, trial {best.number}" if best else ""
    return f"trial {number}: {ended}{of_best}  [{len(over)} ended]"


def serve(search: Search, root: Path, most: int, leave: Leave) -> None:
    """Try trials until there are ``most``, or until it is time to leave."""
    study = open_study(root, evaluations(search))
    while not leave.asked and (trial := next_trial(study, most)) is not None:
        import optuna

        # no two processes draw the same numbers
        study.sampler = optuna.samplers.TPESampler(seed=trial.number, multivariate=False)
        if not attempt(search, root, study, trial, leave):
            return


def work(pipe: Connection, search: str, root: Path, most: int) -> None:
    """Serve in a process of its own; leave when anything comes by the pipe or its other end is gone."""
    LEAVING.serve(pipe)
    try:
        with LEAVING.at_work():
            serve(Search.from_json(search), root, most, LEAVING)
        found = Outcome()
    except Interrupted:
        found = Outcome()
    except (UserError, OSError) as error:
        found = Outcome(error=str(error))
    with suppress(OSError):
        pipe.send(found)
