"""The policy acts: vector environment + encoder + policy -> Trajectory.

Environments run in gymnasium's SAME_STEP autoreset mode, so that every step is real and the true final observation
of an ended episode is at hand. Neuron state and traces of an environment start afresh with its episode.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from torch import Tensor

from lfcs import checkpoint
from lfcs.errors import UserError
from lfcs.nested import mapped, named
from lfcs.network import NetState
from lfcs.policy import Acted, Policy
from lfcs.spaces import LARGEST_REWARD
from lfcs.trajectory import Trajectory

METRICS = "rollout/ep_rew_mean", "rollout/ep_len_mean"


class Moment(NamedTuple):
    """One step of B environments, for what looks on."""

    obs: np.ndarray  # [B, ...] that the policy acted on
    state: NetState  # [B] of the network after it, spikes and traces of the step's last tick
    action: Any  # [B, ...] as the environment takes it: an array, or arrays in a tuple or dictionary
    reward: np.ndarray  # [B]
    began: np.ndarray  # [B] whether the step began an episode
    ended: np.ndarray  # [B] whether it ended one


Look = Callable[[Moment], None]


def check_finite(values: np.ndarray, what: str, env_step: int) -> None:
    """Raise UserError if a batch over environments holds NaN or infinity, naming the environment and the step."""
    if not np.isfinite(values).all():
        bad = int(np.argmax(~np.isfinite(values).reshape(len(values), -1).all(axis=1)))
        raise UserError(f"environment {bad} returned a non-finite {what} at environment step {env_step}")


def check_reward(values: np.ndarray, env_step: int) -> None:
    """Raise UserError as :func:`check_finite`, and where a reward is too large to be learned from."""
    check_finite(values, "reward", env_step)
    if (np.abs(values) > LARGEST_REWARD).any():
        bad = int(np.argmax(np.abs(values)))
        raise UserError(
            f"environment {bad} returned a reward of {values[bad]:g} at environment step {env_step}: "
            f"at most {LARGEST_REWARD:g}, scale rewards down"
        )


def steps_told(envs: gymnasium.vector.VectorEnv, steps: int, frozen: bool) -> dict[str, Any] | None:
    """Return the options of a reset that tell a changing world how many ``steps`` each environment has taken.

    None for all others: a world that changes has ``metadata["steps"]`` (:mod:`lfcs.envs.changing`). ``frozen`` holds it
    as it is at that step.
    """
    return {"steps": steps, "frozen": frozen} if envs.metadata.get("steps") else None


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

    replays_actions = True  # whether restoring does, so that a checkpoint wants a fresh start of all environments

    def __init__(self, envs: gymnasium.vector.VectorEnv, policy: Policy) -> None:
        self.envs, self.policy, self.batch = envs, policy, envs.num_envs
        self.env_steps = 0
        self.episodes: deque[tuple[float, int]] = deque(maxlen=100)
        self.device = policy.network.hidden.device

    def refresh(self, seed: int) -> None:
        """Start every environment and its neurons afresh; running episodes are cut and count as truncated."""
        self.seed = seed
        self.action_log: list[Any] = []
        self.obs, _ = self.envs.reset(seed=seed, options=steps_told(self.envs, self.env_steps // self.batch, False))
        check_finite(self.obs, "observation", self.env_steps)
        self.begun = np.ones(self.batch, dtype=bool)
        self.episode_return = np.zeros(self.batch)
        self.episode_length = np.zeros(self.batch, dtype=np.int64)
        self.state = self.policy.network.initial_state(self.batch)

    def _step_envs(self, action: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return rewards, terminations, truncations and the next observations before any reset."""
        self.action_log.append(action)
        self.obs, reward, terminated, truncated, infos = self.envs.step(action)
        self.env_steps += self.batch
        self.begun = terminated | truncated
        following = final_observations(self.obs, self.begun, infos)
        check_finite(following, "observation", self.env_steps)
        if following is not self.obs:
            check_finite(self.obs, "observation", self.env_steps)
        check_reward(reward, self.env_steps)
        self.episode_return += reward
        self.episode_length += 1
        return reward, terminated, truncated, following

    def _close_episodes(self, over: np.ndarray) -> None:
        """Keep return and length of the episodes that are over [B], and count from 0 there."""
        for b in np.flatnonzero(over):
            self.episodes.append((float(self.episode_return[b]), int(self.episode_length[b])))
        self.episode_return[over] = 0.0
        self.episode_length[over] = 0

    @torch.no_grad()
    def collect(self, steps: int, look: Look | None = None) -> Trajectory:
        """Act for ``steps`` steps in every environment, showing each to ``look``.

        Raises UserError on a non-finite observation or reward.
        """
        lived: list[tuple[Acted, Tensor]] = []
        outcomes: list[tuple[np.ndarray, ...]] = []
        like, first_state = self.policy.network.hidden, self.state
        bootstrap, final = like.new_zeros(steps, self.batch), {}
        for t in range(steps):
            obs, began = self.obs, self.begun
            self.policy.encoder.observe(obs)
            reset = torch.from_numpy(began).to(self.device)
            acted = self.policy.act(obs, self.state, reset)
            self.state, action = acted.state, self.policy.head.to_env(acted.action)
            reward, terminated, truncated, following = self._step_envs(action)
            if truncated.any() or t == steps - 1:
                final[t] = self.policy.encode(following)
                bootstrap[t] = self.policy.look(final[t], acted.state).value[0]
            self._close_episodes(self.begun)
            if look is not None:
                look(Moment(obs, acted.state, action, reward, began, self.begun))
            lived.append((acted, reset))
            outcomes.append((reward, terminated, truncated))
        rewards, terminated_, truncated_ = (
            torch.from_numpy(np.stack(column)).to(self.device) for column in zip(*outcomes, strict=True)
        )
        params, action_ = torch.stack([a.params for a, _ in lived]), torch.stack([a.action for a, _ in lived])
        return Trajectory(
            x=torch.stack([a.x for a, _ in lived]),
            action=action_,
            params=params,
            logp_ref=self.policy.head.log_prob(params, action_),
            value=torch.stack([a.value for a, _ in lived]),
            bootstrap=bootstrap,
            reward=rewards.to(like.dtype),
            terminated=terminated_,
            truncated=truncated_,
            reset=torch.stack([reset for _, reset in lived]),
            final=final,
            state=first_state,
        )

    def metrics(self) -> dict[str, float]:
        """Return means over the last 100 episodes, or nothing before the first has ended."""
        if not self.episodes:
            return {}
        columns = zip(*self.episodes, strict=True)
        return {name: sum(column) / len(column) for name, column in zip(METRICS, columns, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` needs to bring environments, neurons and generator back."""
        log: Any = np.zeros((0, self.batch), dtype=np.int64)
        if self.action_log:
            log = mapped(lambda *by_step: np.stack(by_step), *self.action_log)
        return {
            "seed": self.seed,
            "env_steps": self.env_steps,
            "actions": log,
            "observation": self.obs,
            "episodes": self._episodes(),
            "generator": self.policy.generator.get_state(),
            "state": self.state.data,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore; raises UserError if the environments did not come back to the same observation."""
        _, first = next(named("", saved["actions"]))
        self.env_steps = saved["env_steps"] - self.batch * len(first)
        self.refresh(saved["seed"])
        for t in range(len(first)):
            self._step_envs(mapped(lambda by_step, t=t: by_step[t], saved["actions"]))
            self._close_episodes(self.begun)
        if not np.array_equal(self.obs, saved["observation"]):
            raise UserError("cannot resume: the environments do not repeat themselves when given the same seed")
        self._restore(saved)

    def _episodes(self) -> np.ndarray:
        return np.array(self.episodes, dtype=np.float64).reshape(-1, 2)

    def _restore(self, saved: dict[str, Any]) -> None:
        """Restore what all rollouts have: the latest episodes, the generator and the neurons."""
        self.episodes.clear()
        self.episodes.extend((float(r), int(n)) for r, n in saved["episodes"])
        self.policy.generator.set_state(saved["generator"])
        checkpoint.fit(self.state.data, saved["state"], "state of the neurons")
        self.state = self.state.with_data(saved["state"])
