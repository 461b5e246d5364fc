"""Acting and learning where the environments are tensors: the plain path's numbers, without a wait within a window."""

from __future__ import annotations

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from test_learner import small_trainer
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from lfcs import cli, run
from lfcs.config import EncoderConfig
from lfcs.configure import build_config
from lfcs.device_rollout import DeviceRollout, Moments, has_tensor_form
from lfcs.envs import classic, described, encoders, make_encoder, make_vec
from lfcs.envs.on_device import DeviceEnvs, DeviceVectorEnv
from lfcs.errors import UserError
from lfcs.optimiser import Adam
from lfcs.rollout import Rollout

ON = {"train__env_kind": "device", "train__num_envs": 6}
WAITS = "item", "__bool__", "__int__", "__float__", "__index__", "tolist", "nonzero", "cpu", "numpy"
gymnasium.register(
    "FiveStepCartPole-v0", entry_point="gymnasium.envs.classic_control.cartpole:CartPoleEnv", max_episode_steps=5
)


class NoWaits(TorchDispatchMode):
    """Raises where an operation would wait: it reads a number, counts what is true, or copies from Python's numbers."""

    WAITING = "_local_scalar_dense", "nonzero", "masked_select", "unique", "equal", "is_nonzero", "lift_fresh"

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        waits = name.startswith(self.WAITING) or name in ("_unique2", "unique_dim", "bincount", "repeat_interleave")
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            waits = any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        if name == "where":  # moves a number of Python's to the device, where masked_fill hands it over
            waits = any(operand.ndim == 0 for operand in args[1:])
        if waits:
            raise AssertionError(f"{name} waits for the device")
        return func(*args, **(kwargs or {}))


class OnHost(gymnasium.vector.VectorEnv):
    """Device environments stepped as gymnasium's are, for the plain rollout."""

    def __init__(self, env_id, count):
        self.tensors, self.num_envs = DeviceEnvs(env_id, count), count

    def reset(self, *, seed=None, options=None):
        return self.tensors.reset(seed).numpy(), {}

    def step(self, actions):
        obs, reward, terminated, truncated, final = self.tensors.step(torch.from_numpy(actions))
        return obs.numpy(), reward.double().numpy(), terminated.numpy(), truncated.numpy(), {"final_obs": final.numpy()}


