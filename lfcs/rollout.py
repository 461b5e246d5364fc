"""The policy acts: vector environment + encoder + policy -> Trajectory.

Environments run in gymnasium's SAME_STEP autoreset mode, so that every step is real and the true final observation
of an ended episode is at hand. Neuron state and traces of an environment start afresh with its episode.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from torch import Tensor

from lfcs.engines import Engine
from lfcs.errors import UserError
from lfcs.heads import Head
from lfcs.network import NetState, SpikingNetwork


class Encoder(Protocol):
    """Observations [B, ...] in, input currents [B, size] (float32) out."""

    size: int

    def observe(self, obs: np.ndarray) -> None:
        """Update running statistics with a batch of observations."""

    def encode(self, obs: np.ndarray) -> np.ndarray:
        """Encode a batch with the statistics as they are."""

    def state_dict(self) -> dict[str, Any]:
        """Return the running statistics."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the running statistics."""


@dataclass
class Trajectory:
    """T steps of B environments, in order of time, as the reference policy lived them."""

    x: Tensor  # [T, B, D] encoded observations
    action: Tensor  # [T, B]
    params: Tensor  # [T, B, P] head parameters of the reference
    logp_ref: Tensor  # [T, B] log π_ref(a), stored when acting
    value: Tensor  # [T, B] V of the reference
    bootstrap: Tensor  # [T, B] V of the next observation where an episode or the window ends, else 0
    reward: Tensor  # [T, B]
    terminated: Tensor  # [T, B] bool
    truncated: Tensor  # [T, B] bool
    reset: Tensor  # [T, B] bool, the environment began an episode at this step
    final: dict[int, Tensor]  # t -> [B, D] next observation before any reset; always holds the last step
    state: NetState  # the policy's state before the first step


def check_finite(values: np.ndarray, what: str, env_step: int) -> None:
    """Raise UserError if a batch over environments holds NaN or infinity, naming the environment and the step."""
    if not np.isfinite(values).all():
        bad = int(np.argmax(~np.isfinite(values).reshape(len(values), -1).all(axis=1)))
        raise UserError(f"environment {bad} returned a non-finite {what} at environment step {env_step}")


def final_observations(obs: np.ndarray, ended: np.ndarray, infos: dict[str, Any]) -> np.ndarray:
    """Return the batch of next observations with those of ended episodes replaced by their true final ones."""
    if not ended.any():
        return obs
    out = obs.copy()
    for b in np.flatnonzero(ended):
        out[b] = infos["final_obs"][b]
    return out


