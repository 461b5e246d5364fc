"""Runs side by side, over any executor; what is finished is kept, and what was cut continues."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lfcs import lock
from lfcs.config import Config
from lfcs.errors import Diverged, Interrupted, UserError
from lfcs.run import begin, complete, load_config, proceed, read_summary
from lfcs.spawn import main_not_run_again
from lfcs.study.leaving import LEAVING, on_signals

BAR = "{desc}: {percentage:3.0f}% |{bar}| {elapsed} < {remaining} {postfix}"


@dataclass(frozen=True)
class Job:
    """One run of a comparison."""

    label: str
    replays: int
    seed: int
    config: Config
    run_dir: Path

    @property
    def cost(self) -> float:
        """Expected work, for the progress display: a pass over the experience costs about as much as living it."""
        return self.config.steps * (1 + self.replays)


def is_begun(config: Config, run_dir: Path) -> bool:
    """Return whether a directory holds this run. Raises UserError if it holds a run with other settings."""
    begun = (run_dir / "config.json").exists()
    if begun and load_config(run_dir) != config:
        raise UserError(f"{run_dir} holds a run with other settings: remove it or choose another directory")
    return begun


def finish(config: Config, run_dir: Path) -> dict[str, Any]:
    """Return the summary of a run: read it, or continue the run, or start it. A run that diverged has one too.

    Raises UserError if the directory holds a run with other settings, or is in use by somebody who does not leave, and
    Interrupted where this process is to leave.
    """
    begun = is_begun(config, run_dir)
    if begun and (run_dir / "summary.json").exists():
        return read_summary(run_dir)
    with LEAVING.at_work(), lock.held(run_dir, lock.ORPHANS) as held:
        begun = is_begun(config, run_dir)  # whoever has just left may have begun it
        if not (run_dir / "summary.json").exists():
            given: dict[str, Any] = {"progress": False, "held": held}
            trainer = proceed(run_dir, **given) if begun else begin(config, run_dir, **given)
            LEAVING.made(trainer)
            with suppress(Diverged):  # the summary says so
                return complete(trainer)
        return read_summary(run_dir)


def check_room(run_dirs: Sequence[Path]) -> None:
    """Raise UserError, before any run, where directories of runs are not apart or cannot be made."""
    if len({str(path).lower() for path in run_dirs}) < len(set(run_dirs)):  # some file systems have one case
        raise UserError(f"the runs below {run_dirs[0].parent} would share directories: choose other labels")
    for folder in {path.parent for path in run_dirs}:
        folder.mkdir(exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(f"{folder} cannot be written: choose another directory")
    longest = max(run_dirs, key=lambda path: len(os.fsencode(path)))
    try:
        with suppress(FileNotFoundError):
            os.stat(longest / "checkpoints" / f".step_{0:012d}.npz.{0:08x}.tmp")
    except OSError as error:
        raise UserError(f"{longest} cannot be the directory of a run: {error.strerror}") from None


def check_number(jobs: int) -> None:
    """Raise UserError on a number of runs side by side below 1."""
    if jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {jobs}")


class Context(SpawnContext):
    """How processes are started, with those that were."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[SpawnProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override]
        """Return a new process."""
        self.started.append(SpawnProcess(*args, **kwargs))
        return self.started[-1]


def _begin_worker(pipe: Connection) -> None:
    """Begin as a process of :func:`workers`."""
    torch.set_num_threads(1)
    LEAVING.serve(pipe)


@contextmanager
def workers(number: int, executor: Executor | None = None) -> Iterator[Executor]:
    """Give ``executor``, or else ``number`` processes of one thread each, which end with this one, however it ends.

    A signal lets every run end its window and write a checkpoint; Ctrl-C pressed twice stops them at once.
    Raises UserError on a number below 1.
    """
    if executor is not None:
        with on_signals(lambda: None):
            yield executor
        return
    check_number(number)
    context = Context()
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(number, context, initializer=_begin_worker, initargs=(theirs,))
    try:  # not ``with pool``: its exit would wait for what runs
        with on_signals(ours.close):  # who reads there leaves
            yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in context.started:  # what was cut goes on from its checkpoint
            process.kill()
        raise
    finally:
        theirs.close()
        ours.close()
    pool.shutdown()


def run_all(
    executor: Executor,
    call: Callable[..., Any],
    arguments: Sequence[tuple[Any, ...]],
    done: Callable[[int], Any] = lambda index: None,
) -> list[Any]:
    """Return what ``call`` returns for each of ``arguments``, in their order; ``done(i)`` is told of the i-th.

    The first error is raised, and calls that have not begun are dropped. Raises Interrupted, when all have left, where
    they were asked to, and UserError where a process has died.
    """
    with main_not_run_again():
        futures = {executor.submit(call, *given): index for index, given in enumerate(arguments)}
    results: dict[int, Any] = {}
    try:
        for future in as_completed(futures):
            results[futures[future]] = future.result()
            done(futures[future])
    except BaseException as error:
        for future in futures:
            future.cancel()
        if LEAVING.asked and isinstance(error, Interrupted):
            wait(futures)
            ended = f"stopped with {len(results)} of {len(arguments)} runs finished"
            raise Interrupted(f"{ended}; the same command goes on") from None
        if isinstance(error, BrokenProcessPool):
            raise UserError("the process of a run has died; the same command goes on") from None
        raise
    return [results[index] for index in range(len(arguments))]


def run_jobs(executor: Executor, jobs: Sequence[Job], title: str) -> list[dict[str, Any]]:
    """Run what is missing under one progress display; return the summary of each job."""
    with tqdm(total=sum(job.cost for job in jobs), desc=title, unit="", bar_format=BAR) as bar:
        finished = 0

        def done(index: int) -> None:
            nonlocal finished
            finished += 1
            bar.set_postfix_str(f"{finished}/{len(jobs)} runs", refresh=False)
            bar.update(jobs[index].cost)

        return run_all(executor, finish, [(job.config, job.run_dir) for job in jobs], done)
