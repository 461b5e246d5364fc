"""What waits for environments, but not for ever: a thread that looks on, at no cost to what it looks at."""

from __future__ import annotations

import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from lfcs.envs.checked import DOING, HUNG, IDLE, SERIAL, where

TIMEOUT = 60.0  # seconds by default
SAID = 10.0  # seconds of waiting after which it is said
GRACE = 5.0  # seconds that a call which was interrupted has to end


class Lookout:
    """Tells of calls that last, and gives up those that last ``timeout`` seconds.

    ``mark`` returns something that differs from call to call, or None where nothing is called; ``at`` says in words
    where. ``give_up(seconds)`` is called again and again while the call goes on for so many seconds beyond the timeout.
    Time is counted by looking: a process that is stopped does not wait.
    """

    def __init__(
        self,
        timeout: float,
        mark: Callable[[], Any],
        at: Callable[[], str],
        give_up: Callable[[float], None],
    ) -> None:
        self.timeout, self.mark, self.at, self.give_up = timeout, mark, at, give_up
        self.stopped = threading.Event()
        if timeout:
            threading.Thread(target=self._look, name="lfcs-lookout", daemon=True).start()

    def _look(self) -> None:
        tick, last, waited, told = min(0.5, self.timeout / 10), None, 0.0, False
        while not self.stopped.wait(tick):
            now = self.mark()
            if now is None or now != last:
                last, waited, told = now, 0.0, False
                continue
            waited += tick
            if not told and waited >= min(SAID, self.timeout / 2):
                say(f"still waiting for {self.at()}, given up after {self.timeout:g} s (train.env_timeout)")
                told = True
            if waited >= self.timeout:
                self.give_up(waited - self.timeout)

    def stop(self) -> None:
        """Look no longer."""
        self.stopped.set()


def say(message: str) -> None:
    """Say a line to the user at once."""
    print(f"lfcs: {message}", file=sys.stderr, flush=True)


def look_after(place: np.ndarray, timeout: float, owner: Any = None) -> Lookout:
    """Return what looks after the environments of a place in this process, at most as long as ``owner`` lives.

    A call that lasts too long is interrupted, as by Ctrl-C; one that cannot be interrupted ends the process, unless
    somebody sits at its prompt.
    """

    def mark() -> tuple[int, int] | None:
        return None if place[DOING] == IDLE else (int(place[SERIAL]), int(place[DOING]))

    def give_up(beyond: float) -> None:
        if mark() is None:  # it has just returned
            return
        place[HUNG] = place[SERIAL]
        if beyond < GRACE:
            interrupt()
        elif not interactive():
            say(f"error: {where(place)}: it did not return in {timeout:g} s and cannot be interrupted")
            os._exit(1)

    made = Lookout(timeout, mark, lambda: where(place), give_up)
    if owner is not None:
        weakref.finalize(owner, made.stop)
    return made


def interrupt() -> None:
    """Interrupt the main thread, whatever it waits in."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)


def interactive() -> bool:
    """Return whether somebody sits at a prompt of this process, or a notebook's."""
    return hasattr(sys, "ps1") or bool(sys.flags.interactive) or "ipykernel" in sys.modules
