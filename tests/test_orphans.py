"""``lfcs watch`` serves until it is stopped, and leaves nobody behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are read from /proc")


def children(pid):
    """Return the children of a process and theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found


def lives(pid):
    """Return whether a process runs: one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(what, seconds=60.0):
    """Wait until something is so; return whether it came to be."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.05)
    return False


def answers(port):
    try:
        with urllib.request.urlopen(f"http://localhost:{port}/", timeout=5) as page:
            return b"TensorBoard" in page.read()
    except OSError:
        return False


def free_port():
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return taken.getsockname()[1]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nobody_is_left_behind(tmp_path, how):
    port = free_port()
    command = [sys.executable, "-m", "lfcs.cli", "watch", str(tmp_path), "--port", str(port)]
    with open(tmp_path / "said", "w") as said:
        watch = subprocess.Popen(command, stderr=said, stdout=said, stdin=subprocess.DEVNULL)
    try:
        assert until(lambda: answers(port)), (tmp_path / "said").read_text()
        family = [watch.pid, *children(watch.pid)]
        os.kill(watch.pid, how)
        watch.wait(timeout=30)
        assert until(lambda: not any(map(lives, family)), 10), "a process is left behind"
    finally:
        if watch.poll() is None:
            watch.kill()
            watch.wait()


def test_a_port_that_is_taken_is_said(tmp_path):
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        command = [sys.executable, "-m", "lfcs.cli", "watch", str(tmp_path), "--port", str(taken.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "already in use" in done.stderr and "Traceback" not in done.stderr
