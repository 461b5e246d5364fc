"""Values of a plan, checked: what is wrong with one is a line that names its key."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from lfcs.errors import UserError, nearest

MOST_SEEDS = 10_000
MOST = 10**15  # of a whole number


def mapping(key: str, value: Any) -> Mapping[str, Any]:
    """Return a dictionary. Raises UserError on anything else."""
    if not isinstance(value, Mapping):
        raise UserError(f"{key} wants a dictionary, got {value!r}")
    return value


def known(kind: str, data: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise UserError on the first of ``data`` that is not ``allowed``, with its nearest."""
    allowed = list(allowed)
    for key in data:
        if key not in allowed:
            raise UserError(f"unknown {kind} {key!r}{nearest(str(key), allowed)}; known: {', '.join(allowed)}")


def text(key: str, value: Any) -> str:
    """Return text. Raises UserError on anything else."""
    if not isinstance(value, str):
        raise UserError(f"{key} wants text, got {value!r}")
    return value


def names(key: str, value: Any) -> tuple[str, ...]:
    """Return different names. Raises UserError on anything else."""
    good = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    if not good or len(set(value)) < len(value):
        raise UserError(f"{key} wants a list of different names, got {value!r}")
    return tuple(value)


def whole(key: str, value: Any, low: int) -> int:
    """Return a whole number. Raises UserError on anything else, below ``low``, and where nothing could count so far."""
    if type(value) is not int or not low <= value <= MOST:
        raise UserError(f"{key} wants a whole number from {low} to {MOST:g}, got {told(value)}")
    return value


def numbers(key: str, value: Any, low: int, whole: bool = True, empty: bool = False) -> tuple[Any, ...]:
    """Return different numbers from ``low``. Raises UserError on anything else, and on none unless ``empty``."""
    kinds = (int,) if whole else (int, float)
    good = isinstance(value, list | tuple) and all(type(one) in kinds and low <= one <= MOST for one in value)
    if not good or len(set(value)) < len(value) or not (value or empty):
        kind = "whole numbers" if whole else "numbers"
        raise UserError(f"{key} wants a list of different {kind} from {low} to {MOST:g}, got {told(value)}")
    return tuple(value)


def told(value: Any) -> str:
    """Return a value as it is said in an error, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # a number of more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}…"


def seeds(key: str, texts: Iterable[str]) -> list[int]:
    """Return the seeds of texts like ``0..15``, ``0,3,7`` and ``0..3,8``, in their order.

    Raises UserError on a text of another form, and on seeds that are negative, empty, given twice or too many.
    """
    found: list[int] = []
    for part in ",".join(texts).split(","):
        form = re.fullmatch(r"(-?[0-9]{1,18})(?:\.\.(-?[0-9]{1,18}))?", part.strip())
        if not form:
            raise UserError(f"{key} wants seeds like 0..15 or 0,3,7, got {part.strip()[:40]!r}")
        first, last = int(form[1]), int(form[2] or form[1])
        if min(first, last) < 0:
            raise UserError(f"{key} must be at least 0, got {min(first, last)}")
        if last < first:
            raise UserError(f"{key}: the range {part.strip()} is empty, its first seed comes last")
        number = len(found) + last - first + 1
        if number > MOST_SEEDS:
            raise UserError(f"{key} must be at most {MOST_SEEDS:,} seeds, got {number:,}")
        found += range(first, last + 1)
    ((seed, times),) = Counter(found).most_common(1)
    if times > 1:
        raise UserError(f"{key} has {seed} twice")
    return found


def file_name(label: str) -> str:
    """Return a label as part of a file's name."""
    return re.sub("[^A-Za-z0-9.]+", "-", label).lstrip(".") or "-"
