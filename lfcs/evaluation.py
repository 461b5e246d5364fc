"""Evaluation: a frozen policy on environments and seeds of its own."""

from __future__ import annotations

import gymnasium
import numpy as np
import torch

from lfcs.engine import Engine
from lfcs.heads import Head
from lfcs.network import SpikingPolicy
from lfcs.rollout import Encoder, check_finite

MAX_BATCH = 20  # environments side by side


@torch.no_grad()
def evaluate(
    policy: SpikingPolicy,
    engine: Engine,
    head: Head,
    encoder: Encoder,
    envs: gymnasium.vector.VectorEnv,
    episodes: int,
    seed: int,
    greedy: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the returns and lengths [episodes] of a frozen policy.

    Each of ``envs`` plays exactly one episode at a time, so that short episodes are not over-represented. Policy and
    encoder are not changed. ``greedy`` takes the most probable action, else actions are sampled with ``seed``.
    """
    returns: list[float] = []
    lengths: list[int] = []
    generator = torch.Generator(policy.hidden.device).manual_seed(seed)
    while len(returns) < episodes:
        got = _one_episode_each(policy, engine, head, encoder, envs, seed + len(returns), generator, greedy)
        returns += got[0].tolist()
        lengths += got[1].tolist()
    return np.array(returns[:episodes]), np.array(lengths[:episodes])


def _one_episode_each(
    policy: SpikingPolicy,
    engine: Engine,
    head: Head,
    encoder: Encoder,
    envs: gymnasium.vector.VectorEnv,
    seed: int,
    generator: torch.Generator,
    greedy: bool,
) -> tuple[np.ndarray, np.ndarray]:
    batch = envs.num_envs
    start = getattr(envs.single_action_space, "start", 0)
    like = policy.hidden
    state, no_reset = policy.initial_state(batch), torch.zeros(1, batch, dtype=torch.bool, device=like.device)
    total, length, running = np.zeros(batch), np.zeros(batch, dtype=np.int64), np.ones(batch, dtype=bool)
    obs, _ = envs.reset(seed=seed)
    while running.any():
        check_finite(obs, "observation", int(length.sum()))
        x = torch.from_numpy(encoder.encode(obs)).to(like.device, like.dtype)
        seen = engine.run(x[None], state, no_reset)
        state, params = seen.states.at(-1), seen.params[0]
        action = head.greedy(params) if greedy else head.sample(params, generator)
        obs, reward, terminated, truncated, _ = envs.step(action.cpu().numpy() + start)
        check_finite(reward, "reward", int(length.sum()))
        total += np.where(running, reward, 0.0)
        length += running
        running &= ~(terminated | truncated)
    return total, length
