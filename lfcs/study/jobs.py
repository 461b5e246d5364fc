"""Runs side by side, over any executor; what is finished is kept, and what was cut continues."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lfcs.config import Config
from lfcs.errors import Diverged, UserError
from lfcs.run import begin, complete, load_config, proceed
from lfcs.spawn import main_not_run_again

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


def finish(config: Config, run_dir: Path) -> dict[str, Any]:
    """Return the summary of a run: read it, or continue the run, or start it. A run that diverged has one too.

    Raises UserError if the directory holds a run with other settings.
    """
    begun, summary = (run_dir / "config.json").exists(), run_dir / "summary.json"
    if begun and load_config(run_dir) != config:
        raise UserError(f"{run_dir} holds a run with other settings: remove it or choose another directory")
    if not summary.exists():
        trainer = proceed(run_dir, progress=False) if begun else begin(config, run_dir, progress=False)
        try:
            return complete(trainer)
        except Diverged:
            pass  # the summary says so
    return json.loads(summary.read_text())


@contextmanager
def workers(number: int, executor: Executor | None = None) -> Iterator[Executor]:
    """Give ``executor``, or else ``number`` processes of one thread each, which are ours to end.

    Raises UserError on a number below 1.
    """
    if executor is not None:
        yield executor
        return
    if number < 1:
        raise UserError(f"--jobs must be at least 1, got {number}")
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
