"""Learns a task from nothing in whole numbers, by :mod:`lfcs.hardware.fixed_rule`: the network, its traces and updates.

Outside of it stay the environment and the population code of its observations, whose 8-bit rounding is the input.
Rewards are rounded to whole numbers. The task's actions must be Discrete.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import gymnasium
import numpy as np

from lfcs import envs
from lfcs.config import EncoderConfig
from lfcs.errors import UserError
from lfcs.hardware.fixed_rule import INPUT, MOST, THETA, Net, Rates, State, Window, act, learn

BATCH, WINDOW, NEURONS = 4, 64, 128
HALVED = 0.5, 0.75  # shares of a run after which learning rates are half
EPISODES = 100


def initial(inputs: int, actions: int, neurons: int, seed: int) -> Net:
    """Return weights with the spread of :class:`lfcs.config.NetworkConfig`, whole."""
    drawn = np.random.default_rng(seed)

    def whole(std: float, *shape: int) -> np.ndarray:
        return np.clip(np.rint(drawn.normal(0.0, std, shape) * 2**THETA), -MOST, MOST).astype(np.int32)

    recurrent = whole(0.5 / neurons**0.5, neurons, neurons)
    np.fill_diagonal(recurrent, 0)
    bias, path = np.zeros((1, neurons), np.int32), np.zeros(inputs, np.int32)
    hidden = np.concatenate((whole(2.0 / inputs**0.5, inputs, neurons), bias, recurrent))
    return Net(hidden, whole(0.1 / neurons**0.5, actions + 1, neurons + 1), path)


def at_rest(batch: int, net: Net) -> State:
    """Return the state at rest of so many environments."""
    sources, neurons = net.hidden.shape
    z, u, y = np.zeros((3, batch, neurons), np.int64)
    return State(z, u, y, np.zeros((batch, sources), np.int64))


class Learner:
    """Acts and learns in one task. Raises UserError where its actions are not Discrete."""

    def __init__(self, env: str, seed: int, rates: Rates | None = None, neurons: int = NEURONS) -> None:
        self.env, self.seed, self.rates = env, seed, rates or Rates()
        self.vec = self.make(BATCH)
        space = self.vec.single_action_space
        if not isinstance(space, gymnasium.spaces.Discrete):
            self.vec.close()
            raise UserError(f"learning in whole numbers wants Discrete actions, {env} has {space}")
        self.first = int(space.start)
        self.encoder = envs.make_encoder(self.vec.single_observation_space, EncoderConfig())
        self.net = initial(self.encoder.size, int(space.n), neurons, seed)
        self.generator = np.array([2 * seed + 1], np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        self.state, self.steps = at_rest(BATCH, self.net), 0
        self.obs, self.starts = self.vec.reset(seed=seed)[0], np.ones(BATCH, bool)

    def make(self, count: int) -> Any:
        """Return so many environments."""
        return envs.make_vec(self.env, count, "0", "auto", "cpu", envs.Previous(), {})

    def whole(self, obs: np.ndarray) -> np.ndarray:
        """Return inputs [B, D] of 8 bits."""
        return np.clip(np.rint(np.ldexp(self.encoder.encode(obs), INPUT)), 0, 2**INPUT - 1).astype(np.int64)

    def act(self, x: np.ndarray, reset: np.ndarray, state: State, greedy: bool) -> tuple[np.ndarray, ...]:
        """Return actions [B], probabilities [B, K] and values [B] after inputs ``x`` [B, D]; the state moves on."""
        batch, outputs = len(x), len(self.net.readout)
        out, pi = np.empty((batch, outputs), np.int64), np.empty((batch, outputs - 1), np.int64)
        action = np.empty(batch, np.int64)
        act(x, reset, self.net, state, greedy, self.generator, out, pi, action)
        return action, pi, out[:, -1]

    def window(self, left: float) -> None:
        """Act for a window and learn from it; ``left`` is the share of the run still to come."""
        shape, inputs = (WINDOW, BATCH), self.encoder.size
        x, reset = np.empty((WINDOW + 1, BATCH, inputs), np.int64), np.empty((WINDOW + 1, BATCH), bool)
        action, pi, reward, value = np.empty((4, *shape), np.int64)
        terminated, truncated = np.empty((2, *shape), bool)
        start = State(*(part.copy() for part in self.state))
        for t in range(WINDOW):
            self.encoder.observe(self.obs)
            x[t], reset[t] = self.whole(self.obs), self.starts
            action[t], chances, value[t] = self.act(x[t], reset[t], self.state, greedy=False)
            pi[t] = np.take_along_axis(chances, action[t][:, None], 1)[:, 0]
            self.obs, given, terminated[t], truncated[t], _ = self.vec.step(action[t] + self.first)
            reward[t], self.starts = np.rint(given), terminated[t] | truncated[t]
        x[WINDOW], reset[WINDOW] = self.whole(self.obs), self.starts
        ahead = State(*(part.copy() for part in self.state))
        following = self.act(x[WINDOW], reset[WINDOW], ahead, greedy=False)[2].copy()
        self.steps += WINDOW * BATCH
        more = sum(left <= share for share in HALVED)
        of = self.rates
        rates = of._replace(hidden=of.hidden + more, policy=of.policy + more, path=of.path + more)
        seen = Window(x, reset, action, pi, reward, terminated, truncated)
        learn(seen, self.net, start, value, following, rates, self.generator)

    def train(self, steps: int) -> None:
        """Learn for at least so many environment steps in all."""
        while self.steps < steps:
            self.window(1.0 - self.steps / steps)

    def evaluate(self, episodes: int = EPISODES) -> float:
        """Return the mean return of the likeliest actions over episodes that were never learned from."""
        with closing(self.make(episodes)) as vec:
            state, total = at_rest(episodes, self.net), np.zeros(episodes)
            obs, _ = vec.reset(seed=10**6 + self.seed)
            starts, running = np.ones(episodes, bool), np.ones(episodes, bool)
            while running.any():
                action = self.act(self.whole(obs), starts, state, greedy=True)[0]
                obs, reward, terminated, truncated, _ = vec.step(action + self.first)
                total += np.where(running, reward, 0.0)
                starts = terminated | truncated
                running &= ~starts
        return float(total.mean())
