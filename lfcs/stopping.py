"""What ends a command from outside: Ctrl-C, a scheduler's SIGTERM, the SIGHUP of a terminal that is closed."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
UNDO: list[Callable[[], None]] = []  # what is still to be undone if the process ends now, the latest last
_received = signal.SIGINT  # the last that came: signals are the process's, and so is this

# what a signal calls: with its number
Handler = Callable[[int], None]


def forget() -> None:
    """Take it that no signal has come yet."""
    global _received
    _received = signal.SIGINT


def status() -> int:
    """Return the exit status of a process that a signal has ended: 128 and its number, 130 for Ctrl-C."""
    return 128 + _received


@contextmanager
def handled(handler: Handler, default_only: bool = False) -> Iterator[dict[int, Any]]:
    """Call ``handler`` when a signal comes; give what was called before, by number.

    A hang-up that is ignored, as below ``nohup``, stays ignored. With ``default_only`` what somebody handles already is
    left to them. Signals are the main thread's: in another nothing changes.
    """
    before: dict[int, Any] = {}

    def note(number: int, frame: Any) -> None:
        global _received
        _received = signal.Signals(number)
        handler(number)

    try:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                now = signal.getsignal(number)
                ours = now in (signal.SIG_DFL, signal.default_int_handler) or not default_only
                if ours and not (number != signal.SIGINT and now == signal.SIG_IGN):
                    before[number] = now
                    signal.signal(number, note)
        yield before
    finally:
        for number, kept in before.items():
            signal.signal(number, signal.SIG_DFL if kept is None else kept)


def interrupt(number: int) -> NoReturn:
    """Raise KeyboardInterrupt, whatever the signal: a handler for :func:`handled`."""
    raise KeyboardInterrupt


def at_once(number: int) -> NoReturn:
    """End the process with one line, whatever it is at, and leave nothing half made: a handler for :func:`handled`.

    An exception would not do: raised within an import, a compiler or a destructor it is shown as a traceback, or lost.
    """
    undo_all()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, RuntimeError, ValueError):  # gone, or interrupted while writing
            stream.flush()
    with suppress(OSError):
        os.write(2, b"lfcs: interrupted\n")
    os._exit(128 + number)


def undo_all() -> None:
    """Undo what :func:`undone` has, the latest first."""
    while UNDO:
        with suppress(OSError):
            UNDO.pop()()


@contextmanager
def undone(call: Callable[[], None]) -> Iterator[None]:
    """Call ``call`` where what is done within fails, or is ended by a signal."""
    UNDO.append(call)
    try:
        yield
    except BaseException:
        if call in UNDO:
            UNDO.remove(call)
            call()
        raise
    UNDO.remove(call)


def ignore() -> None:
    """Ignore all signals from here on: in a process whose parent handles them and says when to leave."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


@contextmanager
def held_back() -> Iterator[None]:
    """Let signals wait until the end. A process that is started within is born with them waiting: see :func:`ignore`.

    Where the system cannot do it, they come as they come.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # which lets signals through when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
