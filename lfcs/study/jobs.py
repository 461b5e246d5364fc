"""Runs side by side, over any executor; what is finished is kept, and what was cut continues."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lfcs.config import Config
from lfcs.errors import Diverged, UserError
from lfcs.run import begin, complete, load_config, proceed, read_summary
from lfcs.spawn import main_not_run_again
from lfcs.trainer import Trainer

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


def finish(config: Config, run_dir: Path, made: Callable[[Trainer], None] | None = None) -> dict[str, Any]:
    """Return the summary of a run: read it, or continue the run, or start it. A run that diverged has one too.

    ``made`` is told of the trainer before it goes. Raises UserError if the directory holds a run with other settings.
    """
    begun = is_begun(config, run_dir)
    if not (run_dir / "summary.json").exists():
        trainer = proceed(run_dir, progress=False) if begun else begin(config, run_dir, progress=False)
        if made is not None:
            made(trainer)
        with suppress(Diverged):  # the summary says so
            return complete(trainer)
    return read_summary(run_dir)


def check_number(jobs: int) -> None:
    """Raise UserError on a number of runs side by side below 1."""
    if jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {jobs}")


@contextmanager
def workers(number: int, executor: Executor | None = None) -> Iterator[Executor]:
    """Give ``executor``, or else ``number`` processes of one thread each, which are ours to end.

    Raises UserError on a number below 1.
    """
    if executor is not None:
        yield executor
        return
    check_number(number)
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(number, spawn, initializer=torch.set_num_threads, initargs=(1,))
    try:  # not ``with pool``: its exit would wait for what runs
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def run_all(
    executor: Executor,
    call: Callable[..., Any],
    arguments: Sequence[tuple[Any, ...]],
    done: Callable[[int], Any] = lambda index: None,
) -> list[Any]:
    """Return what ``call`` returns for each of ``arguments``, in their order; ``done(i)`` is told of the i-th.

    The first error is raised, and calls that have not begun are dropped.
    """
    with main_not_run_again():
        futures = {executor.submit(call, *given): index for index, given in enumerate(arguments)}
    results: dict[int, Any] = {}
    try:
        for future in as_completed(futures):
            results[futures[future]] = future.result()
            done(futures[future])
    except BaseException:
        for future in futures:
            future.cancel()
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
