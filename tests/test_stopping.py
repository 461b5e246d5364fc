"""Signals, kills and orphans: what is stopped leaves nothing half made and nobody behind, and goes on exactly."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import time
from pathlib import Path

import kills
import pytest
from test_jobs import TINY

from lfcs import cli
from lfcs.trainer import stream_seed

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are read from /proc")
TRIES = int(os.environ.get("LFCS_SOAK_TRIES", "0"))  # of a soak, in place of its own number
LONG = ["rule.replays=300", "train.eval_every=100000", "train.checkpoint_every=100000"]


def test_every_signal_ends_a_run_with_a_checkpoint_and_says_how_to_go_on(tmp_path):
    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        number, run_dir = getattr(signal, name), tmp_path / name
        process = kills.start(kills.train(run_dir, *LONG, steps=100_000))
        assert kills.until(lambda run_dir=run_dir: len(kills.steps(run_dir)) > 2), process.communicate()
        os.kill(process.pid, number)
        if number != signal.SIGINT:
            os.kill(process.pid, number)  # as terminals and schedulers do
        _, err = process.communicate(timeout=300)
        assert process.returncode == 128 + number and "Traceback" not in err, err
        assert err.splitlines()[-1].endswith(f"continue with: lfcs resume {run_dir}"), err
        newest = max((run_dir / "checkpoints").glob("step_*.npz"))
        assert int(newest.stem.partition("_")[2]) == int(kills.steps(run_dir)[-1]) > 0
        assert not list(run_dir.glob(".*"))


def test_a_hang_up_that_is_ignored_stays_so(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does, for what is started from here
    try:
        process = kills.start(kills.train(tmp_path / "run", "rule.replays=300", steps=200))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert kills.until(lambda: kills.steps(tmp_path / "run")), process.communicate()
    os.kill(process.pid, signal.SIGHUP)
    assert process.communicate(timeout=300) and process.returncode == 0


def stopped_at(seconds, run_dir, number=signal.SIGINT):
    """Send a signal at some moment of the start; return what is wrong with the end."""
    process = kills.start(kills.train(run_dir, steps=100_000))
    time.sleep(seconds)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=300)
    wrong = []
    if "Traceback" in err or "Error" in err or "Exception" in err:
        wrong.append(err)
    if process.returncode not in (128 + number, -number):
        wrong.append(f"exit status {process.returncode}")
    begun = (run_dir / "config.json").exists()
    if run_dir.exists() and not begun:
        wrong.append(f"half made: {list(run_dir.rglob('*'))}")
    if begun and cli.main(["list", "runs", str(run_dir)]) != 0:
        wrong.append("cannot be read")
    if not kills.until(lambda: not kills.family(process.pid), 60):
        wrong.append("a process is left")
    return wrong


def test_a_signal_at_the_start_leaves_nothing_half_made(tmp_path):
    for number, seconds in enumerate((0.3, 1.0, 2.5)):
        assert stopped_at(seconds, tmp_path / str(number)) == []


@pytest.mark.soak
def test_a_signal_at_any_moment_of_the_start(tmp_path):
    tries, draw = TRIES or 60, random.Random(0)
    found = [stopped_at(0.1 + 5.0 * draw.random(), tmp_path / str(number)) for number in range(tries)]
    bad = [wrong for wrong in found if wrong]
    print(f"{len(bad)} of {tries} wrong")
    assert not bad


def compared(path):
    """Return results.csv without what depends on the clock."""
    with open(path, newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


PLAN = TINY | {"rates": [], "agents": {"lf-cs": {}}, "replays": [2], "seeds": [1, 2], "steps": 2048}


def comparison(tmp_path, out):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(PLAN))
    return ["compare", str(plan), "--out", str(out), "--jobs", "2"]


def seen(out):
    """Return the steps of all rows of the runs of a comparison, by run."""
    return {run.name: kills.steps(run) for run in (out / "runs").glob("*")}


def stop(argv, out, number, rows):
    """Start a comparison and stop the parent alone when there are so many rows; give its process."""
    process = kills.start(argv)
    assert kills.until(lambda: sum(map(len, seen(out).values())) >= rows or process.poll() is not None, 300)
    if process.poll() is None:
        os.kill(process.pid, number)
    if number == signal.SIGKILL:
        process.wait()
    else:
        _, err = process.communicate(timeout=300)
        assert process.returncode in (0, 128 + number) and "Traceback" not in err, err
        assert kills.until(lambda: not kills.family(process.pid), 60), "an orphan is left"
    return process


def stopped_and_started_again(argv, out, numbers, draw):
    """Stop a comparison by each of some signals, start it again at once, and let it end."""
    stopped, rows = [], 0
    for number in numbers:
        rows += draw.randint(1, 20)
        stopped.append(stop(argv, out, number, rows))
    again = kills.start(argv)
    _, err = again.communicate(timeout=600)
    assert again.returncode == 0 and "Traceback" not in err, err
    for process in (*stopped, again):
        assert kills.until(lambda process=process: not kills.family(process.pid), 60), "an orphan is left"
        process.stdout.close(), process.stderr.close()
    for run, steps in seen(out).items():
        assert len(steps) == len(set(steps)), f"{run} has doubled rows"


def test_a_comparison_whose_parent_is_stopped_starts_again_with_the_same_results(tmp_path):
    assert cli.main(comparison(tmp_path, tmp_path / "whole")) == 0
    out = tmp_path / "out"
    stopped_and_started_again(comparison(tmp_path, out), out, [signal.SIGTERM, signal.SIGKILL], random.Random(0))
    assert compared(out / "results.csv") == compared(tmp_path / "whole/results.csv")


@pytest.mark.soak
def test_twenty_comparisons_are_killed_and_have_the_same_results(tmp_path):
    assert cli.main(comparison(tmp_path, tmp_path / "whole")) == 0
    draw = random.Random(0)
    for index in range(TRIES or 20):
        out = tmp_path / str(index)
        number = signal.SIGKILL if index % 2 else signal.SIGTERM
        stopped_and_started_again(comparison(tmp_path, out), out, [number], draw)
        assert compared(out / "results.csv") == compared(tmp_path / "whole/results.csv")
        print(f"{index + 1} of {TRIES or 20}: the same results.csv, no orphan", flush=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_of_environments_end_with_the_run(tmp_path, number):
    process = kills.start(kills.train(tmp_path, "train.env_workers=2", *LONG, steps=100_000))
    assert kills.until(lambda: len(kills.steps(tmp_path)) > 1), process.communicate()
    assert len(kills.family(process.pid)) > 2
    os.kill(process.pid, number)
    process.wait(timeout=300)
    assert kills.until(lambda: not kills.family(process.pid), 60), "an orphan is left"
    process.communicate()


def test_a_worker_whose_environment_hangs_ends_with_the_run(tmp_path):
    hangs = {"TOY_BREAKS": f"hangs:{stream_seed(0, 'environments')}"}
    process = kills.start(kills.train(tmp_path, "train.env_workers=1", env="toys:Fragile-v0"), **hangs)
    assert kills.until(lambda: len(kills.family(process.pid)) > 2), process.communicate()
    time.sleep(2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert kills.until(lambda: not kills.family(process.pid), 60), "an orphan is left"
    process.communicate()
