"""How far a policy's network in another simulator agrees with ours: spike for spike, action for action."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch

from lfcs.envs.making import Env, make_sync
from lfcs.envs.previous import Previous
from lfcs.evaluation import Predicts
from lfcs.hardware.readers import Elsewhere, Reader
from lfcs.policy import Policy


class Spikes(NamedTuple):
    """How spikes agree."""

    ticks: int
    spikes: int  # ours
    differing: int  # that one has and the other has not
    first: int | None  # tick where they part


class Actions(NamedTuple):
    """How actions agree, each episode played with those of the other simulator."""

    actions: int
    differing: int  # from ours in the same state of affairs
    returns: np.ndarray  # [episodes]
    ours: np.ndarray  # [episodes] of the same seeds


@torch.no_grad()
def spikes(policy: Policy, reader: Reader, ticks: int, seed: int = 0, gain: float = 2.0) -> Spikes:
    """Return how a reader's spikes agree with the policy's from rest, on random currents of as many inputs.

    A current is there at one input in four, uniform from 0 to ``gain``, so that the network fires.
    """
    network, generator = policy.network, torch.Generator().manual_seed(seed)
    shape = ticks, network.input.in_features
    x = torch.rand(shape, generator=generator) * gain * (torch.rand(shape, generator=generator) < 0.25)
    state, ours, theirs = network.initial_state(1), [], []
    reader.reset()
    for now in x.to(network.hidden.dtype):
        state = network.tick(now[None], state)
        ours.append(state.spk[0])
        theirs.append(reader.tick(now)[0])
    mine = torch.stack(ours)
    apart = mine != torch.stack(theirs)
    at = apart.any(1).nonzero()
    return Spikes(ticks, int(mine.sum()), int(apart.sum()), int(at[0]) if len(at) else None)


def actions(
    policy: Policy,
    reader: Reader,
    env: Env,
    episodes: int,
    seed: int = 0,
    env_kwargs: dict[str, Any] | None = None,
) -> Actions:
    """Return how a reader's actions agree with the policy's in greedy episodes of ``env``, the reader in the loop."""
    elsewhere, count, differing = Elsewhere(policy, reader), 0, 0
    returns = np.zeros(episodes)
    vec: Any = make_sync(env, 1, Previous.of(policy.encoder.config), env_kwargs or {})
    try:
        for i in range(episodes):
            (obs, _), state, kept, over = vec.reset(seed=seed + i), None, None, False
            while not over:
                action, kept = elsewhere.predict(obs, kept)
                mine, state = policy.predict(obs, state, deterministic=True)
                count, differing = count + 1, differing + int(not np.array_equal(action, mine))
                obs, reward, terminated, truncated, _ = vec.step(action)
                returns[i], over = returns[i] + reward[0], bool(terminated[0] or truncated[0])
        ours = played(policy, vec, range(seed, seed + episodes))
    finally:
        vec.close()
    return Actions(count, differing, returns, ours)


def played(model: Predicts, vec: Any, seeds: Iterable[int]) -> np.ndarray:
    """Return the returns of greedy episodes, one of each seed, in a vector environment of one."""
    returns = []
    for seed in seeds:
        (obs, _), state, total, over = vec.reset(seed=seed), None, 0.0, False
        while not over:
            action, state = model.predict(obs, state, None, True)
            obs, reward, terminated, truncated, _ = vec.step(action)
            total, over = total + float(reward[0]), bool(terminated[0] or truncated[0])
        returns.append(total)
    return np.array(returns)
