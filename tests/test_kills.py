"""Killed at any moment and resumed, a run ends bit for bit as one that was not: rows, arrays, points of TensorBoard."""

from __future__ import annotations

import itertools
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import kills
import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")


@pytest.fixture(scope="module")
def server():
    """Give the process of tests/warm.py."""
    argv = [sys.executable, str(Path(__file__).parent / "warm.py")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        yield process
        process.stdin.close()


def goes(server, run_dir, form, seconds=None):
    """Let a run go on, and kill it after some seconds; return how its process ended."""
    server.stdin.write(f"{run_dir} {form}\n".encode())
    child = int(server.stdout.readline())
    if not select.select([server.stdout], [], [], seconds)[0]:
        os.kill(child, signal.SIGKILL)
    return int(server.stdout.readline())


def finished(server, run_dir, form):
    """Let a run go to its end; return what it leaves, and the seconds that it took."""
    begun = time.monotonic()
    assert goes(server, run_dir, form) == 0
    return kills.outcome(run_dir), time.monotonic() - begun


def killed(server, tmp_path, form, number, each=3, seed=0):
    """Kill ``number`` times, each run ``each`` times; return how many were killed while they ran."""
    draw, count = random.Random(seed), 0
    finished(server, tmp_path / "warm", form)  # what is loaded at first takes longer than a run
    expected, seconds = finished(server, tmp_path / "whole", form)
    for index in itertools.count():
        run_dir, of_this = tmp_path / f"cut{index}", 0
        while of_this < min(each, number - count) and not (run_dir / "summary.json").exists():
            of_this += goes(server, run_dir, form, draw.random() * seconds) == -signal.SIGKILL
        count += of_this
        assert goes(server, run_dir, form) == 0
        assert kills.outcome(run_dir) == expected, f"{form}, seed {seed}, kill {count}"
        assert not [path for path in run_dir.rglob(".*") if path.name != ".lock"]
        shutil.rmtree(run_dir)
        if count >= number:
            break
    return count


@pytest.mark.parametrize(("form", "number"), [("window", 10), ("online", 10), ("replay", 9), ("workers", 1)])
def test_thirty_kills_are_resumed_bit_for_bit(server, tmp_path, form, number):
    assert killed(server, tmp_path, form, number) == number


@pytest.mark.soak
@pytest.mark.parametrize(("form", "number"), [("window", 150), ("online", 150), ("replay", 150), ("workers", 50)])
def test_five_hundred_kills_are_resumed_bit_for_bit(server, tmp_path, form, number):
    share = int(os.environ.get("LFCS_SOAK_TRIES", "500")) / 500
    wanted = max(1, round(share * number))
    print(f"{form}: {killed(server, tmp_path, form, wanted, seed=1)} kills resumed")
