"""Tiny environments with known answers. Importing this module registers them: ``toys:Clock-v0`` works as an id."""

from __future__ import annotations

import os
import time

import gymnasium
import numpy as np


class Clock(gymnasium.Env):
    """Reward 1 per step; ends after ``horizon`` steps as ``ending`` says, and tells the time only if it terminates."""

    def __init__(self, horizon: int = 5, ending: str = "terminated") -> None:
        self.horizon, self.ending = horizon, ending
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (horizon + 1,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)

    def _obs(self):
        return np.eye(self.horizon + 1, dtype=np.float32)[self.time if self.ending == "terminated" else 0]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._obs(), {}

    def step(self, action):
        self.time += 1
        end = self.time == self.horizon
        return self._obs(), 1.0, end and self.ending == "terminated", end and self.ending == "truncated", {}


class Guess(gymnasium.Env):
    """One step: press the button that lights up (of three, numbered from 5). Easy, and never solved by chance."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = gymnasium.spaces.Discrete(3, start=5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.lit = int(self.np_random.integers(3))
        self.time = 0
        return np.eye(3)[self.lit], {}

    def step(self, action):
        if not 5 <= action < 8:
            raise ValueError(f"no button {action}")
        reward = float(action - 5 == self.lit)
        self.lit = int(self.np_random.integers(3))
        self.time += 1
        return np.eye(3)[self.lit], reward, False, self.time == 10, {}


class Unseen(Guess):
    """Has a picture by its word, and fails to draw it, as what wants a screen does without one."""

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__()
        self.render_mode, self.looks = render_mode, 0

    def render(self):
        self.looks += 1
        raise RuntimeError(f"no screen, look {self.looks}")


class Recall(gymnasium.Env):
    """One of two lights at the first step, nothing for ``delay`` steps, then a bell: name the light. Chance: 0.5."""

    def __init__(self, delay: int = 30) -> None:
        self.delay = delay
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (3,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)

    def _obs(self):
        first = self.time == 0
        return np.array([first and self.lit == 0, first and self.lit == 1, self.time > self.delay], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.lit, self.time = int(self.np_random.integers(2)), 0
        return self._obs(), {}

    def step(self, action):
        asked = self.time > self.delay
        reward = float(asked and action == self.lit)
        self.time += 1
        return self._obs(), reward, asked, False, {}


class Faulty(Guess):
    """Returns a bad number, as ``what`` says, at its 40th step."""

    def __init__(self, what: str = "reward") -> None:
        super().__init__()
        self.what, self.count = what, 0

    def step(self, action):
        obs, reward, *rest = super().step(action)
        self.count += 1
        if self.count == 40:
            if self.what == "reward":
                reward = float("inf")
            else:
                obs = obs * np.nan
        return obs, reward, *rest


class Fragile(Guess):
    """Breaks when it is reset with a seed of ``TOY_BREAKS``, such as "raises:12 exits:34 hangs:56"."""

    def reset(self, *, seed=None, options=None):
        for word in os.environ.get("TOY_BREAKS", "").split():
            how, _, when = word.partition(":")
            if str(seed) != when:
                continue
            if how == "exits":
                os._exit(3)
            if how == "hangs":
                time.sleep(600)
            raise ValueError("ow")
        return super().reset(seed=seed)


class Forgetful(Guess):
    """Ignores its seed, so that it cannot be brought back."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=None, options=options)


