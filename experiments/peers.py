"""Peers from outside, where the extra ``peers`` is installed: Stable-Baselines3 PPO and sb3-contrib RecurrentPPO.

Settings of PPO on CartPole are those of RL Baselines3 Zoo; the others are the libraries' defaults but for what is named
here. Pong's four bytes are divided by 255, and PPO, which has no memory, sees the last two observations.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import gymnasium
import numpy as np

import envs  # noqa: F401 - registers our environments

INSTALLED = all(importlib.util.find_spec(name) for name in ("stable_baselines3", "sb3_contrib"))
ZOO = {"batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20, "n_steps": 32}
PEERS: dict[str, dict[str, dict[str, Any]]] = {
    "CartPole-v1": {
        "PPO": {"num_envs": 8, "learning_rate": "linear 1e-3", "clip_range": "linear 0.2", **ZOO},
        "RecurrentPPO": {"num_envs": 8, "n_steps": 64},
    },
    "Pong100-v0": {
        "PPO": {"num_envs": 16, "n_steps": 100, "batch_size": 400},
        "RecurrentPPO": {"num_envs": 16, "n_steps": 100, "n_epochs": 4},
    },
}


def _wrapped(env_id: str, frames: int) -> gymnasium.Env:
    """Return an environment as a peer sees it."""
    env = gymnasium.make(env_id)
    space: Any = env.observation_space
    if space.dtype == np.uint8:
        scaled = gymnasium.spaces.Box(0.0, 1.0, space.shape)
        env = gymnasium.wrappers.TransformObservation(env, lambda obs: (obs / 255).astype(np.float32), scaled)
        if frames > 1:
            env = gymnasium.wrappers.FlattenObservation(gymnasium.wrappers.FrameStackObservation(env, frames))
    return env


def make_peer(peer: str, env_id: str, seed: int) -> Any:
    """Return a peer's model, ready to learn."""
    from sb3_contrib import RecurrentPPO
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    settings = dict(PEERS[env_id][peer])
    for key, value in settings.items():
        if isinstance(value, str):
            start = float(value.removeprefix("linear "))
            settings[key] = lambda left, start=start: left * start
    make, policy, frames = (PPO, "MlpPolicy", 2) if peer == "PPO" else (RecurrentPPO, "MlpLstmPolicy", 1)
    vec = DummyVecEnv([lambda: _wrapped(env_id, frames)] * settings.pop("num_envs"))
    return make(policy, vec, seed=seed, device="cpu", **settings)
