"""gymnasium tasks, vector environments and encoders of observations."""

import gymnasium

from lfcs.envs.encoders import encodes_tensors, make_encoder
from lfcs.envs.making import Env
from lfcs.envs.previous import Previous, WithPrevious
from lfcs.envs.vector import described, flattening, make_vec

__all__ = [
    "OURS",
    "Env",
    "Previous",
    "WithPrevious",
    "described",
    "encodes_tensors",
    "flattening",
    "make_encoder",
    "make_vec",
]

OURS = {
    "Pong100-v0": "the first 100 decisions of Pong, from four bytes of RAM (extra 'atari')",
    "PongRAM-v0": "the whole game of Pong, from four bytes of RAM (extra 'atari')",
}

# the entry points are imported when an environment is made, so that the emulator stays optional
gymnasium.register("Pong100-v0", entry_point="lfcs.envs.pong:PongRAM", max_episode_steps=100)
gymnasium.register("PongRAM-v0", entry_point="lfcs.envs.pong:PongRAM")
