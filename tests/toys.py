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


class Continuous(Guess):
    """An action space that is not supported."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def step(self, action):
        assert action in self.action_space
        return super().step(5)


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
gymnasium.register("FaultyReward-v0", entry_point=Faulty)
gymnasium.register("FaultyObservation-v0", entry_point=Faulty, kwargs={"what": "observation"})
gymnasium.register("Fragile-v0", entry_point=Fragile)
gymnasium.register("Forgetful-v0", entry_point=Forgetful)
gymnasium.register("Continuous-v0", entry_point=Continuous)
gymnasium.register("Worded-v0", entry_point=Worded)
gymnasium.register("Lights-v0", entry_point=Lights)
