"""Environments that do about everything wrong that one can: ``hostile_envs:Hostile-v0`` with ``kind``, one of KINDS."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import warnings
from contextlib import suppress
from fractions import Fraction

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

AT = 7  # the step at which it happens
PLACE = Box(-1.0, 1.0, (3,), np.float32)


class Hostile(gymnasium.Env):
    """Twenty steps an episode, reward 1 a step; ``kind`` says what goes wrong, and where: ``step: raises``, say."""

    made = 0  # in this process

    def __init__(self, kind: str = "none") -> None:
        self.kind, self.taken, self.number = kind, 0, Hostile.made
        Hostile.made += 1
        where, _, what = kind.partition(": ")
        self.observation_space, self.action_space = SPACES.get(kind, (PLACE, Discrete(2)))
        if where == "init":
            if what.startswith("another") and self.number % 5 == 1:
                self.observation_space = Box(-1.0, 1.0, (4,), np.float32)
                self.action_space = Discrete(3) if "action" in what else self.action_space
            DEEDS.get(what, lambda: None)()

    def _obs(self):
        if self.observation_space in (PLACE, Box(-1.0, 1.0, (4,), np.float32)):
            return self.np_random.uniform(-1, 1, self.observation_space.shape).astype(np.float32)
        return self.observation_space.sample()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        where, _, what = self.kind.partition(": ")
        if where == "reset" and what in DEEDS:
            DEEDS[what]()
        if where == "reset" and what == "changes the observation space":
            self.observation_space = Box(-2.0, 2.0, (3,), np.float32)
        if where == "reset" and what == "changes the action space":
            self.action_space = Discrete(5)
        wrong = {
            "reset: no tuple": self._obs(),
            "reset: None": None,
            "reset: info None": (self._obs(), None),
            "reset: a list of three": [1, 2, 3],
            **{f"reset: observation {name}": (value, {}) for name, value in OBSERVATIONS.items()},
        }
        return wrong[self.kind] if self.kind in wrong else (self._obs(), {})

    def step(self, action):
        self.time += 1
        self.taken += 1
        obs, reward, terminated, truncated, info = self._obs(), 1.0, False, self.time == 20, {}
        where, _, what = self.kind.partition(": ")
        if self.taken < AT:
            return obs, reward, terminated, truncated, info
        if where == "step" and what in DEEDS:
            DEEDS[what]()
        if self.kind in OUTCOMES:
            return OUTCOMES[self.kind](obs)
        if where == "observation":
            obs = OBSERVATIONS[what]
        if where == "reward":
            reward = REWARDS[what]
        if where in ("terminated", "truncated"):
            bad = {"None": None, "text": "no", "an array": np.array([False, True]), "two": 2}[what]
            terminated, truncated = (bad, False) if where == "terminated" else (False, bad)
        return obs, reward, terminated, truncated, info

    def close(self):
        where, _, what = self.kind.partition(": ")
        if where == "close" and self.taken:
            DEEDS[what]()


def _raises():
    raise RuntimeError("the wheel came off\nin two lines")


def _odd():
    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__(one, two)

    raise Odd(1, 2)


def _recurses():
    raise RecursionError("maximum recursion depth exceeded")  # a real one is more than pytest can look at


def _interrupts():
    raise KeyboardInterrupt


def _stops():
    raise StopIteration


def _out_of_memory():
    raise MemoryError


def _generator_exit():
    raise GeneratorExit


def _spins():
    while True:
        pass


def _deaf():
    while True:
        with suppress(BaseException):
            time.sleep(1)


def _warns():
    warnings.simplefilter("error")
    warnings.warn("an environment warns", stacklevel=1)


def _double():
    import torch

    torch.set_default_dtype(torch.float64)


DEEDS = {
    "raises": _raises,
    "raises what takes two": _odd,
    "recurses": _recurses,
    "KeyboardInterrupt": _interrupts,
    "StopIteration": _stops,
    "MemoryError": _out_of_memory,
    "GeneratorExit": _generator_exit,
    "sys.exit(0)": lambda: sys.exit(0),
    "sys.exit()": lambda: sys.exit(),
    "os._exit(0)": lambda: os._exit(0),
    "os._exit(3)": lambda: os._exit(3),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "hangs": lambda: time.sleep(10_000),
    "spins": _spins,
    "hangs and is deaf": _deaf,
    "warns, as an error": _warns,
    "changes directory": lambda: os.chdir("/"),
    "numpy raises": lambda: np.seterr(all="raise"),
    "torch's default dtype": _double,
}
OBSERVATIONS = {
    "of another shape": np.zeros(4, np.float32),
    "of two dimensions": np.zeros((1, 3), np.float32),
    "of text": np.array(["a", "b", "c"]),
    "complex": np.zeros(3, np.complex128),
    "NaN": np.array([0.0, np.nan, 0.0], np.float32),
    "infinite": np.array([0.0, np.inf, 0.0], np.float32),
    "too large for its type": np.array([0.0, 1e300, 0.0]),
    "None": None,
    "ragged": [[1.0], [1.0, 2.0], 3.0],
    "a dictionary": {"a": 1.0},
}
REWARDS = {
    "an array": np.array([1.0]), "an array of two": np.array([1.0, 2.0]), "None": None, "text": "1.0",
    "NaN": float("nan"), "infinite": float("inf"), "1e300": 1e300, "a list": [1.0], "complex": 1j,
    "a huge whole number": 10**400, "a fraction": Fraction(10**30),
}  # fmt: skip
OUTCOMES = {
    "step: the old API": lambda obs: (obs, 1.0, False, {}),
    "step: None": lambda obs: None,
    "step: six values": lambda obs: (obs, 1.0, False, False, {}, {}),
    "step: an observation alone": lambda obs: obs,
    "step: info None": lambda obs: (obs, 1.0, False, False, None),
    "step: info text": lambda obs: (obs, 1.0, False, False, "info"),
}
SPACES = {
    "space: Discrete(1)": (PLACE, Discrete(1)),
    "space: MultiDiscrete of ones": (PLACE, MultiDiscrete([1, 1])),
    "space: no actions": (PLACE, Box(-1, 1, (0,), np.float32)),
    "space: no numbers": (Box(-1, 1, (0,), np.float32), Discrete(2)),
    "space: an empty Dict": (Dict({}), Discrete(2)),
    "space: an empty Tuple": (Tuple(()), Discrete(2)),
    "space: None": (None, Discrete(2)),
    "space: actions None": (PLACE, None),
    "observation: out of a Discrete space": (Discrete(3), Discrete(2)),
    "observation: not of a Dict": (Dict({"a": PLACE, "b": MultiBinary(2)}), Discrete(2)),
}
OBSERVATIONS |= {"out of a Discrete space": 9, "not of a Dict": {"a": np.zeros(3, np.float32)}}
IN_ONE_PROCESS = {"changes directory", "numpy raises", "torch's default dtype"}  # harmless in a worker
ENDS_PROCESS = {"os._exit(0)", "os._exit(3)", "killed", "segfault"}  # takes training along without workers
KINDS = [
    *SPACES,
    *[f"init: {what}" for what in DEEDS if what not in ENDS_PROCESS],
    "init: another observation space",
    "init: another action space",
    *[f"reset: {what}" for what in DEEDS],
    "reset: no tuple", "reset: None", "reset: info None", "reset: a list of three",
    "reset: changes the observation space", "reset: changes the action space",
    *[f"reset: observation {what}" for what in ("of another shape", "NaN", "None")],
    *[f"step: {what}" for what in DEEDS],
    *OUTCOMES,
    *[f"observation: {what}" for what in OBSERVATIONS if f"observation: {what}" not in SPACES],
    *[f"reward: {what}" for what in REWARDS],
    *[f"{which}: {what}" for which in ("terminated", "truncated") for what in ("None", "text", "an array", "two")],
    *[f"close: {what}" for what in ("raises", "sys.exit(0)", "os._exit(3)", "hangs", "hangs and is deaf")],
]  # fmt: skip
HANGS = {"hangs", "spins", "hangs and is deaf"}

gymnasium.register("Hostile-v0", entry_point="hostile_envs:Hostile")
