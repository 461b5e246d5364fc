"""Arrays in tuples and dictionaries, as actions of Tuple and Dict spaces are; a plain array is one of them too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def mapped(function: Callable[..., Any], first: Any, *others: Any) -> Any:
    """Return a nest of what ``function`` makes of the arrays at the same place of nests of the same form.

    Lists become tuples.
    """
    if isinstance(first, dict):
        return {key: mapped(function, first[key], *(nest[key] for nest in others)) for key in first}
    if isinstance(first, tuple | list):
        return tuple(mapped(function, *parts) for parts in zip(first, *others, strict=True))
    return function(first, *others)


def named(name: str, nest: Any) -> Iterator[tuple[str, Any]]:
    """Yield the arrays of a nest, each with its name: ``name/key`` in a dictionary, ``name/0`` in a tuple."""
    if isinstance(nest, dict | tuple | list):
        for key, part in nest.items() if isinstance(nest, dict) else enumerate(nest):
            yield from named(f"{name}/{key}", part)
    else:
        yield name, nest