class Rollout:
    """Steps B environments with one policy and keeps what a checkpoint needs to continue bit by bit.

    ``refresh`` starts all environments from a seed. From there the environments are a function of the actions, which
    are logged: restoring is refreshing and replaying them, and works for any environment that its seed determines.
    """

    def __init__(
        self,
        envs: gymnasium.vector.VectorEnv,
        encoder: Encoder,
        policy: SpikingNetwork,
        engine: Engine,
        head: Head,
        generator: torch.Generator,
    ) -> None:
        self.envs, self.encoder, self.policy, self.head, self.generator = envs, encoder, policy, head, generator
        self.engine, self.batch = engine, envs.num_envs
        self.env_steps = 0
        self.episodes: deque[tuple[float, int]] = deque(maxlen=100)
        self.device = policy.hidden.device

    def refresh(self, seed: int) -> None:
        """Start every environment and its neurons afresh; running episodes are cut and count as truncated."""
        self.seed = seed
        self.action_log: list[np.ndarray] = []
        self.obs, _ = self.envs.reset(seed=seed)
        check_finite(self.obs, "observation", self.env_steps)
        self.begun = np.ones(self.batch, dtype=bool)
        self.episode_return = np.zeros(self.batch)
        self.episode_length = np.zeros(self.batch, dtype=np.int64)
        self.state = self.policy.initial_state(self.batch)

    def _step_envs(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return rewards, terminations, truncations and the next observations before any reset."""
        self.action_log.append(action)
        start = getattr(self.envs.single_action_space, "start", 0)
        self.obs, reward, terminated, truncated, infos = self.envs.step(action + start)
        self.env_steps += self.batch
        self.begun = terminated | truncated
        following = final_observations(self.obs, self.begun, infos)
        check_finite(following, "observation", self.env_steps)
        if following is not self.obs:
            check_finite(self.obs, "observation", self.env_steps)
        check_finite(reward, "reward", self.env_steps)
        self.episode_return += reward
        self.episode_length += 1
        return reward, terminated, truncated, following

    def _close_episodes(self) -> None:
        for b in np.flatnonzero(self.begun):
            self.episodes.append((float(self.episode_return[b]), int(self.episode_length[b])))
        self.episode_return[self.begun] = 0.0
        self.episode_length[self.begun] = 0

    def _input(self, obs: np.ndarray) -> Tensor:
        dtype = self.policy.hidden.dtype
        return torch.from_numpy(self.encoder.encode(obs)).to(self.device, dtype)

    @torch.no_grad()
    def collect(self, steps: int) -> Trajectory:
        """Act for ``steps`` steps in every environment. Raises UserError on a non-finite observation or reward."""
        by_step: list[tuple[Tensor, ...]] = []
        outcomes: list[tuple[np.ndarray, ...]] = []
        bootstrap = torch.zeros(steps, self.batch, dtype=self.policy.hidden.dtype, device=self.device)
        final: dict[int, Tensor] = {}
        first_state = self.state
        for t in range(steps):
            self.encoder.observe(self.obs)
            x = self._input(self.obs)
            reset = torch.from_numpy(self.begun).to(self.device)
            seen = self.engine.run(x[None], self.state, reset[None])
            state, params, value = seen.states.at(-1), seen.params[0], seen.value[0]
            action = self.head.sample(params, self.generator)
            reward, terminated, truncated, following = self._step_envs(action.cpu().numpy())
            if truncated.any() or t == steps - 1:
                final[t] = self._input(following)
                bootstrap[t] = self.engine.run(final[t][None], state, torch.zeros_like(reset)[None]).value[0]
            self._close_episodes()
            self.state = state
            by_step.append((x, action, params, value, reset))
            outcomes.append((reward, terminated, truncated))
        x, action, params, value, reset = (torch.stack(column) for column in zip(*by_step, strict=True))
        rewards, terminations, truncations = (
            torch.from_numpy(np.stack(column)).to(self.device) for column in zip(*outcomes, strict=True)
        )
        return Trajectory(
            x=x,
            action=action,
            params=params,
            logp_ref=self.head.log_prob(params, action),
            value=value,
            bootstrap=bootstrap,
            reward=rewards.to(x.dtype),
            terminated=terminations,
            truncated=truncations,
            reset=reset,
            final=final,
            state=first_state,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` needs to bring environments, neurons and generator back."""
        shape = (0, self.batch)
        return {
            "seed": self.seed,
            "env_steps": self.env_steps,
            "actions": np.stack(self.action_log) if self.action_log else np.zeros(shape, dtype=np.int64),
            "observation": self.obs,
            "episodes": np.array(self.episodes, dtype=np.float64).reshape(-1, 2),
            "generator": self.generator.get_state(),
            "state": self.state.data,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore; raises UserError if the environments did not come back to the same observation."""
        self.refresh(saved["seed"])
        for action in saved["actions"]:
            self._step_envs(action)
            self._close_episodes()
        if not np.array_equal(self.obs, saved["observation"]):
            raise UserError("cannot resume: the environments do not repeat themselves when given the same seed")
        self.env_steps = saved["env_steps"]
        self.episodes.clear()
        self.episodes.extend((float(r), int(n)) for r, n in saved["episodes"])
        self.generator.set_state(saved["generator"])
        self.state = NetState(saved["state"], self.policy.config.neurons)