@pytest.mark.parametrize("dtype,close", [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("kind", ["identity", "standardised", "population"])
def test_encoders_have_the_same_numbers_as_tensors(kind, dtype, close):
    """Of unbounded, bounded and constant numbers; in float64 against the compiled form before it is rounded."""
    large = np.float32(np.finfo(np.float32).max)
    space = gymnasium.spaces.Box(np.array([-1, -large, -3, -large], np.float32), np.array([1, large, 5, large]))
    encoder = make_encoder(space, EncoderConfig(kind=kind, cells=11))
    moments, rng = Moments(encoder.loops(), torch.device("cpu")), np.random.default_rng(0)
    for size in (1, 40, 7):
        obs = rng.normal(2.0, 3.0, (size, 4)) * [0.5, 30.0, 1.0, 0.0] + [0.0, 5.0, 0.0, 4.0]
        obs = obs.astype(np.float32)
        encoder.observe(obs)
        moments.follow(torch.from_numpy(obs))
        own = encoder.loops()
        mean, std, constants = own.mean, np.sqrt(own.m2 / own.observed[0]), own.constants
        std = np.where(std > 1e-8, std, 1.0)
        assert_close(moments.mean, torch.tensor(mean), rtol=1e-12, atol=1e-12)
        assert_close(moments.std(), torch.tensor(std), rtol=1e-12, atol=1e-12)
        got = encoder.encode_tensor(torch.from_numpy(obs).to(dtype), moments.mean, moments.std(), moments.constants)
        assert got.dtype == dtype
        expected = torch.from_numpy(encoder.encode(obs)).double()
        assert_close(got.double(), expected, rtol=1e-6, atol=1e-6)
        exact = np.empty((size, encoder.size))
        for row, out in zip(obs.astype(np.float64), exact, strict=True):
            type(encoder).encoding.function(row, mean, std, constants, out)
        assert_close(got.double(), torch.from_numpy(exact), rtol=close, atol=close)


def test_an_encoder_that_changes_what_is_encoded_has_no_form_on_tensors():
    class Louder(encoders.Standardised):
        def encode(self, obs):
            return 2.0 * super().encode(obs)

    class Renamed(encoders.Population):
        pass

    assert has_tensor_form(Renamed) and has_tensor_form(encoders.Identity) and not has_tensor_form(Louder)
    assert not has_tensor_form(int)


ROLLED = ["CartPole-v1", "FiveStepCartPole-v0", "MountainCar-v0", "Pendulum-v1", "MountainCarContinuous-v0"]


@pytest.mark.parametrize("env", ROLLED)
def test_a_rollout_on_the_device_is_the_plain_one(double, env):
    """The same trajectory, metrics and values of what was cut, over windows longer than a time limit and across it."""
    config = {"rule__window": 12, "rule__tau_s": 12, **ON}
    trainer = small_trainer(env, **config)
    other = small_trainer(env, **config)
    plain = Rollout(OnHost(env, 6), other.policy)
    plain.refresh(0)
    ours = trainer.rollout
    assert isinstance(ours, DeviceRollout)
    for count in range(4):
        if env == "MountainCar-v0" and count == 1:
            for tensors in (ours.tensors, plain.envs.tensors):
                tensors.elapsed[::2] = 195
        found, expected = ours.collect(12), plain.collect(12)
        for field in dataclasses.fields(found):
            one, two = getattr(found, field.name), getattr(expected, field.name)
            if isinstance(two, torch.Tensor) and field.name != "bootstrap":
                assert_close(one, two, rtol=0, atol=1e-6, msg=field.name)
        ends = expected.truncated.clone()
        ends[-1] = True
        assert_close(found.bootstrap[ends], expected.bootstrap[ends], rtol=0, atol=1e-6)
        seen = [
            trainer.learner.look(dataclasses.replace(traj, value=expected.value, logp_ref=expected.logp_ref))
            for traj in (found, expected)
        ]
        assert_close(seen[0].bootstrap[ends], seen[1].bootstrap[ends], rtol=0, atol=1e-6)
        assert_close(seen[0].bootstrap[ends], found.bootstrap[ends], rtol=0, atol=1e-6)
        assert ours.metrics() == pytest.approx(plain.metrics()) and ours.env_steps == plain.env_steps
        assert expected.truncated.any() or env not in ROLLED[1:3] or (env == "MountainCar-v0" and count != 1)
    if env in ROLLED[3:]:
        assert (found.action.abs() > 1.0).any()  # which the environments are given clipped
    if env == "FiveStepCartPole-v0":
        assert found.cuts.at.shape == (3, 6) and (found.cuts.at[0] >= 0).all()


def test_what_waits_is_found():
    mask, numbers = torch.tensor([True, False]), torch.ones(2)

    def where():
        return torch.where(mask, 0.0, numbers)

    for waiting in (lambda: numbers[mask], lambda: torch.tensor([1.0]), numbers.nonzero, numbers.sum().item, where):
        with pytest.raises(AssertionError, match="waits"), NoWaits():
            waiting()


FORMS = [("lf-cs", "window"), ("lf-cs", "online"), ("v-trace", "window"), ("acer", "window")]
EVERY = [(env, *form) for env in ("CartPole-v1", "FiveStepCartPole-v0", "Acrobot-v1") for form in FORMS]


@pytest.mark.parametrize("env,agent,form", [*EVERY, ("Pendulum-v1", "lf-cs", "window")])
def test_nothing_waits_within_a_window(monkeypatch, env, agent, form):
    settings = dict(ON)
    if form == "online":
        settings |= {
            "rule__form": "online", "rule__tau_f": 12, "rule__replays": 1, "rule__normalise": False,
            "agent__mask": "two-sided",
        }  # fmt: skip
    trainer = small_trainer(env, agent=agent, **settings)
    trainer.window()
    for _ in range(2):
        with monkeypatch.context() as patched:

            def waits(*_):
                raise AssertionError("the value of a tensor was asked for")

            for name in WAITS:
                patched.setattr(torch.Tensor, name, waits)
            with NoWaits():
                trajectory = trainer.rollout.collect(12)
                record = trainer.learner.learn(trajectory, 1.0)
        found = trainer.learner.update.metrics(record) | trainer.rollout.metrics()
        assert all(np.isfinite(value) for value in found.values()) and found["spikes/rate_mean"] > 0


def test_an_update_is_that_of_the_plain_learner(double):
    """From one trajectory, of cuts as tensors or by step: the same weights."""
    trainers = [small_trainer("FiveStepCartPole-v0", **ON) for _ in range(2)]
    traj = trainers[0].rollout.collect(12)
    final = dict(traj.final)
    for at, x in zip(traj.cuts.at, traj.cuts.x, strict=True):
        for b, t in enumerate(at.tolist()):
            if t >= 0:
                final.setdefault(t, traj.x[t].clone())[b] = x[b]
    assert len(final) > 2
    one, two = trainers[0].learner, trainers[1].learner
    one.learn(traj, 1.0)
    two.learn(dataclasses.replace(traj, cuts=None, final=final), 1.0)
    for name in ("hidden", "readout"):
        assert_close(*(getattr(t.update.network, name) for t in (one, two)), rtol=0, atol=1e-10)


def test_kinds_of_environments():
    vec = make_vec("CartPole-v1", 3, kind="device")
    assert isinstance(vec, DeviceVectorEnv) and described(vec) == "3 environments, device"
    assert isinstance(vec.on_host(2), classic.CompiledVectorEnv) and vec.on_host(2).num_envs == 2
    assert described(make_vec("CartPole-v1", 3, "auto")) == "3 environments, compiled"
    for env in ("toys:Clock-v0", "toys:Box-v0"):
        with pytest.raises(UserError, match=r"no form of .* as tensors"):
            make_vec(env, 3, kind="device")
    with pytest.raises(UserError, match="needs train"):
        make_vec("CartPole-v1", 3, "2", "device")


def test_on_another_device_environments_go_there_where_the_encoder_can(monkeypatch):
    """What ``auto`` asks for, without a device to be asked."""
    asked = []
    monkeypatch.setattr(DeviceVectorEnv, "__init__", lambda self, *given: asked.append(given))
    make_vec("CartPole-v1", 3, device="cuda")
    assert asked == [("CartPole-v1", 3, "cuda")]
    assert described(make_vec("toys:Clock-v0", 3, device="cuda")) == "3 environments, plain"
    workers = make_vec("CartPole-v1", 3, "1", device="cuda")
    assert described(workers) == "3 environments, plain, in 1 worker"
    workers.close()


def test_an_encoder_without_a_form_on_tensors_is_one_line():
    with pytest.raises(UserError, match="encoder Loud has no form on tensors"):
        small_trainer("CartPole-v1", encoder__kind="test_device:Loud", **ON)


class Loud(encoders.Standardised):
    """Twice as loud."""

    def encode(self, obs):
        return 2.0 * super().encode(obs)


def test_a_cut_run_goes_on_bit_by_bit(tmp_path, capsys):
    """Environments, counted episodes, moments, generators and neurons come back."""
    settings = {
        "train.env_kind": "device", "train.num_envs": 4, "network.neurons": 12, "rule.window": 10, "rule.tau_s": 20,
        "train.checkpoint_every": 100, "train.eval_every": 200, "train.eval_episodes": 2, "train.final_episodes": 2,
    }  # fmt: skip

    def begin(folder):
        return run.begin(build_config("CartPole-v1", None, 480, 3, "cpu", "fused", settings), tmp_path / folder)

    whole = begin("whole")
    run.complete(whole)
    cut = begin("cut")
    cut._begin()
    for _ in range(5):
        metrics = cut._timed_window()
        cut.tell("window", metrics)
    cut.close()
    resumed = run.proceed(tmp_path / "cut")
    assert resumed.env_steps == 200 and isinstance(resumed.rollout, DeviceRollout)
    run.complete(resumed)
    for name in ("hidden", "readout"):
        assert torch.equal(getattr(resumed.reference, name), getattr(whole.reference, name))
    one, two = resumed.rollout.state_dict(), whole.rollout.state_dict()
    assert torch.equal(one["environments"]["state"], two["environments"]["state"])
    assert np.array_equal(one["episodes"], two["episodes"]) and len(one["episodes"])
    assert np.array_equal(resumed.policy.encoder.mean, whole.policy.encoder.mean)
    assert cli.main(["eval", str(tmp_path / "whole"), "--episodes", "2"]) == 0
    assert "2 episodes" in capsys.readouterr().out


def test_the_first_line_says_so(tmp_path, capsys):
    few = "train.env_kind=device train.num_envs=4 network.neurons=8 train.final_episodes=1 rule.window=8 rule.tau_s=8"
    argv = ["train", "CartPole-v1", "--steps", "64", "--run-dir", str(tmp_path / "run"), "--set", *few.split()]
    assert cli.main(argv) == 0
    assert capsys.readouterr().out.startswith("CartPole-v1: 4 environments, device\n")


def test_who_looks_sees_what_happened():
    trainer, seen = small_trainer("CartPole-v1", **ON), []
    traj = trainer.rollout.collect(12, seen.append)
    assert len(seen) == 12 and seen[0].began.all() and seen[3].obs.shape == (6, 4)
    assert np.array_equal(np.stack([m.action for m in seen]), traj.action.numpy())
    assert np.array_equal(np.stack([m.ended for m in seen]), (traj.terminated | traj.truncated).numpy())


def test_it_learns_cartpole_a_little():
    """Not a benchmark: after some windows episodes are longer."""
    trainer = small_trainer(
        "CartPole-v1", rule__window=32, rule__tau_s=32, network__neurons=48, rule__replays=4, rule__tau_f=8,
        train__env_kind="device", train__num_envs=32,
    )  # fmt: skip
    lengths = [trainer.window().get("rollout/ep_len_mean") for _ in range(25)]
    assert lengths[-1] > 1.5 * lengths[0]


def test_adam_by_tensors_on_a_cpu():
    weights = [torch.ones(3, 2)]
    adam = Adam(weights)
    adam.use_tensors()
    norm = adam.step((torch.full((3, 2), 2.0),), (0.1,), 100.0)
    assert_close(norm, torch.tensor(24.0**0.5))
    assert_close(weights[0], torch.full((3, 2), 1.1))
