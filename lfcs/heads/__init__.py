"""Heads, by name: what a network's outputs mean as actions. A new one is one file beside these and one entry here.

An agent may bring a head of its own by overriding ``Agent.head``; a saved policy finds it as ``package.module:Class``.
"""

from __future__ import annotations

from typing import Any

import gymnasium

from lfcs.errors import UserError
from lfcs.heads.action_value import ActionValueHead
from lfcs.heads.base import Head, Judgement
from lfcs.heads.categorical import CategoricalHead
from lfcs.names import lookup, name_of

__all__ = ["HEADS", "ActionValueHead", "CategoricalHead", "Head", "Judgement", "head_name", "make_head", "named_head"]

HEADS: dict[str, Any] = {"categorical": CategoricalHead, "action-value": ActionValueHead}
BY_SPACE: dict[type[gymnasium.Space], Any] = {gymnasium.spaces.Discrete: CategoricalHead}


def make_head(space: gymnasium.Space) -> Head:
    """Return the head for an action space. Raises UserError for a space without one."""
    for kind, head in BY_SPACE.items():
        if isinstance(space, kind):
            return head.of(space)
    raise UserError(f"action space {space} is not supported: actions must be Discrete")


def head_name(head: Head) -> str:
    """Return the name by which a saved policy finds its head."""
    return name_of(type(head), HEADS)


def named_head(name: str, space: gymnasium.Space) -> Head:
    """Return the head with a name, for an action space. Raises UserError on an unknown name."""
    return lookup(name, HEADS, "head").of(space)
