"""The one exception that the command line turns into one clear line and a non-zero exit."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable
from typing import Any

from lfcs import stopping


class UserError(Exception):
    """Something the user can mend: its message is one line that says what is wrong and what to do."""


class Diverged(UserError):
    """Training stopped because a gradient is not finite; the run has a summary that says so."""

    reason = "a gradient was not finite"  # in the summary


class Interrupted(UserError):
    """Training stopped on request after writing a checkpoint."""


class EnvironmentFailed(UserError):
    """An environment did something wrong; ``trace`` is the traceback of what it raised, None where it raised nothing.

    Raised in the middle of a step: the environments cannot go on, but the run can, from its last checkpoint.
    """

    def __init__(self, message: str, trace: str | None = None) -> None:
        super().__init__(message, trace)
        self.trace = trace

    def __str__(self) -> str:
        return str(self.args[0])


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return a hint ``"; did you mean A, B?"`` with the known names closest to ``name``, or ``""``."""
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.5)
    return f"; did you mean {', '.join(by_lower[c] for c in close)}?" if close else ""


def brief(value: Any) -> str:
    """Return a value as it is written in code, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of more digits than Python writes, a nest without end
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= 60 else f"{text[:57]}..."


def guarded(call: Callable[..., Any], *args: Any) -> int:
    """Call and return an exit status; what the user can mend becomes one line on standard error.

    A signal that ends it is Ctrl-C, SIGTERM or SIGHUP; the status is 128 and its number.
    """
    stopping.forget()
    try:
        with stopping.handled(stopping.interrupt, default_only=True):
            call(*args)
    except Interrupted as stop:
        print(f"lfcs: {stop}", file=sys.stderr)
        return stopping.status()
    except (UserError, OSError) as error:
        print(f"lfcs: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lfcs: interrupted", file=sys.stderr)
        return stopping.status()
    return 0
