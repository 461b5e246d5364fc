"""Values of a plan, checked: what is wrong with one is a line that names its key."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from lfcs.errors import UserError, brief, nearest

MOST_SEEDS = 10_000
MOST = 10**15  # of a whole number
LONGEST = 80  # characters of a label in a file's name


def mapping(key: str, value: Any) -> Mapping[str, Any]:
    """Return a dictionary. Raises UserError on anything else."""
    if not isinstance(value, Mapping):
        raise UserError(f"{key} wants a dictionary, got {brief(value)}")
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
        raise UserError(f"{key} wants text, got {brief(value)}")
    return value


def names(key: str, value: Any) -> tuple[str, ...]:
    """Return different names. Raises UserError on anything else."""
    good = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    if not good or len(set(value)) < len(value):
        raise UserError(f"{key} wants a list of different names, got {brief(value)}")
    return tuple(value)


def whole(key: str, value: Any, low: int) -> int:
    """Return a whole number. Raises UserError on anything else, below ``low``, and where nothing could count so far."""
    if type(value) is not int or not low <= value <= MOST:
        raise UserError(f"{key} wants a whole number from {low} to {MOST:g}, got {brief(value)}")
    return value


def numbers(key: str, value: Any, low: int, whole: bool = True, empty: bool = False) -> tuple[Any, ...]:
    """Return different numbers from ``low``. Raises UserError on anything else, and on none unless ``empty``."""
    kinds = (int,) if whole else (int, float)
    good = isinstance(value, list | tuple) and all(type(one) in kinds and low <= one <= MOST for one in value)
    if not good or len(set(value)) < len(value) or not (value or empty):
        kind = "whole numbers" if whole else "numbers"
        raise UserError(f"{key} wants a list of different {kind} from {low} to {MOST:g}, got {brief(value)}")
    return tuple(value)


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


def file_names(labels: Iterable[str]) -> dict[str, str]:
    """Return different labels as parts of files' names, which differ too, in whatever case a file system has them.

    A name that is taken, or too long, ends in a hash of its label instead.
    """
    found: dict[str, str] = {}
    for label in labels:
        name = file_name(label)
        if len(name) > LONGEST or name.lower() in {other.lower() for other in found.values()}:
            name = f"{name[:LONGEST]}-{sha256(label.encode()).hexdigest()[:8]}"
        found[label] = name
    return found


def number_name(value: float) -> str:
    """Return a number as part of a file's name: short where that says it, else whole."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
