"""Evaluation: a frozen policy on environments and seeds of its own."""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium
import numpy as np

from lfcs.rollout import check_finite

MAX_BATCH = 20  # environments side by side
METRICS = "eval/mean_reward", "eval/std_reward", "eval/mean_reward_sampled", "eval/std_reward_sampled"


class Predicts(Protocol):
    """Whatever turns observations into actions: :class:`lfcs.policy.Policy`, or a model of Stable-Baselines3."""

    def predict(
        self,
        observation: np.ndarray,
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        /,
    ) -> tuple[Any, Any]:
        """Return actions [B] and a state for observations [B, ...]; see :meth:`lfcs.policy.Policy.predict`."""


class Watch(Protocol):
    """What is shown of an evaluation, step by step."""

    def __call__(
        self,
        obs: np.ndarray,
        state: Any,
        action: Any,
        reward: np.ndarray,
        began: np.ndarray,
        ended: np.ndarray,
        /,
    ) -> None:
        """Look at a step of B environments: what the model acted on, its state after, and what came of it."""


def evaluate(
    model: Predicts,
    envs: gymnasium.vector.VectorEnv,
    episodes: int,
    seed: int,
    greedy: bool = True,
    watch: Watch | None = None,
    options: dict[str, Any] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the returns and lengths [episodes] of a model, with its most probable actions where ``greedy``.

    Each of ``envs`` plays exactly one episode at a time, so that short episodes are not over-represented. ``options``
    go to each reset.
    """
    returns: list[float] = []
    lengths: list[int] = []
    while len(returns) < episodes:
        got = _one_episode_each(model, envs, seed + len(returns), greedy, watch, options)
        returns += got[0].tolist()
        lengths += got[1].tolist()
    return np.array(returns[:episodes]), np.array(lengths[:episodes])


def _one_episode_each(
    model: Predicts,
    envs: gymnasium.vector.VectorEnv,
    seed: int,
    greedy: bool,
    watch: Watch | None,
    options: dict[str, Any] | None,
) -> tuple[np.ndarray, np.ndarray]:
    batch = envs.num_envs
    total, length, running = np.zeros(batch), np.zeros(batch, dtype=np.int64), np.ones(batch, dtype=bool)
    obs, _ = envs.reset(seed=seed, options=options)
    state, starts = None, np.ones(batch, dtype=bool)
    while running.any():
        check_finite(obs, "observation", int(length.sum()))
        action, state = model.predict(obs, state, starts, greedy)
        following, reward, terminated, truncated, _ = envs.step(action)
        check_finite(reward, "reward", int(length.sum()))
        began, starts = starts, terminated | truncated
        if watch is not None:
            watch(obs, state, action, reward, began, starts)
        total += np.where(running, reward, 0.0)
        length += running
        running &= ~starts
        obs = following
    return total, length
