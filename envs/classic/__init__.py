"""gymnasium's classic control tasks and our memory tasks as compiled functions, with the same numbers bit for bit."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator

from lfcs.envs.classic.base import NO_LIMIT, CompiledVectorEnv, Task

__all__ = ["CompiledVectorEnv", "Task", "find"]

_ROOM, _OURS = "gymnasium.envs.classic_control.", "lfcs.envs.memory:"
# what gymnasium runs -> the module here whose TASKS stand for it, or what its ``make`` makes of the arguments; it is
# imported, and so compiled, only when asked for
MODULES = {
    _ROOM + "cartpole:CartPoleEnv": "cartpole",
    _ROOM + "acrobot:AcrobotEnv": "acrobot",
    _ROOM + "mountain_car:MountainCarEnv": "mountain_car",
    _ROOM + "continuous_mountain_car:Continuous_MountainCarEnv": "mountain_car_continuous",
    _ROOM + "pendulum:PendulumEnv": "pendulum",
    _OURS + "CartPoleNoVelocity": "cartpole_no_velocity",
    _OURS + "CueAccumulation": "cue_accumulation",
    _OURS + "TMaze": "t_maze",
    _OURS + "DelayedMatch": "delayed_match",
    _OURS + "MemoryChain": "memory_chain",
    _OURS + "ButtonFood": "button_food",
}


def find(env_id: str, given: Mapping[str, Any] | None = None) -> Task | None:
    """Return the compiled task of a registered id with its time limit, or None where there is none.

    There is one where the id runs gymnasium's own class, or one of our memory tasks, without wrappers and with
    arguments that a task stands for: those of its registration, and those ``given`` in their place.
    """
    spec = gymnasium.registry.get(env_id)
    if spec is None or spec.entry_point is None or spec.additional_wrappers:
        return None
    entry = spec.entry_point
    name = entry if isinstance(entry, str) else f"{entry.__module__}:{getattr(entry, '__qualname__', '')}"
    if name not in MODULES:
        return None
    module, kwargs = importlib.import_module(f"lfcs.envs.classic.{MODULES[name]}"), {**spec.kwargs, **(given or {})}
    for task in _tasks(module, entry, kwargs):
        if kwargs == task.kwargs:
            return dataclasses.replace(task, limit=spec.max_episode_steps or NO_LIMIT)
    return None


def _tasks(module: Any, entry: Any, kwargs: Mapping[str, Any]) -> tuple[Task, ...]:
    """Return the tasks of a module; one that it makes only of arguments that the environment knows."""
    if not hasattr(module, "make"):
        return module.TASKS
    known = inspect.signature(load_env_creator(entry) if isinstance(entry, str) else entry).parameters
    return (module.make(**kwargs),) if kwargs.keys() <= known.keys() else ()