class Written(Guess):
    """An action space that is not supported."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = gymnasium.spaces.Text(3)

    def step(self, action):
        return super().step(5)


class Wanted(gymnasium.Env):
    """Ten steps, one of three lights is on: the reward is minus the cost(light, action). Checks its actions."""

    def __init__(self, space: gymnasium.Space, cost) -> None:
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (3,), np.float32)
        self.action_space, self.cost = space, cost

    def _obs(self):
        self.lit = int(self.np_random.integers(3))
        return np.eye(3, dtype=np.float32)[self.lit]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._obs(), {}

    def step(self, action):
        if action not in self.action_space:
            raise ValueError(f"{action!r} is not in {self.action_space}")
        reward = -float(self.cost(self.lit, action))
        self.time += 1
        return self._obs(), reward, False, self.time == 10, {}


AIMS = np.array([[-1.0, 3.0], [1.0, 0.0], [3.0, 1.5]])  # of two numbers, for each light


def missed(lit, action):
    """Return the mean square distance from what is wanted, in halves of the bounds."""
    return np.mean((np.ravel(action) - AIMS[lit]) ** 2) / 4.0


def wrong(lit, action):
    """Return the share of choices, counted from 1, that are not the light; or of bits that are not its own."""
    own = np.arange(len(action)) == lit if action.dtype == np.int8 else lit + 1
    return np.mean(action != own)


def both(lit, action):
    """Return the mean of what the parts of an action miss, by the kind of each."""
    parts = action.values() if isinstance(action, dict) else action
    costs = [missed if np.asarray(p).dtype.kind == "f" else wrong for p in parts]
    return np.mean([cost(lit, np.atleast_1d(p)) for cost, p in zip(costs, parts, strict=True)])


BOX = gymnasium.spaces.Box(np.array([[-2.0], [-1.0]], np.float32), np.array([[4.0], [4.0]], np.float32))
CHOICES = gymnasium.spaces.MultiDiscrete([3, 4], start=[1, 1])
BITS = gymnasium.spaces.MultiBinary(3)
TUPLE = gymnasium.spaces.Tuple([gymnasium.spaces.Discrete(3, start=1), BOX])
DICT = gymnasium.spaces.Dict({"aim": BOX, "bits": BITS, "pair": CHOICES})
WANTED = {
    "Box": (BOX, missed), "Choices": (CHOICES, wrong), "Bits": (BITS, wrong), "Tuple": (TUPLE, both),
    "Dict": (DICT, both),
}  # fmt: skip


class Echo(gymnasium.Env):
    """Shows the action it was given."""

    def __init__(self, space: gymnasium.Space, dies: bool = False) -> None:
        self.action_space, self.dies = space, dies
        self.observation_space = gymnasium.spaces.Box(-9, 9, space.shape, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(self.action_space.shape, np.float32), {}

    def step(self, action):
        if self.dies:
            os._exit(3)
        return np.asarray(action, np.float32), 0.0, False, False, {}


class Worded(Guess):
    """An observation space that is not supported."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = gymnasium.spaces.Text(3)


class Lights(Guess):
    """The same, but what is observed has parts: the light, a number without bounds, and one that is in [0, 4]."""

    def __init__(self) -> None:
        super().__init__()
        of = gymnasium.spaces
        parts = of.Tuple([of.Box(-np.inf, np.inf, (1,), np.float32), of.Box(0.0, 4.0, (1,), np.float32)])
        self.observation_space = of.Dict({"lit": of.Discrete(3, start=2), "parts": parts, "flags": of.MultiBinary(2)})

    def _seen(self):
        rng = self.np_random
        parts = rng.normal(50.0, 9.0, 1).astype(np.float32), rng.uniform(0.0, 4.0, 1).astype(np.float32)
        return {"lit": self.lit + 2, "parts": parts, "flags": rng.integers(2, size=2, dtype=np.int8)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._seen(), {}

    def step(self, action):
        outcome = super().step(action)
        return self._seen(), *outcome[1:]


gymnasium.register("Clock-v0", entry_point=Clock)
gymnasium.register("EndlessClock-v0", entry_point=Clock, kwargs={"horizon": 50, "ending": "truncated"})
gymnasium.register("Guess-v0", entry_point=Guess)
gymnasium.register("Unseen-v0", entry_point=Unseen)
gymnasium.register("Recall-v0", entry_point=Recall)
gymnasium.register("FaultyReward-v0", entry_point=Faulty)
gymnasium.register("FaultyObservation-v0", entry_point=Faulty, kwargs={"what": "observation"})
gymnasium.register("Fragile-v0", entry_point=Fragile)
gymnasium.register("Forgetful-v0", entry_point=Forgetful)
gymnasium.register("Written-v0", entry_point=Written)
for name, (space, cost) in WANTED.items():
    gymnasium.register(f"{name}-v0", entry_point=Wanted, kwargs={"space": space, "cost": cost})
gymnasium.register("Worded-v0", entry_point=Worded)
gymnasium.register("Lights-v0", entry_point=Lights)
