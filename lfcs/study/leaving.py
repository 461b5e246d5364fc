"""Leaving early, in every process that runs something: with a checkpoint, when it is asked to or its parent is gone."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from threading import Thread
from weakref import WeakSet

from lfcs import stopping
from lfcs.errors import Interrupted
from lfcs.spawn import serve_parent
from lfcs.trainer import Trainer


class Leave:
    """Whether to leave; the runs that go on at the moment are told of it."""

    def __init__(self) -> None:
        self.asked = False
        self.busy = 0  # calls that are at work
        self.trainers: WeakSet[Trainer] = WeakSet()

    def ask(self) -> None:
        """Leave, with a checkpoint of what runs."""
        self.asked = True
        for trainer in list(self.trainers):
            trainer.interrupt()

    def made(self, trainer: Trainer) -> None:
        """Learn of a run that goes on now."""
        self.trainers.add(trainer)
        if self.asked:
            trainer.interrupt()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Say that what is done within is to come to its end. Raises Interrupted where it is time to leave."""
        if self.asked:
            raise Interrupted("stopped")
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1

    def serve(self, pipe: Connection) -> None:
        """Serve the process at the other end of a pipe: leave when anything comes from there, or it is gone."""

        def listen() -> None:
            with suppress(EOFError, OSError):
                pipe.recv()
            self.ask()

        serve_parent(lambda: self.busy > 0)
        Thread(target=listen, daemon=True).start()


LEAVING = Leave()  # of this process


@contextmanager
def on_signals(ask: Callable[[], None]) -> Iterator[None]:
    """Let a signal ask every run of this process to leave, and ``ask`` the others; Ctrl-C pressed twice, at once.

    Another signal that is repeated, as schedulers and terminals do, changes nothing.
    """

    def handler(number: int) -> None:
        if not LEAVING.asked:
            print("stopping: every run ends its window; press Ctrl-C again to stop at once", file=sys.stderr)
            LEAVING.ask()
            ask()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    LEAVING.asked = False
    with stopping.handled(handler):
        try:
            yield
        finally:
            LEAVING.asked = False
