"""gymnasium tasks, vector environments and encoders of observations."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import gymnasium

from lfcs.envs.making import Env, defaults, in_words
from lfcs.envs.previous import Previous, WithPrevious
from lfcs.envs.vector import described, flattening, has_compiled, make_vec

if TYPE_CHECKING:
    from lfcs.envs.encoders import encodes_tensors, make_encoder

__all__ = [
    "OURS",
    "Env",
    "Previous",
    "WithPrevious",
    "defaults",
    "described",
    "encodes_tensors",
    "flattening",
    "has_compiled",
    "in_words",
    "make_encoder",
    "make_vec",
]


def __getattr__(name: str) -> Any:
    """Import encoders when they are asked for: environment workers do without PyTorch and the compiler."""
    if name not in ("encodes_tensors", "make_encoder"):
        raise AttributeError(f"module 'lfcs.envs' has no attribute {name!r}")
    return getattr(importlib.import_module("lfcs.envs.encoders"), name)


OURS = {
    "Pong100-v0": "the first 100 decisions of Pong, from four bytes of RAM (extra 'atari')",
    "PongRAM-v0": "the whole game of Pong, from four bytes of RAM (extra 'atari')",
    "CueAccumulation-v0": "count cues left and right, wait, turn to the side with more",
    "TMaze10-v0": "turn, after 10 steps, to the side shown at the first; TMaze20-v0: after 20",
    "DelayedMatch-v0": "say whether a probe is the sample shown before a delay",
    "MemoryChain16-v0": "repeat after 16 steps what was shown at the first; MemoryChain32-v0: after 32",
    "ButtonFood-v0": "reach a button, then food, which pays only then",
    "CartPoleNoVelocity-v0": "CartPole of which only positions are seen",
    "PendulumNoVelocity-v0": "Pendulum of which only the angle is seen",
    "ChangingCartPole-v0": "CartPole whose pole is shorter from 3,000 to 6,000 steps of each environment",
    "ExchangedCartPole-v0": "CartPole whose two actions are exchanged after 3,000 and 6,000 steps",
    "ReversingChain-v0": "a memory chain of 4 steps whose answers are exchanged after 1,500, 3,000 and 4,500 steps",
}

# the entry points are imported when an environment is made, so that the emulator stays optional
gymnasium.register("Pong100-v0", entry_point="lfcs.envs.pong:PongRAM", max_episode_steps=100)
gymnasium.register("PongRAM-v0", entry_point="lfcs.envs.pong:PongRAM")


def _register(env_id: str, name: str, steps: int | None = None, **given: int) -> None:
    """Register a task that needs memory, with its limit of steps where it has one."""
    gymnasium.register(env_id, entry_point=f"lfcs.envs.memory:{name}", max_episode_steps=steps, kwargs=given)


_register("CueAccumulation-v0", "CueAccumulation")
_register("DelayedMatch-v0", "DelayedMatch")
_register("ButtonFood-v0", "ButtonFood", 20)
_register("CartPoleNoVelocity-v0", "CartPoleNoVelocity", 500)
_register("PendulumNoVelocity-v0", "PendulumNoVelocity", 200)
for _length in (10, 20):
    _register(f"TMaze{_length}-v0", "TMaze", 20 * _length, length=_length)
for _env_id, _quantity, _one, _other in (
    ("ChangingCartPole-v0", "length", 0.5, 0.15),
    ("ExchangedCartPole-v0", "force", 10.0, -10.0),
):
    gymnasium.register(
        _env_id,
        entry_point="lfcs.envs.changing:ChangingCartPole",
        max_episode_steps=500,
        kwargs={"points": ((0, _one), (3000, _other), (6000, _one)), "quantity": _quantity},
    )
gymnasium.register(
    "ReversingChain-v0",
    entry_point="lfcs.envs.changing:ReversingChain",
    kwargs={"points": ((0, 0), (1500, 1), (3000, 0), (4500, 1))},
)
for _length in (16, 32):
    _register(f"MemoryChain{_length}-v0", "MemoryChain", length=_length)
