"""Tasks as tensors step as the compiled ones, and never wait for the device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lfcs.envs import classic
from lfcs.envs.on_device import FORMS, DeviceEnvs
from lfcs.errors import UserError

COUNT = 64


def actions(space, rng):
    if space.shape:
        most = 1.5 * float(space.high[0])
        return rng.uniform(-most, most, (COUNT, 1)).astype(np.float32)
    return rng.integers(space.n, size=COUNT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("env_id", FORMS)
def test_steps_are_those_of_the_compiled_task(env_id, dtype):
    """The compiled task's states, one after another: a step from each, observed in single precision there."""
    exact = dtype == torch.float64 and env_id != "MountainCarContinuous-v0"  # which is in single precision itself
    ours = DeviceEnvs(env_id, COUNT, seed=0, dtype=dtype)
    theirs = classic.CompiledVectorEnv(classic.find(env_id), COUNT)
    theirs.reset(seed=0)
    theirs.elapsed[::2] = theirs.limit - 5  # so that the time limit is met
    rng, size, ends = np.random.default_rng(0), ours.state.shape[1], np.zeros(2)
    if env_id.startswith("MountainCar"):
        theirs.state[::3, 0] = rng.uniform(-1.2, 0.5, len(theirs.state[::3]))  # walls and goal are near
        theirs.state[::3, 1] = rng.uniform(-0.07, 0.07, len(theirs.state[::3]))
    for _ in range(250):
        ours.state = torch.from_numpy(theirs.state[:, :size].copy()).to(dtype)
        ours.elapsed = torch.from_numpy(theirs.elapsed.copy())
        action = actions(ours.action_space, rng)
        obs, reward, terminated, truncated, infos = theirs.step(action)
        got = ours.step(torch.from_numpy(action))
        over = terminated | truncated
        led_to = np.where(over[:, None], infos.get("final_obs", obs), obs)
        np.testing.assert_allclose(got[4].numpy(), led_to, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(got[1].numpy(), reward, rtol=1e-5, atol=1e-7 if exact else 1e-5)
        assert np.array_equal(got[2].numpy(), terminated) and np.array_equal(got[3].numpy(), truncated)
        if exact:
            np.testing.assert_allclose(ours.state[~over].numpy(), theirs.state[~over, :size], rtol=1e-12, atol=1e-12)
        assert torch.equal(got[0][~over], got[4][~over]) and torch.equal(ours.elapsed, torch.from_numpy(theirs.elapsed))
        ends += terminated.sum(), truncated.sum()
    assert ends[1] and (ends[0] or env_id in ("Pendulum-v1", "Acrobot-v1"))


def test_the_acrobot_is_swung_up():
    ours = DeviceEnvs("Acrobot-v1", COUNT)
    swung = sum(int(ours.step(torch.where(ours.obs[:, 5] > 0, 2, 0))[2].sum()) for _ in range(300))
    assert swung > COUNT


@pytest.mark.parametrize("env_id", FORMS)
def test_starts_are_uniform_within_gymnasiums_bounds_and_repeat_with_the_seed(env_id):
    one, same, other = (DeviceEnvs(env_id, 4096, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.state, same.state) and not torch.equal(one.state, other.state)
    task, rng = classic.find(env_id), np.random.default_rng(0)
    drawn = task.draw(rng, 4096)[:, : one.state.shape[1]]
    for q in (0.0, 0.25, 0.5, 0.75, 1.0):
        ours, theirs = np.quantile(one.state.numpy(), q, axis=0), np.quantile(drawn, q, axis=0)
        assert (np.abs(ours - theirs) <= 0.05 * np.ptp(drawn, axis=0) + 1e-9).all()
    observed = np.zeros((5, task.observation_space.shape[0]), np.float32)
    envs = classic.CompiledVectorEnv(task, 5)
    envs.starts, envs.used[:] = np.zeros((5, 1, task.size)), 0
    observed, _ = envs.reset(seed=1)
    one.state = torch.from_numpy(envs.state[:, : one.state.shape[1]].copy())
    np.testing.assert_allclose(one.form.observe(one.state).numpy(), observed, rtol=1e-6, atol=1e-6)


def test_a_step_never_waits_for_the_device(monkeypatch):
    envs = {env_id: DeviceEnvs(env_id, COUNT) for env_id in FORMS}

    def waits(*_):
        raise AssertionError("the value of a tensor was asked for")

    for name in ("__bool__", "item", "tolist", "cpu", "numpy", "__float__", "__int__", "__index__", "nonzero"):
        monkeypatch.setattr(torch.Tensor, name, waits)
    for made in envs.values():
        for _ in range(3):
            made.step(torch.zeros(COUNT))


def test_an_environment_that_does_not_run_on_a_device_is_one_line():
    for env_id in ("toys:Clock-v0", "CartPol-v1"):
        with pytest.raises(UserError, match="does not run on a device"):
            DeviceEnvs(env_id, 2)
