"""Environments that are vectorised by themselves (``vector_entry_point``), in SAME_STEP autoreset mode.

Their episodes depend on how many there are, since one generator serves them all; so they are taken only when asked for.
gymnasium 1.4's own, CartPoleVectorEnv and those of phys2d, know NEXT_STEP alone (their ``metadata``): the step after an
end ignores its action, and no reset of single environments can be asked for. They are refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from lfcs.envs.making import NO_KWARGS, blamed
from lfcs.errors import UserError, nearest
from lfcs.spaces import flat_row, flat_rows, flat_space


def make_vectorised(env_id: str, num_envs: int, kwargs: Mapping[str, Any] = NO_KWARGS) -> VectorEnv:
    """Return the environments of a registered id's ``vector_entry_point``, made with ``kwargs``.

    Raises UserError where it has none, cannot be made, or can neither be made SAME_STEP nor DISABLED.
    """
    spec = gymnasium.registry.get(env_id)
    if spec is None:
        raise UserError(f"unknown environment {env_id!r}{nearest(env_id, gymnasium.registry)}")
    entry = spec.vector_entry_point
    if entry is None:
        raise UserError(f"{env_id!r} has no vector form of its own (vector_entry_point): use train.env_kind=plain")
    try:
        creator: Any = load_env_creator(entry) if isinstance(entry, str) else entry
        asked: dict[str, Any] = {}
        if "autoreset_mode" in inspect.signature(creator).parameters:
            asked["autoreset_mode"] = AutoresetMode.SAME_STEP
        asked |= kwargs
        with blamed(env_id, kwargs):
            envs = gymnasium.make_vec(env_id, num_envs, vectorization_mode="vector_entry_point", **asked)
    except (gymnasium.error.Error, ImportError) as error:
        raise UserError(f"cannot make the vector form of {env_id!r}: {' '.join(str(error).split())}") from None
    mode = envs.metadata.get("autoreset_mode")
    if mode not in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED):
        envs.close()
        raise UserError(
            f"the vector form of {env_id!r} cannot reset within the step that ends an episode "
            f"(its autoreset mode is {getattr(mode, 'name', mode)}): use train.env_kind=auto"
        )
    return Vectorised(envs, env_id)


class Vectorised(VectorEnv):
    """Vectorised environments that reset within the step, by themselves or here through ``options["reset_mask"]``."""

    kind = "vector"

    def __init__(self, envs: VectorEnv, name: str) -> None:
        self.envs, self.name, self.num_envs = envs, name, envs.num_envs
        self.resets_itself = envs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
        self.metadata = envs.metadata | {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = flat_space(envs.single_observation_space)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.flattens = self.single_observation_space is not envs.single_observation_space
        self.single_action_space, self.action_space = envs.single_action_space, envs.action_space

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Reset every environment; see gymnasium."""
        obs, infos = self.envs.reset(seed=seed, options=options)
        return self._flat(obs), infos

    def _flat(self, obs: Any) -> np.ndarray:
        return flat_rows(self.envs.single_observation_space, obs) if self.flattens else obs

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment; see gymnasium. ``infos["final_obs"]`` holds rows for ended episodes alone.

        Raises UserError where the environments do not keep to their autoreset mode.
        """
        given, reward, terminated, truncated, infos = self.envs.step(actions)
        obs = self._flat(given)
        ended = terminated | truncated
        if ended.any():
            if not self.resets_itself:
                infos = {**infos, "final_obs": np.array(obs)}  # a copy, as the environments may write into theirs
                obs = self._reset(ended, infos["final_obs"])
            elif "final_obs" not in infos:
                raise UserError(f"the vector form of {self.name!r} gives no final_obs: use train.env_kind=plain")
            elif self.flattens:
                space, final = self.envs.single_observation_space, infos["final_obs"]
                infos = {**infos, "final_obs": {b: flat_row(space, final[b]) for b in np.flatnonzero(ended)}}
        return obs, np.asarray(reward, np.float64), terminated, truncated, infos

    def _reset(self, ended: np.ndarray, before: np.ndarray) -> np.ndarray:
        obs, _ = self.reset(options={"reset_mask": ended.copy()})
        if not np.array_equal(obs[~ended], before[~ended]):
            raise UserError(f"the vector form of {self.name!r} ignores reset_mask: use train.env_kind=plain")
        return obs

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments."""
        self.envs.close(**kwargs)
