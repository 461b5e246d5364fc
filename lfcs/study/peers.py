"""Peers from outside, where the extra ``peers`` is installed: Stable-Baselines3 PPO and sb3-contrib RecurrentPPO.

Settings of PPO on CartPole are those of RL Baselines3 Zoo; the others are the libraries' defaults but for what is named
here. PPO, which has no memory, sees Pong's last two observations.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import gymnasium
import numpy as np

from lfcs import envs
from lfcs.checkpoint import read_json, write_json
from lfcs.errors import UserError
from lfcs.evaluation import MAX_BATCH, evaluate
from lfcs.trainer import stream_seed

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
NAMES = tuple(dict.fromkeys(name for of_env in PEERS.values() for name in of_env))


class Evaluation(TypedDict):
    """What a peer scored at an environment step."""

    step: float
    seconds: float
    weight_updates: float
    greedy_return: float
    sampled_return: float


def check_peers(env: str, peers: Sequence[str]) -> None:
    """Raise UserError where peers are not installed, or one of them has no settings for an environment."""
    if not INSTALLED:
        raise UserError("peers need the extra 'peers': pip install 'lfcs[peers]', or make peers")
    known = PEERS.get(env, {})
    if not peers or set(peers) - set(known):
        raise UserError(f"no peers {list(peers)} for {env}; known: {', '.join(known) or 'none'}")


def _wrapped(env_id: str, frames: int) -> gymnasium.Env:
    """Return an environment as a peer sees it."""
    env = gymnasium.make(env_id)
    if frames == 1:
        return env
    return gymnasium.wrappers.FlattenObservation(gymnasium.wrappers.FrameStackObservation(env, frames))


def _frames(peer: str, env_id: str) -> int:
    return 2 if peer == "PPO" and env_id.startswith("Pong") else 1


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
    make, policy = (PPO, "MlpPolicy") if peer == "PPO" else (RecurrentPPO, "MlpLstmPolicy")
    vec = DummyVecEnv([lambda: _wrapped(env_id, _frames(peer, env_id))] * settings.pop("num_envs"))
    return make(policy, vec, seed=seed, device="cpu", **settings)


class Stacked:
    """A peer's model that sees its last observations; the state holds them before the model's own."""

    def __init__(self, model: Any, frames: int) -> None:
        self.model, self.frames = model, frames

    def predict(
        self, obs: np.ndarray, state: Any = None, starts: np.ndarray | None = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        """Return actions [B] and the state for observations [B, ...]."""
        past, own = state or ([obs] * self.frames, None)
        past = [*past, obs.copy()][-self.frames :]
        action, own = self.model.predict(np.concatenate(past, axis=1), own, starts, deterministic)
        return action, (past, own)


class Watch:
    """Evaluates a peer on its way; the time of that does not count."""

    def __init__(self, peer: str, env_id: str, model: Any, seed: int) -> None:
        self.model, self.frames, self.seed = model, _frames(peer, env_id), seed
        self.vec = envs.make_vec(env_id, MAX_BATCH)
        self.batches = -(-model.n_steps * model.n_envs // model.batch_size)
        self.found: list[Evaluation] = []
        self.begun, self.elsewhere = time.perf_counter(), 0.0

    def evaluate(self, episodes: int) -> None:
        """Add the scores of the policy as it is."""
        stopped = time.perf_counter()
        scores = []
        for greedy in (True, False):
            model = Stacked(self.model, self.frames)
            returns, _ = evaluate(model, self.vec, episodes, stream_seed(self.seed, "evaluation"), greedy)
            scores.append(float(returns.mean()))
        self.found.append(
            Evaluation(
                step=float(self.model.num_timesteps),
                seconds=stopped - self.begun - self.elsewhere,
                weight_updates=float(self.model._n_updates * self.batches),  # the library counts epochs
                greedy_return=scores[0],
                sampled_return=scores[1],
            )
        )
        self.elsewhere += time.perf_counter() - stopped


def finish_peer(peer: str, env_id: str, seed: int, steps: int, every: int, run_dir: Path) -> list[Evaluation]:
    """Return a peer's evaluations, read from its run directory or made by training; the last is the final one.

    Raises UserError where the extra is missing, or the directory holds a run with other settings.
    """
    path = run_dir / "evaluations.json"
    wanted = {"env": env_id, "seed": seed, "steps": steps, "every": every, "settings": PEERS[env_id][peer]}
    if path.exists():
        kept = read_json(path)
        if "run" not in kept or not isinstance(kept.get("evaluations"), list):
            raise UserError(f"{path} is damaged: remove it, and the peer is trained again")
        if kept["run"] != wanted:
            raise UserError(f"{run_dir} holds a run with other settings: remove it or choose another --out")
        return kept["evaluations"]
    if not INSTALLED:
        raise UserError("peers need the extra 'peers': pip install 'lfcs[peers]', or make peers")
    model = make_peer(peer, env_id, seed)
    watch = Watch(peer, env_id, model, seed)

    def after_step(*_: Any) -> bool:
        if every * (len(watch.found) + 1) <= model.num_timesteps < steps:
            watch.evaluate(episodes=20)
        return True

    model.learn(steps, after_step)  # in one go: schedules run over the whole of it
    watch.evaluate(episodes=100)
    watch.vec.close()
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json(path, {"run": wanted, "evaluations": watch.found})
    return watch.found
