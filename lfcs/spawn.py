"""Processes that are started afresh, without running the user's script again, and cores for them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

LOCK = RLock()


def cores() -> int:
    """Return the number of cores that this process may use: of all where the system can't say it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def main_not_run_again() -> Iterator[None]:
    """Keep processes that are spawned within from importing the user's script, with or without a main guard.

    What they run must be importable, or be sent to them whole.
    """
    with LOCK:  # one thread at a time: the module is everybody's
        main: dict[str, Any] = sys.modules["__main__"].__dict__
        kept: dict[str, Any] = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
        main["__spec__"] = None
        try:
            yield
        finally:
            main.update(kept)


SENT_TO_ALL = "SIGINT", "SIGTERM", "SIGHUP"  # signals that terminals and schedulers send to a parent's children too


def leave_signals_to_parent() -> None:
    """Ignore what is sent to a parent and its children alike: the parent ends them when it has finished its window."""
    for name in SENT_TO_ALL:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def end_with_parent() -> None:
    """End this process at once when its parent is gone, whatever it does."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="lfcs-parent", daemon=True).start()
