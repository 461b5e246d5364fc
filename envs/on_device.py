"""Classic control tasks as tensor operations: thousands of environments side by side on one device.

The dynamics are those of :mod:`lfcs.envs.classic`, with equations and sources there, in the precision of the tensors.
A step never waits for the device: starts of episodes are drawn on it at every step, for every environment, and taken
where an episode has ended; nothing is looked at from outside, and no number of Python's is copied there, as torch.where
does with one. So actions are not checked, and what comes of a bad one, NaN too, is for the caller to see.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from lfcs.envs import classic
from lfcs.envs.classic import acrobot, cartpole, mountain_car, mountain_car_continuous, pendulum
from lfcs.errors import UserError, nearest

Outcome = tuple[Tensor, Tensor, Tensor]  # the next state [B, S], reward [B] and whether it terminated [B]


@dataclass(frozen=True)
class Form:
    """A task on tensors: ``advance(state [B, S], action [B])``, ``observe(state)``, and bounds of uniform starts."""

    advance: Callable[[Tensor, Tensor], Outcome]
    observe: Callable[[Tensor], Tensor]
    low: tuple[float, ...]
    high: tuple[float, ...]


def _as_it_is(state: Tensor) -> Tensor:
    return state


def advance_cartpole(state: Tensor, action: Tensor) -> Outcome:
    """See :mod:`lfcs.envs.classic.cartpole`."""
    of = cartpole
    _, speed, angle, spin = state.unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    force = of.FORCE * (2.0 * action.to(state.dtype) - 1.0)
    push = (force + of.MOMENT * spin * spin * sin) / of.BOTH
    turn = (of.GRAVITY * sin - cos * push) / (of.HALF * (4.0 / 3.0 - of.POLE * cos * cos / of.BOTH))
    pull = push - of.MOMENT * turn * cos / of.BOTH
    state = state + of.TICK * torch.stack([speed, pull, spin, turn], -1)
    return state, torch.ones_like(spin), (state[:, 0].abs() > of.TRACK) | (state[:, 2].abs() > of.LEAN)


def _drive(state: Tensor, push: Tensor, goal: float) -> tuple[Tensor, Tensor]:
    of = mountain_car
    x, v = state.unbind(-1)
    v = (v + push - of.GRAVITY * (3.0 * x).cos()).clamp(-of.TOP, of.TOP)
    x = (x + v).clamp(of.LEFT, of.RIGHT)
    v = v.masked_fill((x <= of.LEFT) & (v < 0), 0.0)
    return torch.stack([x, v], -1), (x >= goal) & (v >= 0)


def advance_mountain_car(state: Tensor, action: Tensor) -> Outcome:
    """See :mod:`lfcs.envs.classic.mountain_car`."""
    state, over = _drive(state, mountain_car.FORCE * (action.to(state.dtype) - 1.0), mountain_car.GOAL)
    return state, -torch.ones_like(state[:, 0]), over


def advance_mountain_car_continuous(state: Tensor, action: Tensor) -> Outcome:
    """See :mod:`lfcs.envs.classic.mountain_car_continuous`."""
    force = action.to(state.dtype)
    state, over = _drive(state, mountain_car_continuous.POWER * force.clamp(-1.0, 1.0), mountain_car_continuous.GOAL)
    return state, 100.0 * over.to(state.dtype) - 0.1 * force * force, over


def advance_pendulum(state: Tensor, action: Tensor) -> Outcome:
    """See :mod:`lfcs.envs.classic.pendulum`."""
    of = pendulum
    angle, spin = state.unbind(-1)
    torque = action.to(torch.float32).clamp(-of.TORQUE, of.TORQUE)  # as gymnasium has it
    wrapped = (angle + math.pi).remainder(2.0 * math.pi) - math.pi
    reward = -(wrapped * wrapped + 0.1 * spin * spin + 0.001 * torque * torque)
    spin = (spin + (15.0 * angle.sin() + (3.0 * torque).to(spin.dtype)) * of.TICK).clamp(-of.TOP, of.TOP)
    state = torch.stack([angle + spin * of.TICK, spin], -1)
    return state, reward, torch.zeros_like(spin, dtype=torch.bool)


def observe_pendulum(state: Tensor) -> Tensor:
    """Return cos θ, sin θ and ω."""
    angle, spin = state.unbind(-1)
    return torch.stack([angle.cos(), angle.sin(), spin], -1)


def _acrobot_slope(state: Tensor, torque: Tensor) -> Tensor:
    of = acrobot
    angle_1, angle_2, spin_1, spin_2 = state.unbind(-1)
    cos, sin = angle_2.cos(), angle_2.sin()
    d_1, d_2 = 3.5 + cos, 1.25 + 0.5 * cos
    phi_2 = of.WEIGHT_2 * (angle_1 + angle_2 - of.PI / 2).cos()
    phi_1 = -(0.5 * spin_2 + spin_1) * spin_2 * sin + of.WEIGHT_1 * (angle_1 - of.PI / 2).cos() + phi_2
    turn_2 = (torque + d_2 / d_1 * phi_1 - 0.5 * spin_1 * spin_1 * sin - phi_2) / (1.25 - d_2 * d_2 / d_1)
    return torch.stack([spin_1, spin_2, -(d_2 * turn_2 + phi_1) / d_1, turn_2], -1)


def advance_acrobot(state: Tensor, action: Tensor) -> Outcome:
    """See :mod:`lfcs.envs.classic.acrobot`."""
    of, torque = acrobot, action.to(state.dtype) - 1.0
    k_1 = _acrobot_slope(state, torque)
    k_2 = _acrobot_slope(state + of.TICK / 2 * k_1, torque)
    k_3 = _acrobot_slope(state + of.TICK / 2 * k_2, torque)
    k_4 = _acrobot_slope(state + of.TICK * k_3, torque)
    state = state + of.TICK / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)
    angles, (spin_1, spin_2) = state[:, :2], state[:, 2:].unbind(-1)
    turns = ((angles.abs() - of.PI) / (2 * of.PI)).ceil().clamp(min=0.0)  # whole ones, that bring it within ±π
    angles = angles - angles.sign() * turns * (2 * of.PI)
    spins = [spin_1.clamp(-of.TOP_1, of.TOP_1), spin_2.clamp(-of.TOP_2, of.TOP_2)]
    over = -angles[:, 0].cos() - angles.sum(-1).cos() > 1.0
    return torch.cat([angles, torch.stack(spins, -1)], -1), over.to(state.dtype) - 1.0, over


def observe_acrobot(state: Tensor) -> Tensor:
    """Return cos θ₁, sin θ₁, cos θ₂, sin θ₂, ω₁ and ω₂."""
    angle_1, angle_2, spin_1, spin_2 = state.unbind(-1)
    return torch.stack([angle_1.cos(), angle_1.sin(), angle_2.cos(), angle_2.sin(), spin_1, spin_2], -1)


def observe_positions(state: Tensor) -> Tensor:
    """Return the cart's position and the pole's angle."""
    return state[:, ::2]


FORMS = {
    "CartPole-v1": Form(advance_cartpole, _as_it_is, (-0.05,) * 4, (0.05,) * 4),
    "CartPoleNoVelocity-v0": Form(advance_cartpole, observe_positions, (-0.05,) * 4, (0.05,) * 4),
    "MountainCar-v0": Form(advance_mountain_car, _as_it_is, (-0.6, 0.0), (-0.4, 0.0)),
    "MountainCarContinuous-v0": Form(advance_mountain_car_continuous, _as_it_is, (-0.6, 0.0), (-0.4, 0.0)),
    "Pendulum-v1": Form(advance_pendulum, observe_pendulum, (-math.pi, -1.0), (math.pi, 1.0)),
    "Acrobot-v1": Form(advance_acrobot, observe_acrobot, (-0.1,) * 4, (0.1,) * 4),
}


def form_of(task: classic.Task | None) -> Form | None:
    """Return the form of a task on tensors, or None where there is none."""
    return next((FORMS[name] for name in task.ids if name in FORMS), None) if task else None


class DeviceEnvs:
    """B environments of a classic task on a device, which begin their next episode within the step that ends one.

    Starts are the device generator's own: their distribution is gymnasium's, their numbers are not.
    """

    def __init__(
        self,
        env_id: str,
        num_envs: int,
        device: torch.device | str = "cpu",
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        task = classic.find(env_id)
        form = form_of(task)
        if task is None or form is None:
            raise UserError(f"environment {env_id!r} does not run on a device{nearest(env_id, FORMS)}")
        self.task, self.form, self.num_envs, self.limit = task, form, num_envs, task.limit
        self.observation_space: gymnasium.spaces.Box = task.observation_space
        self.action_space: gymnasium.Space = task.action_space
        self.low = torch.tensor(form.low, dtype=dtype, device=device)
        self.high = torch.tensor(form.high, dtype=dtype, device=device)
        self.generator = torch.Generator(device).manual_seed(seed)
        self.reset()

    def reset(self, seed: int | None = None) -> Tensor:
        """Begin an episode in every environment; return the observations [B, K].

        The generator begins with ``seed``, or goes on where there is none.
        """
        if seed is not None:
            self.generator.manual_seed(seed)
        self.state = self._draw()
        self.elapsed = torch.zeros(self.num_envs, dtype=torch.int64, device=self.low.device)
        self.obs = self.form.observe(self.state)
        return self.obs

    def _draw(self) -> Tensor:
        low, shape = self.low, (self.num_envs, len(self.low))
        share = torch.rand(shape, generator=self.generator, dtype=low.dtype, device=low.device)
        return low + (self.high - low) * share

    @torch.no_grad()
    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return obs [B, K], reward, terminated and truncated [B], and final_obs [B, K], for actions [B] or [B, 1].

        ``final_obs`` is what every step led to; ``obs`` differs from it where an episode ended and the next has begun.
        """
        state, reward, terminated = self.form.advance(self.state, action.reshape(self.num_envs))
        elapsed = self.elapsed + 1
        truncated = elapsed >= self.limit
        ended = terminated | truncated
        final_obs = self.form.observe(state)
        self.state = torch.where(ended[:, None], self._draw(), state)
        self.elapsed = elapsed.masked_fill(ended, 0)
        self.obs = self.form.observe(self.state)
        return self.obs, reward, terminated, truncated, final_obs

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state."""
        return {"state": self.state, "elapsed": self.elapsed, "generator": self.generator.get_state()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the complete state."""
        self.state, self.elapsed = saved["state"], saved["elapsed"]
        self.generator.set_state(saved["generator"])
        self.obs = self.form.observe(self.state)


class DeviceVectorEnv(VectorEnv):
    """Stands for environments on a device, ``tensors``, which are stepped there and not through gymnasium's methods."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
    kind = "device"

    def __init__(self, env_id: str, num_envs: int, device: torch.device | str) -> None:
        self.tensors = DeviceEnvs(env_id, num_envs, device)
        self.num_envs = num_envs
        self.single_observation_space = self.tensors.observation_space
        self.single_action_space = self.tensors.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def on_host(self, num_envs: int) -> VectorEnv:
        """Return so many environments of the same task that are stepped by the host."""
        return classic.CompiledVectorEnv(self.tensors.task, num_envs)
