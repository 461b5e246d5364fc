"""Evaluation with compiled loops: every episode at once where the environments are compiled, else a call a step.

An episode is that of its seed: actions are drawn from a generator of its own, so that it does not depend on how many
are played side by side, nor on what steps them.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium
import numpy as np
import torch

from lfcs import evaluation
from lfcs.compiled import act
from lfcs.compiled.rollout import has_loops, is_compiled, memory_for, mind_of, senses_of
from lfcs.compiled.tasks import Tasks
from lfcs.engines import CompiledEngine
from lfcs.evaluation import MAX_STEPS, Heard, News, Watch
from lfcs.policy import Policy
from lfcs.rollout import check_finite
from lfcs.spawn import cores

BLOCK = 32  # steps in a call; what has ended by then is left out of the next
MANY = 256  # episodes side by side
FEW = 8  # episodes of a thread at least: with fewer, each reads all weights for next to nothing

Outcome = tuple[np.ndarray, np.ndarray]


def evaluate(
    policy: Policy,
    envs: gymnasium.vector.VectorEnv,
    episodes: int,
    seed: int,
    greedy: bool = True,
    watch: Watch | None = None,
    options: dict[str, Any] | None = None,
    heard: Heard | None = None,
    max_steps: int = MAX_STEPS,
) -> Outcome:
    """Return the returns and lengths [episodes] of a policy; see :func:`lfcs.evaluation.evaluate`.

    It goes through compiled loops where the policy has them, else through ``predict``.
    """
    if not (isinstance(policy.engine, CompiledEngine) and has_loops(policy.head)):
        flat = dataclasses.replace(policy.seeded(seed), observation_space=envs.single_observation_space)
        return evaluation.evaluate(flat, envs, episodes, seed, greedy, watch, options, heard, max_steps)
    senses, batch = senses_of(policy.encoder, False), envs.num_envs
    if watch is None and options is None and senses is not None and is_compiled(envs):
        found = on_every_core(policy, senses, envs, episodes, seed, greedy, heard, max_steps)
    else:
        rest = watch, options, heard, max_steps
        found = [
            by_steps(policy, envs, seed + done, Noise(policy, seed + done, batch, greedy), *rest)
            for done in range(0, episodes, batch)
        ]
    returns, lengths = (np.concatenate(part)[:episodes] for part in zip(*found, strict=True))
    return returns, lengths


def on_every_core(
    policy: Policy,
    senses: Any,
    envs: Any,
    episodes: int,
    seed: int,
    greedy: bool,
    heard: Heard | None,
    max_steps: int = MAX_STEPS,
) -> list[Outcome]:
    """Return what the episodes in compiled environments gave, divided over the cores that this process may use.

    Threads do not wait for each other, so that they cost nothing where cores are busy.
    """
    parts = max(1, min(cores(), episodes // FEW), -(-episodes // MANY))
    bounds = [episodes * k // parts for k in range(parts + 1)]

    def play(first: int, last: int) -> Outcome:
        noise = Noise(policy, seed + first, last - first, greedy)
        return side_by_side(policy, senses, envs.like(last - first), seed + first, noise, heard, max_steps)

    with ThreadPoolExecutor(min(parts, cores()), "lfcs-evaluation") as pool:
        return list(pool.map(play, bounds[:-1], bounds[1:]))


class Noise:
    """What the actions of some episodes are drawn from, each from a generator of its own; nothing where greedy."""

    def __init__(self, policy: Policy, seed: int, count: int, greedy: bool) -> None:
        self.greedy, self.numbers = greedy, policy.head.numbers().noise
        self.generators = [np.random.default_rng([seed + i, 1]) for i in range(0 if greedy else count)]

    def block(self, which: np.ndarray) -> np.ndarray:
        """Return the next numbers [BLOCK, M, U] of the episodes ``which`` [M]."""
        out = np.zeros((BLOCK, len(which), self.numbers))
        if not self.greedy:
            for i, episode in enumerate(which):
                out[:, i] = self.generators[episode].random((BLOCK, self.numbers))
        return out


def side_by_side(
    policy: Policy,
    senses: Any,
    envs: Any,
    seed: int,
    noise: Noise,
    heard: Heard | None = None,
    max_steps: int = MAX_STEPS,
) -> Outcome:
    """Return returns and lengths of an episode in each of some compiled environments, of which none is kept."""
    batch, outward = envs.num_envs, policy.head.numbers().outward
    mind, memory = mind_of(policy, noise.greedy), memory_for(policy, batch, False)
    envs.reset(seed=seed)
    envs.ready(BLOCK)
    tasks: Tasks = envs.tasks()
    total, length, which, taken = np.zeros(batch), np.zeros(batch, np.int64), np.arange(batch), 0
    while len(which):
        alive, more, steps = np.ones(len(which), bool), np.zeros(len(which)), np.zeros(len(which), np.int64)
        tasks.used[:] = 0  # what follows an end is not counted: any start will do
        uniform = noise.block(which)[: max_steps - taken]
        act.play(outward, senses, mind, memory, tasks, uniform, alive, more, steps)
        total[which] += more
        length[which] += steps
        taken += len(uniform)
        alive &= taken < max_steps
        if heard is not None:
            heard(int((~alive).sum()), int(steps.sum()))
        if not alive.all():
            which, tasks, memory = which[alive], tasks.of(alive), memory.of(alive)
    return total, length


def by_steps(
    policy: Policy,
    envs: gymnasium.vector.VectorEnv,
    seed: int,
    noise: Noise,
    watch: Watch | None,
    options: dict[str, Any] | None,
    heard: Heard | None = None,
    max_steps: int = MAX_STEPS,
) -> Outcome:
    """Return returns and lengths of an episode in each environment, showing every step to ``watch``."""
    batch, head, every = envs.num_envs, policy.head, np.arange(envs.num_envs)
    mind, memory = mind_of(policy, noise.greedy), memory_for(policy, batch, watch is not None)
    total, length, running = np.zeros(batch), np.zeros(batch, np.int64), np.ones(batch, bool)
    action, kind = np.empty((batch, head.numbers().width)), memory.out.dtype
    nothing, none = np.empty((0, 0), kind), np.empty(0, kind)
    obs, _ = envs.reset(seed=seed, options=options)
    starts, t, news = np.ones(batch, bool), 0, News(heard)
    while running.any():
        check_finite(obs, "observation", int(length.sum()))
        if t % BLOCK == 0:
            uniform = noise.block(every)
        memory.reset[0] = starts
        x = policy.encoder.encode(obs).astype(kind, copy=False)[None]
        act.decide(x, uniform[t % BLOCK], mind, memory, False, action, nothing, none, none)
        given = head.to_env(head.counted(torch.from_numpy(action)))
        following, reward, terminated, truncated, _ = envs.step(given)
        check_finite(reward, "reward", int(length.sum()))
        began, starts = starts, terminated | truncated
        if watch is not None:
            state = (np.concatenate((memory.rows[-1], memory.trace), axis=1),)
            watch(obs, state, given, reward, began, starts)
        total += np.where(running, reward, 0.0)
        length += running
        running &= ~starts & (length < max_steps)
        obs, t = following, t + 1
        news.step(running)
    return total, length
