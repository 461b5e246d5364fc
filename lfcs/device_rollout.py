"""Acting on a device: environments, encoder, policy and the counting of episodes are tensors there.

Within a window the host never waits for the device: ends of episodes, whose steps only the device knows, are masked
tensor operations at every step. What the host wants to know it asks for once a window (:meth:`DeviceRollout.metrics`).
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple, Protocol

import gymnasium
import torch
from torch import Tensor

from lfcs.compiled.rollout import has_loops
from lfcs.errors import UserError
from lfcs.network import NetState
from lfcs.policy import Acted, Encoder, EncoderLoops, Policy
from lfcs.rollout import Look, Moment, Rollout, check_finite
from lfcs.trajectory import Cuts, Trajectory


class TensorEnvs(Protocol):
    """Environments on a device, such as :class:`lfcs.envs.on_device.DeviceEnvs`."""

    num_envs: int
    limit: int  # steps after which an episode is truncated
    obs: Tensor  # [B, K]

    def reset(self, seed: int | None = None) -> Tensor:
        """Begin an episode in every environment; return the observations [B, K]."""

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return obs [B, K], reward, terminated and truncated [B], and final_obs [B, K] without waiting."""

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state."""

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the complete state."""


def has_tensor_form(encoder: type) -> bool:
    """Return whether encoders of a class have a form on tensors, and no subclass has changed what it stands for."""
    order, changes = encoder.__mro__, ("observe", "encode", "encoding", "loops")
    at = next((i for i, cls in enumerate(order) if "encode_tensor" in vars(cls)), None)
    return at is not None and not any(name in vars(cls) for cls in order[:at] for name in changes)


class Moments:
    """The running moments of an encoder on a device, in double precision; of size 0 where it has none.

    The encoder's own are those of the latest :meth:`bring`.
    """

    def __init__(self, of: EncoderLoops, device: torch.device) -> None:
        self.of, self.count = of, float(of.observed[0])
        self.mean, self.m2 = (torch.tensor(part, dtype=torch.float64, device=device) for part in (of.mean, of.m2))
        self.constants = torch.tensor(of.constants, dtype=torch.float64, device=device)

    def follow(self, obs: Tensor) -> None:
        """Include a batch [B, d].

        Source: Chan, Golub & LeVeque (1979), the parallel update, as in :func:`lfcs.compiled.act.follow_moments`.
        """
        if not len(self.mean):
            return
        more, total = float(len(obs)), self.count + len(obs)
        var, own = torch.var_mean(obs.double(), 0, correction=0)
        delta = own - self.mean
        self.m2 = self.m2 + var * more + delta * delta * (self.count * more / total)
        self.mean = self.mean + delta * (more / total)
        self.count = total

    def std(self) -> Tensor:
        """Return standard deviations [d], 1 where there is none."""
        deviation = (self.m2 / max(self.count, 1.0)).sqrt()
        return deviation.masked_fill(deviation <= 1e-8, 1.0)

    def bring(self) -> None:
        """Give the encoder the moments of now; waits for the device."""
        self.of.observed[0], self.of.mean[:], self.of.m2[:] = self.count, self.mean.cpu(), self.m2.cpu()


class Lived(NamedTuple):
    """One step of B environments."""

    acted: Acted
    reset: Tensor  # [B] whether it began an episode
    reward: Tensor  # [B]
    terminated: Tensor  # [B]
    truncated: Tensor  # [B]
    following: Tensor  # [B, d] next observation before any reset
    mean: Tensor  # [d] of the encoder, as it was
    std: Tensor  # [d]
    total: Tensor  # [B] return of the episode so far
    length: Tensor  # [B]


