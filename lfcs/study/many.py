"""Many runs at once, each in a process of its own: kept when finished, continued when cut; one that fails is alone."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from lfcs import lock, stopping
from lfcs.config import Config
from lfcs.errors import Diverged, Interrupted, UserError
from lfcs.run import read_summary
from lfcs.spawn import cores, main_not_run_again
from lfcs.study.jobs import check_number, check_room, finish, is_begun
from lfcs.study.leaving import LEAVING
from lfcs.study.stats import TOLD, in_words
from lfcs.study.values import file_names

ROOT = Path("runs/seeds")  # where run directories go by default


Run = tuple[Config, Path]  # settings, and the directory


@dataclass(frozen=True)
class Outcome:
    """How a run ended: with a summary, with an error, or with neither where it is to be continued."""

    summary: dict[str, Any] | None = None
    error: str | None = None


def work(pipe: Connection, config: Config, run_dir: Path) -> None:
    """Finish a run and send its outcome.

    When anything comes by the pipe, or whoever waits at its other end is gone, leave with a checkpoint.
    """
    LEAVING.serve(pipe)
    try:
        found = Outcome(finish(config, run_dir))
    except Interrupted:
        found = Outcome()
    except (UserError, OSError) as error:
        found = Outcome(error=str(error))
    except Exception as error:  # an environment's or a rule's own; alone, its traceback is shown
        found = Outcome(error=f"{type(error).__name__}: {' '.join(str(error).split())}")
    with suppress(OSError):
        pipe.send(found)


class Processes:
    """``number`` processes side by side, one for each of the runs, or of what else ``task`` is called with.

    Ctrl-C, SIGTERM or SIGHUP lets every run end its window and write a checkpoint; Ctrl-C pressed twice stops them at
    once. They end with this process, however it ends.
    """

    def __init__(self, runs: Sequence[tuple[Any, ...]], number: int, task: Callable[..., None] = work) -> None:
        self.runs, self.number, self.task = runs, number, task
        self.active: dict[Connection, tuple[int, BaseProcess]] = {}
        self.stopping = False

    def finish(self, waiting: Sequence[int], told: Callable[[int, Outcome], None]) -> None:
        """Finish the runs of these numbers; ``told(i, outcome)`` when the i-th has ended."""
        queue = deque(waiting)
        try:
            with stopping.handled(self._on_signal):
                while self.active or (queue and not self.stopping):
                    while queue and not self.stopping and len(self.active) < self.number:
                        self._start(queue.popleft())
                    ready = wait(list(self.active))
                    for pipe in [one for one in self.active if one in ready]:
                        told(*self._ended(pipe))
        finally:  # nobody is left behind, whatever ``told`` raises
            for pipe, (_, process) in self.active.items():
                pipe.close()
                process.join()

    def _start(self, index: int) -> None:
        ours: Connection
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=self.task, args=(theirs, *self.runs[index]))
        with main_not_run_again():
            process.start()
            self.active[ours] = (index, process)
        theirs.close()

    def _ended(self, pipe: Connection) -> tuple[int, Outcome]:
        """Return the number of a run and its outcome, sent or not."""
        try:
            found = pipe.recv()
        except (EOFError, OSError):
            found = None
        index, process = self.active.pop(pipe)
        pipe.close()
        process.join()
        if found is None and not self.stopping:
            found = Outcome(error=f"its process died with exit status {process.exitcode}")
        return index, found or Outcome()

    def _on_signal(self, number: int) -> None:
        for pipe, (_, process) in list(self.active.items()):
            if self.stopping and number == signal.SIGINT:  # schedulers and terminals repeat the others
                process.kill()
            with suppress(OSError):
                pipe.send("leave")
        if not self.stopping:
            print("stopping: every run ends its window; press Ctrl-C again to stop at once", file=sys.stderr)
        self.stopping = True


def fitting(jobs: int | None, threads: int) -> int:
    """Return the number of runs side by side: ``jobs``, or as many as the cores have room for."""
    return max(1, cores() // threads) if jobs is None else jobs


def prepare(configs: Sequence[Config], root: Path, jobs: int | None) -> list[Run]:
    """Return runs with their directories below ``root``. Raises UserError on what cannot begin, before any does."""
    check_number(1 if jobs is None else jobs)
    if (root / "config.json").exists():
        raise UserError(f"{root} holds a run: choose another directory for the runs of the seeds")
    names = file_names(dict.fromkeys(config.agent for config in configs))
    runs = [(config, root / f"{names[config.agent]}_seed{config.seed}") for config in configs]
    for run in runs:
        is_begun(*run)
    return runs


def labels(runs: Sequence[Run]) -> list[str]:
    """Return what runs are called: by their seeds, and by their agents where there are several."""
    several = len({config.agent for config, _ in runs}) > 1
    return [f"{config.agent} {config.seed}" if several else str(config.seed) for config, _ in runs]


def line(label: str, found: Outcome) -> str:
    """Return what is said of a run that has ended."""
    s = found.summary
    if s is None:
        return f"seed {label} failed: {found.error}" if found.error else f"seed {label} stopped, to be continued"
    text = f"seed {label}: greedy {s['mean_return']:.2f} ± {s['std_return']:.2f}, "
    text += f"sampled {s['mean_return_sampled']:.2f} ± {s['std_return_sampled']:.2f}, {s['seconds']:.0f} s"
    return text + (f", diverged: {s['diverged']}" if s["diverged"] else "")


def kept(run_dir: Path) -> Outcome | None:
    """Return the outcome of a run that has one already."""
    try:
        return Outcome(read_summary(run_dir)) if (run_dir / "summary.json").exists() else None
    except UserError as error:
        return Outcome(error=str(error))


def finish_all(runs: Sequence[Run], jobs: int | None) -> list[Outcome]:
    """Finish runs side by side, by default as many as there are cores; say so of each; return how each ended."""
    names, before = labels(runs), [kept(run_dir) for _, run_dir in runs]
    found = {index: of for index, of in enumerate(before) if of is not None}
    ended = sum(of.summary is not None for of in found.values())

    def told(index: int, outcome: Outcome) -> None:
        nonlocal ended
        found[index] = outcome
        ended += outcome.summary is not None
        print(f"{line(names[index], outcome)}  [{ended}/{len(runs)}]", flush=True)

    if ended:
        print(f"{ended} of {len(runs)} runs are finished already and are not run again")
    for index, outcome in found.items():
        if outcome.error:
            print(line(names[index], outcome))
    if missing := [index for index, of in enumerate(before) if of is None]:
        number = min(fitting(jobs, runs[0][0].train.threads), len(missing))
        begun = sum(is_begun(*runs[index]) for index in missing)
        of_them = f", {begun} of them from a checkpoint" if begun else ""
        with lock.held(runs[0][1].parent):
            check_room([run_dir for _, run_dir in runs])
            print(f"{len(missing)} to run{of_them}, {number} side by side", flush=True)
            Processes(runs, number).finish(missing, told)
    return [found.get(index, Outcome()) for index in range(len(runs))]


def judge(runs: Sequence[Run], outcomes: Sequence[Outcome]) -> None:
    """Raise Interrupted where runs are to be continued, and UserError where some have failed; say which."""
    ended = list(zip(labels(runs), outcomes, strict=True))
    if Outcome() in outcomes:
        finished = sum(of.summary is not None for of in outcomes)
        raise Interrupted(f"stopped with {finished} of {len(runs)} runs finished; the same command goes on")
    failed = [label for label, of in ended if of.error]
    diverged = [label for label, of in ended if of.summary and of.summary["diverged"] == Diverged.reason]
    wrong = [
        f"{len(which)} of {len(runs)} runs {what}: {named(which)}"
        for what, which in (("failed", failed), ("diverged", diverged))
        if which
    ]
    if failed:
        wrong.append("the same command tries again what failed")
    if wrong:
        raise UserError("; ".join(wrong))


def named(seeds: Sequence[str], most: int = 20) -> str:
    """Return seeds in words, the first of them where they are many."""
    more = f" and {len(seeds) - most} more" if len(seeds) > most else ""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds[:most])}{more}"


def aggregate(scores: np.ndarray) -> str:
    """Return median, interquartile mean and its 95 % interval over seeds, as text."""
    return f"median {np.median(scores):.2f}, IQM {in_words(scores, '.2f')}"


def train(runs: Sequence[Run], root: Path, jobs: int | None = None) -> None:
    """Finish the runs of :func:`prepare` and tell how they did, all seeds together.

    Raises UserError, after the others have ended, where some fail, and Interrupted on Ctrl-C. The same again goes on.
    """
    outcomes = finish_all(runs, jobs)
    scores = np.array([of.summary["mean_return"] for of in outcomes if of.summary])
    if len(scores):
        seeds = f"{len(scores)} seed{'s' if len(scores) > 1 else ''}"
        print(f"\n{seeds}: final greedy return {aggregate(scores)}")
        if len(scores) > 1:
            print(f"in brackets: the {TOLD} of the interquartile mean")
        print(f"runs:        {root}/{runs[0][1].name.rpartition('_seed')[0]}_seed*")
        print("with more seeds the same command keeps these")
        print(f"next: lfcs watch {root}, or lfcs report {root}")
    judge(runs, outcomes)
