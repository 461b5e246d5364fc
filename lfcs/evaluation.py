"""Evaluation: a frozen player on environments and seeds of its own."""

from __future__ import annotations

from typing import Protocol

import gymnasium
import numpy as np
import torch

from lfcs.engines import Engine
from lfcs.heads import Head
from lfcs.network import SpikingNetwork
from lfcs.rollout import Encoder, check_finite

MAX_BATCH = 20  # environments side by side


class Player(Protocol):
    """Whatever turns observations into actions, in B environments side by side."""

    def begin(self, batch: int) -> None:
        """Start an episode in every environment."""

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Return actions [B] for observations [B, ...], counted from 0."""


class SpikingPlayer:
    """A frozen policy; ``greedy`` takes the most probable action, else actions are drawn from ``seed``."""

    def __init__(
        self, policy: SpikingNetwork, engine: Engine, head: Head, encoder: Encoder, greedy: bool, seed: int
    ) -> None:
        self.policy, self.engine, self.head, self.encoder, self.greedy = policy, engine, head, encoder, greedy
        self.generator = torch.Generator(policy.hidden.device).manual_seed(seed)

    def begin(self, batch: int) -> None:
        """See :meth:`Player.begin`."""
        self.state = self.policy.initial_state(batch)
        self.no_reset = torch.zeros(1, batch, dtype=torch.bool, device=self.policy.hidden.device)

    @torch.no_grad()
    def act(self, obs: np.ndarray) -> np.ndarray:
        """See :meth:`Player.act`."""
        like = self.policy.hidden
        x = torch.from_numpy(self.encoder.encode(obs)).to(like.device, like.dtype)
        seen = self.engine.run(x[None], self.state, self.no_reset)
        self.state, params = seen.states.at(-1), seen.params[0]
        action = self.head.greedy(params) if self.greedy else self.head.sample(params, self.generator)
        return action.cpu().numpy()


def evaluate(
    player: Player, envs: gymnasium.vector.VectorEnv, episodes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the returns and lengths [episodes] of a player.

    Each of ``envs`` plays exactly one episode at a time, so that short episodes are not over-represented.
    """
    returns: list[float] = []
    lengths: list[int] = []
    while len(returns) < episodes:
        got = _one_episode_each(player, envs, seed + len(returns))
        returns += got[0].tolist()
        lengths += got[1].tolist()
    return np.array(returns[:episodes]), np.array(lengths[:episodes])


def _one_episode_each(player: Player, envs: gymnasium.vector.VectorEnv, seed: int) -> tuple[np.ndarray, np.ndarray]:
    batch, start = envs.num_envs, getattr(envs.single_action_space, "start", 0)
    total, length, running = np.zeros(batch), np.zeros(batch, dtype=np.int64), np.ones(batch, dtype=bool)
    obs, _ = envs.reset(seed=seed)
    player.begin(batch)
    while running.any():
        check_finite(obs, "observation", int(length.sum()))
        obs, reward, terminated, truncated, _ = envs.step(player.act(obs) + start)
        check_finite(reward, "reward", int(length.sum()))
        total += np.where(running, reward, 0.0)
        length += running
        running &= ~(terminated | truncated)
    return total, length
