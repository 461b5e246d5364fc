"""The one exception that the command line turns into one clear line and a non-zero exit."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: its message is one line that says what is wrong and what to do."""


class Diverged(UserError):
    """Training stopped because a gradient is not finite; the run has a summary that says so."""


class Interrupted(UserError):
    """Training stopped on request after writing a checkpoint."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return a hint ``"; did you mean A, B?"`` with the known names closest to ``name``, or ``""``."""
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.5)
    return f"; did you mean {', '.join(by_lower[c] for c in close)}?" if close else ""
