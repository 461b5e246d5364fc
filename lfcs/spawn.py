"""Processes that are started afresh, without running the user's script again, and cores for them."""

from __future__ import annotations

import os
import sys
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
