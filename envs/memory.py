"""Tasks that cannot be solved without memory: what is seen now does not say what to do now.

All that is random in an episode of one of our own is drawn at its start, as numbers uniform in [0, 1). So each has a
compiled form (:mod:`lfcs.envs.classic`) with the same numbers.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from lfcs.errors import UserError

Step = tuple[np.ndarray, float, bool, bool, dict[str, Any]]
Start = tuple[np.ndarray, dict[str, Any]]


def at_least(bound: int, /, **given: int) -> None:
    """Raise UserError on a number of a task's that is not whole or too low."""
    for name, number in given.items():
        if type(number) is not int or number < bound:
            raise UserError(f"{name} of a task must be a whole number, at least {bound}, got {number!r}")


class Memory(gymnasium.Env[np.ndarray, np.int64]):
    """A task that needs nothing but numpy: ``start`` takes the uniform numbers of an episode, ``observe`` shows."""

    metadata = {"render_modes": []}
    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.spaces.Discrete
    numbers: int  # uniform ones that an episode's start takes

    def __init__(self, low: float, width: int, actions: int) -> None:
        self.observation_space = gymnasium.spaces.Box(low, 1.0, (width,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(actions)
        self.render_mode = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Begin an episode."""
        super().reset(seed=seed)
        self.start(self.np_random.random(self.numbers))
        return self.observe(), {}

    def start(self, uniform: np.ndarray) -> None:
        """Begin an episode from its numbers in [0, 1)."""
        raise NotImplementedError

    def observe(self) -> np.ndarray:
        """Return what is seen now."""
        raise NotImplementedError


class CueAccumulation(Memory):
    """Count cues on the left and on the right, wait, then turn to the side that had more.

    A step is 50 ms. Each of ``cues`` cues lasts 100 ms with 50 ms after it; one side has been chosen, and a cue is on
    it with probability 0.7. A delay of 500 to 1,500 ms follows (``least`` to ``most`` steps), then one step in which a
    recall cue asks for the turn. Observed: cue on the left, on the right, recall. Actions: left, right; only that of
    the recall counts: reward 1 if it is the side with more cues, else -1. Without memory the mean is 0.

    Source: Bellec et al. 2020 (Nature Communications 11:3625), evidence accumulation after Morcos & Harvey 2016; here
    learned from the reward alone, with one input for each of their populations and without their background noise.
    """

    CUE, PAUSE = 2, 1  # steps
    LIKELY = 0.7

    def __init__(self, cues: int = 7, least: int = 10, most: int = 30) -> None:
        at_least(1, cues=cues, least=least)
        at_least(least, most=most)
        if cues % 2 == 0:
            raise UserError(f"cues of a task must be odd, so that one side has more, got {cues}")
        super().__init__(0.0, 3, 2)
        self.cues, self.least, self.most, self.numbers = cues, least, most, 2 + cues

    def start(self, uniform: np.ndarray) -> None:
        """See :class:`Memory`: the numbers choose the side, the delay, and each cue's side."""
        right = self.LIKELY if uniform[0] < 0.5 else 1.0 - self.LIKELY
        self.sides = (uniform[2:] < right).astype(int)
        self.recall = self.cues * (self.CUE + self.PAUSE) + self.least
        self.recall += int(uniform[1] * (self.most - self.least + 1))
        self.time = 0

    def observe(self) -> np.ndarray:
        """See :class:`Memory`."""
        obs = np.zeros(3, np.float32)
        cue, phase = divmod(self.time, self.CUE + self.PAUSE)
        if cue < self.cues and phase < self.CUE:
            obs[self.sides[cue]] = 1.0
        if self.time == self.recall:
            obs[2] = 1.0
        return obs

    def step(self, action: np.int64) -> Step:
        """See gymnasium; ``info["correct"]`` says at the end whether the turn was right."""
        over, right = self.time == self.recall, int(2 * self.sides.sum() > self.cues)
        self.time += 1
        correct = bool(action == right)
        reward = (1.0 if correct else -1.0) if over else 0.0
        return self.observe(), reward, over, False, {"correct": correct} if over else {}


class TMaze(Memory):
    """Walk down a corridor of ``length`` steps and turn, at its end, to the side that was shown at its beginning.

    Observed: [0, 1, 1] or [1, 1, 0] at the beginning, which is north or south, [1, 0, 1] on the way, [0, 1, 0] at the
    junction. Actions: north, east (on), south, west (back). To turn at the junction ends the episode, with reward 4 on
    the right side, -0.1 on the wrong one; to stand still costs 0.1. The best is 4, without memory 1.95.

    Source: Bakker 2002 (Reinforcement learning with long short-term memory, NeurIPS 14).
    """

    numbers = 1
    NORTH, EAST, SOUTH, WEST = range(4)

    def __init__(self, length: int = 10) -> None:
        at_least(1, length=length)
        super().__init__(0.0, 3, 4)
        self.length = length

    def start(self, uniform: np.ndarray) -> None:
        """See :class:`Memory`: the number chooses the side."""
        self.side, self.at = (self.NORTH if uniform[0] < 0.5 else self.SOUTH), 0

    def observe(self) -> np.ndarray:
        """See :class:`Memory`."""
        if self.at == 0:
            return np.array([0, 1, 1] if self.side == self.NORTH else [1, 1, 0], np.float32)
        return np.array([0, 1, 0] if self.at == self.length else [1, 0, 1], np.float32)

    def step(self, action: np.int64) -> Step:
        """See gymnasium; ``info["correct"]`` says at the end whether the turn was right."""
        if action in (self.NORTH, self.SOUTH):
            over, correct = self.at == self.length, bool(action == self.side)
            reward = 4.0 if over and correct else -0.1
            return self.observe(), reward, over, False, {"correct": correct} if over else {}
        before = self.at
        self.at = min(max(self.at + (1 if action == self.EAST else -1), 0), self.length)
        return self.observe(), -0.1 if self.at == before else 0.0, False, False, {}


class DelayedMatch(Memory):
    """Say whether a probe is the sample that was shown before a delay.

    One of ``stimuli`` is shown for 2 steps, nothing for ``delay`` steps, then for one step a probe, in half of the
    trials the sample and else one of the others. Observed: a number for each stimulus, and one that says that this is
    the probe. Actions: no match, match; only that of the probe counts: reward 1 if right, else -1. Without memory the
    mean is 0.

    Source: delayed match to sample, as in Miller, Erickson & Desimone 1996 (J. Neuroscience 16:5154).
    """

    numbers = 3
    SAMPLE = 2  # steps

    def __init__(self, stimuli: int = 2, delay: int = 8) -> None:
        at_least(2, stimuli=stimuli)
        at_least(1, delay=delay)
        super().__init__(0.0, stimuli + 1, 2)
        self.stimuli, self.delay = stimuli, delay

    def start(self, uniform: np.ndarray) -> None:
        """See :class:`Memory`: the numbers choose the sample, whether the probe matches, and else which it is."""
        self.sample, self.time = int(uniform[0] * self.stimuli), 0
        other = (self.sample + 1 + int(uniform[2] * (self.stimuli - 1))) % self.stimuli
        self.probe = self.sample if uniform[1] < 0.5 else other

    def observe(self) -> np.ndarray:
        """See :class:`Memory`."""
        obs = np.zeros(self.stimuli + 1, np.float32)
        if self.time < self.SAMPLE:
            obs[self.sample] = 1.0
        if self.time == self.SAMPLE + self.delay:
            obs[self.probe] = obs[-1] = 1.0
        return obs

    def step(self, action: np.int64) -> Step:
        """See gymnasium; ``info["correct"]`` says at the end whether the answer was right."""
        over, correct = self.time == self.SAMPLE + self.delay, bool(action == (self.probe == self.sample))
        self.time += 1
        reward = (1.0 if correct else -1.0) if over else 0.0
        return self.observe(), reward, over, False, {"correct": correct} if over else {}


class MemoryChain(Memory):
    """Repeat after ``length`` steps what was shown at the first.

    Observed: the share of time that is left, 1 when the answer is asked for, and the context, -1 or 1 at the first step
    and 0 later. Actions 0 and 1 stand for the two; only the last counts: reward 1 if it is the context's, else -1.
    Without memory the mean is 0.

    Source: the memory-length experiment of bsuite (Osband et al., arXiv:1908.03568).
    """

    numbers = 1

    def __init__(self, length: int = 16) -> None:
        at_least(1, length=length)
        super().__init__(-1.0, 3, 2)
        self.length = length

    def start(self, uniform: np.ndarray) -> None:
        """See :class:`Memory`: the number chooses the context."""
        self.context, self.time = int(uniform[0] < 0.5), 0

    def observe(self) -> np.ndarray:
        """See :class:`Memory`."""
        left = max(1.0 - self.time / self.length, 0.0)
        shown = 2.0 * self.context - 1.0 if self.time == 0 else 0.0
        return np.array([left, float(self.time == self.length), shown], np.float32)

    def step(self, action: np.int64) -> Step:
        """See gymnasium; ``info["correct"]`` says at the end whether the answer was right."""
        over, correct = self.time == self.length, bool(action == self.context)
        self.time += 1
        reward = (1.0 if correct else -1.0) if over else 0.0
        return self.observe(), reward, over, False, {"correct": correct} if over else {}


class ButtonFood(Memory):
    """Reach a button, then food: it pays, reward 1 and the end, only once the button has been reached.

    On a grid of ``size`` x ``size`` cells the agent begins in the middle; button and food are in two other cells, drawn
    at the start. Observed: where button and food are as seen from the agent, [Δx, Δy] of each over size - 1, and not
    whether the button has been reached. Memory tells coming from going on the shortest way; who has none may come and
    go by different ways, or by chance. Actions: right, up, left, down; a wall stops.

    Source: the button-and-food task of Capone, Muratore & Paolucci 2022 (PLoS Computational Biology 18:e1010221), there
    cloned from an expert in continuous space, here on a grid from the reward alone.
    """

    numbers = 2
    MOVES = (1, 0), (0, 1), (-1, 0), (0, -1)

    def __init__(self, size: int = 5) -> None:
        at_least(3, size=size)
        if size % 2 == 0:
            raise UserError(f"size of a task must be odd, so that there is a middle, got {size}")
        super().__init__(-1.0, 4, 4)
        self.size = size

    def start(self, uniform: np.ndarray) -> None:
        """See :class:`Memory`: the numbers choose the cells of button and food."""
        others = self.size**2 - 1
        button, food = int(uniform[0] * others), int(uniform[1] * (others - 1))
        food += food >= button
        cells = np.array([button, food])
        cells += cells >= others // 2  # the middle is the agent's
        self.button, self.food = np.stack(np.divmod(cells, self.size), -1)
        self.agent, self.pressed = np.full(2, self.size // 2), False

    def observe(self) -> np.ndarray:
        """See :class:`Memory`."""
        seen = np.concatenate([self.button - self.agent, self.food - self.agent])
        return (seen / (self.size - 1)).astype(np.float32)

    def step(self, action: np.int64) -> Step:
        """See gymnasium; ``info["pressed"]`` says whether the button has been reached."""
        self.agent = np.clip(self.agent + self.MOVES[action], 0, self.size - 1)
        self.pressed = self.pressed or bool((self.agent == self.button).all())
        over = self.pressed and bool((self.agent == self.food).all())
        return self.observe(), float(over), over, False, {"pressed": self.pressed}


def without(space: Any, hidden: list[int]) -> gymnasium.spaces.Box:
    """Return a space of observations without some of its numbers."""
    return gymnasium.spaces.Box(np.delete(space.low, hidden), np.delete(space.high, hidden), dtype=np.float32)


class CartPoleNoVelocity(CartPoleEnv):
    """gymnasium's CartPole of which only cart position and pole angle are seen (Wierstra et al. 2007, ICANN)."""

    HIDDEN = [1, 3]

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.observation_space = without(self.observation_space, self.HIDDEN)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """See gymnasium."""
        obs, info = super().reset(seed=seed, options=options)
        return np.delete(obs, self.HIDDEN), info

    def step(self, action: Any) -> Step:
        """See gymnasium."""
        obs, *rest = super().step(action)
        return np.delete(obs, self.HIDDEN), *rest  # type: ignore[return-value]


class PendulumNoVelocity(PendulumEnv):
    """gymnasium's Pendulum of which only cosine and sine of the angle are seen."""

    HIDDEN = [2]

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.observation_space = without(self.observation_space, self.HIDDEN)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """See gymnasium."""
        obs, info = super().reset(seed=seed, options=options)
        return np.delete(obs, self.HIDDEN), info

    def step(self, action: Any) -> Step:
        """See gymnasium."""
        obs, *rest = super().step(action)
        return np.delete(obs, self.HIDDEN), *rest  # type: ignore[return-value]
