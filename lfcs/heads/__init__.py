"""Heads, by name: what a network's outputs mean as actions. A new one is one file beside these and one entry here.

An agent may bring a head of its own by overriding ``Agent.head``; a saved policy finds it as ``package.module:Class``.
"""

from __future__ import annotations

from typing import Any

import gymnasium

from lfcs.heads.action_value import ActionValueHead
from lfcs.heads.base import BY_SPACE, Head, Judgement, make_head
from lfcs.heads.categorical import CategoricalHead
from lfcs.heads.gaussian import GaussianHead
from lfcs.heads.multi_binary import MultiBinaryHead
from lfcs.heads.multi_discrete import MultiDiscreteHead
from lfcs.heads.product import ProductHead
from lfcs.names import lookup, name_of

__all__ = [
    "HEADS", "ActionValueHead", "CategoricalHead", "GaussianHead", "Head", "Judgement", "MultiBinaryHead",
    "MultiDiscreteHead", "ProductHead", "head_name", "make_head", "named_head",
]  # fmt: skip

HEADS: dict[str, Any] = {
    "categorical": CategoricalHead, "action-value": ActionValueHead, "gaussian": GaussianHead,
    "multi-discrete": MultiDiscreteHead, "multi-binary": MultiBinaryHead, "product": ProductHead,
}  # fmt: skip
BY_SPACE.update({
    gymnasium.spaces.Discrete: CategoricalHead, gymnasium.spaces.Box: GaussianHead,
    gymnasium.spaces.MultiDiscrete: MultiDiscreteHead, gymnasium.spaces.MultiBinary: MultiBinaryHead,
    gymnasium.spaces.Tuple: ProductHead, gymnasium.spaces.Dict: ProductHead,
})  # fmt: skip


def head_name(head: Head) -> str:
    """Return the name by which a saved policy finds its head."""
    return name_of(type(head), HEADS)


def named_head(name: str, space: gymnasium.Space) -> Head:
    """Return the head with a name, for an action space. Raises UserError on an unknown name."""
    return lookup(name, HEADS, "head").of(space)