class DeviceRollout(Rollout):
    """Acts as :class:`lfcs.rollout.Rollout` does, with environments whose ``tensors`` are on the policy's device.

    Their state is part of a checkpoint. Metrics are means over the last 100 episodes, or over as many as there are
    environments where these are more: the last 100 of thousands would be those of a few steps.
    """

    replays_actions = False

    def __init__(self, envs: Any, policy: Policy) -> None:
        super().__init__(envs, policy)
        if not has_tensor_form(type(policy.encoder)):
            name = type(policy.encoder).__name__
            raise UserError(f"encoder {name} has no form on tensors (encode_tensor): use train.env_kind=plain")
        self.tensors: TensorEnvs = envs.tensors
        self.outward = self._outward() if isinstance(envs.single_action_space, gymnasium.spaces.Box) else None
        self.encoder: Any = policy.encoder
        self.episodes = deque(maxlen=max(100, self.batch))
        self.moments = moments_of(policy.encoder, self.device)

    def refresh(self, seed: int) -> None:
        """Start every environment and its neurons afresh; running episodes are cut and count as truncated."""
        self.seed = seed
        self.tensors.reset(seed)
        self.ended = torch.ones(self.batch, dtype=torch.bool, device=self.device)
        self.total = torch.zeros(self.batch, dtype=torch.float64, device=self.device)
        self.length = torch.zeros(self.batch, dtype=torch.int64, device=self.device)
        self.state = self.policy.network.initial_state(self.batch)
        self.waiting: list[tuple[Tensor, Tensor, Tensor]] = []  # ends, returns and lengths [T, B] not yet brought

    def _outward(self) -> Tensor:
        """Return what maps actions for the environments, on their device; see :func:`lfcs.heads.base.outward`."""
        if not has_loops(self.policy.head):
            name = type(self.policy.head).__name__
            raise UserError(f"head {name} does not map actions on a device: use train.env_kind=plain")
        return torch.from_numpy(self.policy.head.numbers().outward).to(self.device, self.policy.network.hidden.dtype)

    def _given(self, action: Tensor) -> Tensor:
        """Return actions as the environments take them."""
        if self.outward is None:
            return action
        scale, shift, low, high, _ = self.outward
        return torch.minimum(torch.maximum(shift + scale * action.view(self.batch, -1), low), high)

    def _encode(self, obs: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        x = self.encoder.encode_tensor(obs, mean, std, self.moments.constants)
        return x.to(self.policy.network.hidden.dtype)

    def _step(self) -> Lived:
        """Act once in every environment."""
        obs, reset = self.tensors.obs, self.ended
        self.moments.follow(obs)
        mean, std = self.moments.mean, self.moments.std()
        acted = self.policy.respond(self._encode(obs, mean, std), self.state, reset)
        _, reward, terminated, truncated, following = self.tensors.step(self._given(acted.action))
        self.env_steps += self.batch
        self.state, self.ended = acted.state, terminated | truncated
        total, length = self.total + reward, self.length + 1
        self.total, self.length = total.masked_fill(self.ended, 0.0), length.masked_fill(self.ended, 0)
        return Lived(acted, reset, reward, terminated, truncated, following, mean, std, total, length)

    @torch.no_grad()
    def collect(self, steps: int, look: Look | None = None) -> Trajectory:
        """See :meth:`lfcs.rollout.Rollout.collect`; the host waits for the device only where there is a ``look``."""
        first, lived = self.state, list[Lived]()
        most = (steps - 1) // self.tensors.limit + 1  # cuts that a time limit can make in one environment
        kept, count = [first.data] * most, torch.zeros_like(self.length)
        for _ in range(steps):
            obs = self.tensors.obs
            now = self._step()
            for k in range(most):
                here = now.truncated & (count == k) if most > 1 else now.truncated
                kept[k] = torch.where(here[:, None], self.state.data, kept[k])
            count = count + now.truncated if most > 1 else count
            lived.append(now)
            if look is not None:
                look(self._shown(obs, now))
        return self._trajectory(lived, kept, first)

    def _shown(self, obs: Tensor, now: Lived) -> Moment:
        self.moments.bring()  # who looks may encode
        arrays = (part.cpu().numpy() for part in (now.reward.double(), now.reset, self.ended))
        return Moment(obs.cpu().numpy(), now.acted.state, self.policy.head.to_env(now.acted.action), *arrays)

    def _trajectory(self, lived: list[Lived], kept: list[Tensor], first: NetState) -> Trajectory:
        """Return what was lived; ``kept`` are the states [B, ...] in which time limits cut."""
        columns = {name: [getattr(now, name) for now in lived] for name in Lived._fields if name != "acted"}
        by_step = {name: torch.stack(column) for name, column in columns.items()}
        acts = {name: torch.stack([getattr(now.acted, name) for now in lived]) for name in ("x", "action", "params")}
        value, last = torch.stack([now.acted.value for now in lived]), lived[-1]
        self.waiting.append((by_step["terminated"] | by_step["truncated"], by_step["total"], by_step["length"]))
        final = self._encode(last.following, last.mean, last.std)
        bootstrap = torch.zeros_like(value)
        bootstrap[-1] = self.policy.look(final, self.state).value[0]
        cuts = self._cuts(by_step, len(kept))
        step = torch.arange(len(lived), device=self.device)[:, None]
        for at, x, data in zip(cuts.at, cuts.x, kept, strict=True):
            beyond = self.policy.look(x, first.with_data(data)).value[0]
            bootstrap = torch.where(at == step, beyond, bootstrap)
        return Trajectory(
            **acts,
            logp_ref=self.policy.head.log_prob(acts["params"], acts["action"]),
            value=value,
            bootstrap=bootstrap,
            reward=by_step["reward"].to(value.dtype),
            **{name: by_step[name] for name in ("terminated", "truncated", "reset")},
            final={len(lived) - 1: final},
            state=first,
            cuts=cuts,
        )

    def _cuts(self, by_step: dict[str, Tensor], most: int) -> Cuts:
        """Return where time limits cut, and the observations there, encoded as they would have been at that step."""
        truncated, step = by_step["truncated"], torch.arange(len(by_step["truncated"]), device=self.device)[:, None]
        number, every = truncated.cumsum(0), torch.arange(self.batch, device=self.device)
        steps = step.expand_as(number)
        at = torch.stack([steps.masked_fill(~truncated | (number != k + 1), -1).amax(0) for k in range(most)])
        then = at.clamp(min=0)
        return Cuts(at, self._encode(by_step["following"][then, every], by_step["mean"][then], by_step["std"][then]))

    def _bring(self) -> None:
        """Bring to the host what it wants to know: the episodes that ended, the encoder's moments.

        Raises UserError on a non-finite observation.
        """
        self.moments.bring()
        most = self.episodes.maxlen or 0
        for over, total, length in self.waiting:
            rows = over.flatten().nonzero()[-most:, 0]
            returns, lengths = total.flatten()[rows].tolist(), length.flatten()[rows].tolist()
            self.episodes.extend(zip(returns, lengths, strict=True))
        self.waiting = []
        check_finite(self.tensors.obs.cpu().numpy(), "observation", self.env_steps)

    def metrics(self) -> dict[str, float]:
        """Return means over the latest episodes, or nothing before the first has ended; waits for the device."""
        self._bring()
        return super().metrics()

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` needs to bring environments, neurons and generators back."""
        self._bring()
        return {
            "seed": self.seed,
            "env_steps": self.env_steps,
            "environments": self.tensors.state_dict(),
            "ended": self.ended,
            "running": [self.total, self.length],
            "episodes": self._episodes(),
            "generator": self.policy.generator.get_state(),
            "state": self.state.data,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore; the policy, with its encoder's moments, is restored before."""
        self.refresh(saved["seed"])
        self.tensors.load_state_dict(saved["environments"])
        self.moments = moments_of(self.policy.encoder, self.device)
        self.env_steps, self.ended, (self.total, self.length) = saved["env_steps"], saved["ended"], saved["running"]
        self._restore(saved)


def moments_of(encoder: Encoder, device: torch.device) -> Moments:
    """Return an encoder's running moments as they are, on a device."""
    own: Any = encoder
    return Moments(own.loops(), device)
