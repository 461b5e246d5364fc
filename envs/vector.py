"""Vector environments by gymnasium id, checked, with their errors in one line."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from lfcs.errors import UserError, nearest


def _load(env_id: str) -> None:
    """Import what registers ``env_id``. Raises UserError where an extra or a module is missing."""
    module, _, name = env_id.rpartition(":")
    if module:
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # a user's own package beside where the command is started
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UserError(f"cannot import {module!r} for environment {env_id!r}: {error}") from None
    if name.startswith(("ALE/", "Pong100-", "PongRAM-")):
        try:
            importlib.import_module("envs.pong")
        except ImportError:
            raise UserError(f"environment {env_id!r} needs the extra 'atari': pip install 'lfcs[atari]'") from None


def make_vec(env_id: str, num_envs: int, **options: Any) -> SyncVectorEnv:
    """Return ``num_envs`` copies of an environment side by side, in SAME_STEP autoreset mode.

    ``env_id`` is a registered gymnasium id, or ``package.module:Id`` whose module registers it when imported. Raises
    UserError on an unknown id (with the nearest known), a missing extra, or observations that are not a Box.
    """
    _load(env_id)
    options |= {"obs_type": "ram"} if env_id.startswith("ALE/") else {}

    def make() -> gymnasium.Env:
        return gymnasium.make(env_id, disable_env_checker=True, **options)

    try:
        envs = SyncVectorEnv([make] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
    except gymnasium.error.UnregisteredEnv:
        name = env_id.rpartition(":")[2]
        raise UserError(f"unknown environment {env_id!r}{nearest(name, gymnasium.registry)}") from None
    except gymnasium.error.Error as error:
        raise UserError(f"cannot make environment {env_id!r}: {' '.join(str(error).split())}") from None
    if not isinstance(envs.single_observation_space, gymnasium.spaces.Box):
        raise UserError(f"observation space {envs.single_observation_space} is not supported: it must be a Box")
    return envs
