"""Evaluation: a frozen policy on environments and seeds of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Any, Protocol

import gymnasium
import numpy as np

from lfcs.rollout import check_finite

MAX_BATCH = 20  # environments side by side
MAX_STEPS = 30_000  # of an episode, by default
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


class Heard(Protocol):
    """What hears of an evaluation while it goes on, from whichever thread plays."""

    def __call__(self, ended: int, steps: int, /) -> None:
        """Hear that so many more episodes have ended, and so many more steps were taken."""


class News:
    """Tells ``heard``, where there is one, of episodes side by side: every few steps, as counting costs."""

    EVERY = 32

    def __init__(self, heard: Heard | None) -> None:
        self.heard, self.taken, self.before = heard, 0, 0

    def step(self, running: np.ndarray) -> None:
        """Note a step, after which the episodes ``running`` [B] go on."""
        self.taken += 1
        if self.heard is not None and (self.taken % self.EVERY == 0 or not running.any()):
            ended = int((~running).sum())
            self.heard(ended - self.before, (self.taken % self.EVERY or self.EVERY) * len(running))
            self.before = ended


class Count:
    """Counts the episodes and steps of an evaluation of ``total`` episodes and tells of them, not often.

    ``tell(episodes, steps)`` is called at most every ``every`` seconds, and not at all where all is over before.
    """

    def __init__(self, total: int, tell: Callable[[int, int], None], every: float = 0.5) -> None:
        self.total, self.tell, self.every = total, tell, every
        self.episodes = self.steps = 0
        self.told, self.lock = time.monotonic(), Lock()

    def __call__(self, ended: int, steps: int) -> None:
        """See :class:`Heard`."""
        with self.lock:
            self.episodes, self.steps = min(self.episodes + ended, self.total), self.steps + steps
            now = time.monotonic()
            if now - self.told >= self.every:
                self.told = now
                self.tell(self.episodes, self.steps)


def evaluate(
    model: Predicts,
    envs: gymnasium.vector.VectorEnv,
    episodes: int,
    seed: int,
    greedy: bool = True,
    watch: Watch | None = None,
    options: dict[str, Any] | None = None,
    heard: Heard | None = None,
    max_steps: int = MAX_STEPS,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the returns and lengths [episodes] of a model, with its most probable actions where ``greedy``.

    Each of ``envs`` plays exactly one episode at a time, so that short episodes are not over-represented. ``options``
    go to each reset. ``heard`` is told of the episodes that have ended every few steps. After ``max_steps`` an episode
    counts as it stands.
    """
    returns: list[float] = []
    lengths: list[int] = []
    while len(returns) < episodes:
        got = _one_episode_each(model, envs, seed + len(returns), greedy, watch, options, heard, max_steps)
        returns += got[0].tolist()
        lengths += got[1].tolist()
    return np.array(returns[:episodes]), np.array(lengths[:episodes])


def cut_short(lengths: np.ndarray, max_steps: int) -> str:
    """Return in words how many episodes reached the limit of steps, nothing where none did."""
    count = int((lengths >= max_steps).sum())
    return (
        f"{count} of {len(lengths)} episodes reached {max_steps:,} steps (train.eval_max_steps) and count as they stood"
        if count
        else ""
    )


def _one_episode_each(
    model: Predicts,
    envs: gymnasium.vector.VectorEnv,
    seed: int,
    greedy: bool,
    watch: Watch | None,
    options: dict[str, Any] | None,
    heard: Heard | None,
    max_steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    batch, news = envs.num_envs, News(heard)
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
        running &= ~starts & (length < max_steps)
        obs = following
        news.step(running)
    return total, length
