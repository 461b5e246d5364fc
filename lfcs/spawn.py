"""Processes that are started afresh, without running the user's script again, and cores for them."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from threading import RLock, Thread
from typing import Any

from lfcs import stopping

LOCK = RLock()
GRACE = 30.0  # seconds that what is at work has to end its window when the parent is gone


def cores() -> int:
    """Return the number of cores that this process may use: of all where the system can't say it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def main_not_run_again() -> Iterator[None]:
    """Keep processes that are spawned within from importing the user's script, with or without a main guard.

    What they run must be importable, or be sent to them whole. Signals are the parent's to handle: these processes are
    born deaf, and stay so with :func:`serve_parent`.
    """
    with LOCK, stopping.held_back():  # one thread at a time: the module is everybody's
        main: dict[str, Any] = sys.modules["__main__"].__dict__
        kept: dict[str, Any] = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
        main["__spec__"] = None
        try:
            yield
        finally:
            main.update(kept)


def serve_parent(busy: Callable[[], bool] = lambda: False) -> None:
    """In a process that was started by another: leave signals to it, and end when it is gone, however it went.

    What is ``busy`` then has ``GRACE`` seconds to come to its end, such as that of a window with its checkpoint. In a
    process that nobody has started nothing happens.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    stopping.ignore()

    def watch() -> None:
        wait([parent.sentinel])
        end = time.monotonic() + GRACE
        while busy() and time.monotonic() < end:
            time.sleep(0.02)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
