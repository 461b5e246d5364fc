"""One writer at a time, and none that is dead."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import sys
import time

import kills
import pytest
from test_jobs import TINY
from test_trainer import begin, proceed

from lfcs import cli, lock
from lfcs.errors import UserError

REFUSED = r"lfcs: error: .* is in use by process \d+ on \S+ since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d: wait until it ends"


def taken(folder, process, seconds=60):
    """Wait until a process has the lock of a directory."""
    path = folder / lock.NAME
    assert kills.until(lambda: path.exists() and path.read_text().endswith("}"), seconds), process.communicate()


def test_a_directory_is_held_once_and_named(tmp_path):
    folder = tmp_path / "a" / "b"
    first = lock.hold(folder)
    with pytest.raises(UserError, match=rf"is in use by process {os.getpid()} on .* since 20") as raised:
        lock.hold(folder)
    assert "\n" not in str(raised.value)
    first.release()
    first.release()
    assert not (tmp_path / "a").exists(), "what was made for nothing goes"
    with lock.held(folder):
        (folder / "kept").touch()
    assert [path.name for path in folder.iterdir()] == ["kept"]


def test_what_cannot_be_a_directory_is_said(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="is not a directory and cannot be one"):
            lock.hold(path)


def test_a_file_that_the_dead_have_left_holds_nothing(tmp_path):
    code = f"import os; from pathlib import Path; from lfcs import lock; a = lock.hold(Path({str(tmp_path)!r})); "
    done = kills.subprocess.run([sys.executable, "-c", code + "os.kill(os.getpid(), 9)"], check=False)
    assert done.returncode == -signal.SIGKILL and (tmp_path / lock.NAME).exists()
    lock.hold(tmp_path).release()
    assert not (tmp_path / lock.NAME).exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_does_not_keep_what_its_parent_held(tmp_path):
    held = lock.hold(tmp_path)
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    held.release()
    try:
        lock.hold(tmp_path).release()
    finally:
        child.kill()
        child.join()


def test_a_second_writer_is_refused_in_one_line(tmp_path, capsys):
    first = begin(tmp_path / "run")
    for again in (lambda: proceed(tmp_path / "run"), lambda: begin(tmp_path / "run")):
        with pytest.raises(UserError, match=f"is in use by process {os.getpid()} on"):
            again()
    assert cli.main(["resume", str(tmp_path / "run")]) == 1
    out, err = capsys.readouterr()
    assert re.match(REFUSED, err) and err.count("\n") == 1 and out == ""
    first.close()
    proceed(tmp_path / "run").close()


@pytest.mark.parametrize("kind", ["a comparison", "several seeds"])
def test_the_root_of_many_runs_has_one_writer(tmp_path, capsys, kind):
    root, plan = tmp_path / "out", tmp_path / "tiny.json"
    plan.write_text(json.dumps(TINY))
    comparison = ["compare", str(plan), "--out", str(root)]
    argv = comparison if kind == "a comparison" else [*kills.train(root), "--seeds", "0..1"]
    with lock.held(root):
        assert cli.main(argv) == 1
    assert re.match(REFUSED, capsys.readouterr().err)
    assert not root.exists()


def race(tmp_path, tries):
    """Let two go on with one run at once, many times; return the doubled rows and how many were refused."""
    doubled = refused = 0
    for number in range(tries):
        run_dir = tmp_path / str(number)
        begin(run_dir, steps=400, **{"train.checkpoint_every": 50, "train.watch": "none"}).close()
        pair = [kills.start(["resume", run_dir]) for _ in range(2)]
        errors = [process.communicate(timeout=300)[1] for process in pair]
        codes = [process.returncode for process in pair]
        assert set(codes) <= {0, 1} and 0 in codes, errors
        refused += sum(bool(re.search(REFUSED, error)) for error in errors)
        assert all(code == 0 or re.search(REFUSED, error) for code, error in zip(codes, errors, strict=True)), errors
        seen = kills.steps(run_dir)
        doubled += len(seen) - len(set(seen))
        assert seen == sorted(seen, key=int)
    return doubled, refused


def test_two_that_resume_at_once_double_no_row(tmp_path):
    doubled, _ = race(tmp_path, 1)
    assert doubled == 0


@pytest.mark.soak
def test_two_that_resume_at_once_double_no_row_a_hundred_times(tmp_path):
    doubled, refused = race(tmp_path, int(os.environ.get("LFCS_SOAK_TRIES", "100")))
    print(f"doubled rows: {doubled}; refused: {refused}")
    assert doubled == 0 < refused
