"""The fused engine has the numbers of snntorch: spikes, membranes, traces and whole updates."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from conftest import in_double, make_policy
from hypothesis import given, settings
from hypothesis import strategies as st
from test_learner import small_trainer
from torch.testing import assert_close

from lfcs import run
from lfcs.device_rollout import DeviceRollout
from lfcs.engines import ENGINES as EVERY
from lfcs.engines import CompiledEngine, SnntorchEngine, TensorEngine, make_engine
from lfcs.errors import UserError
from lfcs.network import NetState
from lfcs.trajectory import Trajectory

EXACT = {"rtol": 0.0, "atol": 1e-10}


ENGINES = [name for name in EVERY if name != "fixed"]  # which does not learn
FAST = [TensorEngine, CompiledEngine]


@pytest.mark.parametrize("engine", FAST)
@pytest.mark.parametrize("neurons,batch,ticks", [(2, 1, 1), (40, 5, 2), (256, 3, 1), (263, 4, 1)])
def test_same_numbers_over_a_thousand_ticks(double, engine, neurons, batch, ticks):
    policy, _ = make_policy(neurons, inputs=5, seed=neurons, ticks=ticks)
    g = torch.Generator().manual_seed(0)
    steps = 1000 // ticks
    x = torch.randn(steps, batch, 5, generator=g, dtype=torch.float64)
    reset = torch.rand(steps, batch, generator=g) < 0.01
    fast, witness = (make(policy).run(x, policy.initial_state(batch), reset) for make in (engine, SnntorchEngine))
    assert 0.02 < witness.states.spk.mean() < 0.6
    assert torch.equal(fast.states.spk, witness.states.spk)
    assert_close(fast.states.data, witness.states.data, **EXACT)
    assert_close(fast.params, witness.params, **EXACT)
    assert_close(fast.value, witness.value, **EXACT)


@pytest.mark.parametrize("engine", FAST)
def test_single_precision_agrees_until_the_first_flipped_spike(engine):
    policy, _ = make_policy(64, inputs=4)
    x, reset = torch.randn(500, 8, 4), torch.zeros(500, 8, dtype=torch.bool)
    fast, witness = (make(policy).run(x, policy.initial_state(8), reset) for make in (engine, SnntorchEngine))
    fast, witness = fast.states, witness.states
    same = (fast.spk == witness.spk).all(-1)
    agreed = 0
    for b in range(8):  # each environment on its own: the others do not see its flip
        flipped = torch.nonzero(~same[:, b])
        until = int(flipped[0]) + 1 if len(flipped) else len(x)
        assert_close(fast.mem[:until, b], witness.mem[:until, b], rtol=0, atol=1e-4)
        agreed += until
    assert agreed > 8 * 100


def test_results_do_not_depend_on_company_or_chunks():
    """Bit by bit: an environment alone or among others, step by step or all steps in one call."""
    policy, _ = make_policy(33, inputs=5, ticks=2)
    g = torch.Generator().manual_seed(0)
    x, reset = torch.randn(30, 7, 5, generator=g), torch.rand(30, 7, generator=g) < 0.1
    engine, start = CompiledEngine(policy), policy.initial_state(7)
    whole = engine.run(x, start, reset)
    state, stepwise = start, []
    for t in range(30):
        stepwise.append(engine.run(x[t : t + 1], state, reset[t : t + 1]))
        state = stepwise[-1].states.at(-1)
    alone = engine.run(x[:, 2:3], start.at(slice(2, 3)), reset[:, 2:3])
    assert torch.equal(torch.cat([s.states.data for s in stepwise]), whole.states.data)
    assert torch.equal(torch.cat([s.value for s in stepwise]), whole.value)
    assert torch.equal(alone.states.data, whole.states.data[:, 2:3])
    assert torch.equal(alone.params, whole.params[:, 2:3])


@pytest.mark.parametrize("block", [1, 20, 10**6])
def test_gradients_do_not_depend_on_the_block(double, monkeypatch, block):
    policy, _ = make_policy(33, inputs=5, ticks=2)
    g = torch.Generator().manual_seed(0)
    x, reset = torch.randn(30, 7, 5, generator=g, dtype=torch.float64), torch.rand(30, 7, generator=g) < 0.1
    by_tick = torch.zeros(60, 7, dtype=torch.bool)
    by_tick[::2] = reset
    shapes = (28, 7, 4), (4, 33), (33,)
    error, feedback, drive = (torch.randn(*shape, generator=g, dtype=torch.float64) for shape in shapes)
    monkeypatch.setattr("lfcs.engines.compiled.BLOCK", block)
    found = []
    for engine in (CompiledEngine(policy), SnntorchEngine(policy)):
        seen = engine.run(x, policy.initial_state(7), reset)
        found.append(engine.gradients(seen.states, by_tick, error, feedback, drive))
    for ours, witness in zip(*found, strict=True):
        assert_close(ours, witness, **EXACT)
        assert ours.abs().max() > 1e-3


LFCS = {"agent": "lf-cs"}
options = st.fixed_dictionaries(
    {
        "network__neurons": st.sampled_from([2, 9, 260]),
        "network__ticks": st.integers(1, 3),
        "network__neuron": st.sampled_from(["lif", "lif", "alif"]),
        "network__tau_m_max": st.sampled_from([0.0, 0.0, 30.0]),
        "train__num_envs": st.integers(1, 4),
        "encoder__kind": st.sampled_from(["population", "standardised", "identity"]),
        "rule__feedback": st.sampled_from(["symmetric", "random"]),
        "rule__homeostasis": st.sampled_from([0.0, 1.0]),
        "rule__tau_f": st.integers(1, 12),
        "rule__tail": st.integers(0, 5),
        "rule__replays": st.integers(1, 3),
        "agent": st.sampled_from([LFCS, LFCS | {"agent__mask": "two-sided"}, {"agent": "acer"}, {"agent": "v-trace"}]),
        "replay__capacity": st.sampled_from([0, 0, 2]),
        "rule__normalise": st.booleans(),
    }
)


@settings(max_examples=25, deadline=None)
@given(options, st.integers(0, 1000))
def test_whole_updates_are_the_same(options, seed):
    """Acting, resets inside the window (episodes last 10 of 12 steps) and R passes, through both engines."""
    with in_double():
        own = {k: v for k, v in options.items() if k != "agent"} | options["agent"]
        trainers = [small_trainer(seed=seed, engine=name, **own) for name in ENGINES]
        metrics = [[t.window() for _ in range(3)] for t in trainers]
        for a, *others in zip(*metrics, strict=True):
            for b in others:
                assert a.keys() == b.keys()
                assert all(a[k] == pytest.approx(b[k], rel=1e-8, abs=1e-10, nan_ok=True) for k in a)
        for name in ("hidden", "readout"):
            first, *others = trainers
            for other in others:
                ours, theirs = first.learner.update.network, other.learner.update.network
                assert_close(getattr(ours, name), getattr(theirs, name), **EXACT)
                assert_close(getattr(first.reference, name), getattr(other.reference, name), **EXACT)


def test_engines_refuse_states_that_do_not_fit():
    policy, _ = make_policy()
    for name in ENGINES:
        engine, state = make_engine(name, policy), policy.initial_state(4)
        reset = torch.zeros(2, 4, dtype=torch.bool)
        for wrong in (NetState(state.data[:, :9], 7), NetState(state.data.double(), 7), state.at(slice(0, 3))):
            with pytest.raises(ValueError):
                engine.run(torch.zeros(2, 4, 3), wrong, reset)
        for x, clear in (
            (torch.zeros(2, 3, 3), reset),
            (torch.zeros(2, 4, 2), reset),
            (torch.zeros(2, 4, 3), reset[:1]),
        ):
            with pytest.raises(ValueError):
                engine.run(x, state, clear)
    with pytest.raises(UserError, match="did you mean snntorch"):
        make_engine("sntorch", policy)


def test_engines_read_the_parameters_as_they_change():
    policy, _ = make_policy()
    x, reset = torch.ones(1, 2, 3), torch.zeros(1, 2, dtype=torch.bool)
    engine = make_engine("fused", policy)
    with torch.no_grad():
        policy.input.weight += 1.0
        policy.recurrent.mul_(2.0)
        policy.value_readout.bias += 1.0
    state = policy.initial_state(2)
    seen, after = engine.run(x, state, reset), policy.tick(x[0], state)
    assert_close(seen.states.mem[0], after.mem.detach())
    assert_close(seen.value[0], policy.read(after, x[0])[1].detach())


def test_results_do_not_depend_on_threads():
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        trainer = small_trainer(network__neurons=512, train__num_envs=16)
        trainer.window()
        found.append((trainer.learner.update.network.hidden, trainer.learner.update.network.readout))
    torch.set_num_threads(1)
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("form", ["window", "online"])
def test_cuda_has_the_same_numbers_and_does_not_wait(double, form):
    """One trajectory, learned from on both devices; within the window the host never waits for the device."""
    settings = {"rule__form": form, "agent__mask": "two-sided", "rule__normalise": False, "rule__replays": 1}
    on_cpu, on_cuda = (
        small_trainer(device=device, rule__tau_f=12 if form == "online" else 4, **settings)
        for device in ("cpu", "cuda")
    )
    on_cuda.learner.update.network.load_state_dict(on_cpu.learner.update.network.state_dict())
    traj = on_cpu.rollout.collect(12)
    parts = {f.name: getattr(traj, f.name) for f in dataclasses.fields(traj)}
    parts |= {k: v.cuda() for k, v in parts.items() if isinstance(v, torch.Tensor)}
    parts["final"] = {t: x.cuda() for t, x in traj.final.items()}
    parts["state"] = NetState(traj.state.data.cuda(), traj.state.neurons)
    expected, learner = on_cpu.learner.learn(traj, 1.0), on_cuda.learner
    torch.cuda.set_sync_debug_mode("error")
    try:
        record = learner.learn(Trajectory(**parts), 1.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_close(record.norm.cpu(), expected.norm, rtol=1e-8, atol=0)
    for name in ("hidden", "readout"):
        assert_close(*(getattr(t.learner.update.network, name).cpu() for t in (on_cuda, on_cpu)), **EXACT)
    on_cuda.window()  # acting as well


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1"])
def test_cuda_acts_and_learns_without_waiting(tmp_path, env):
    """End to end, environments too; then a whole run, which is evaluated, cut and resumed."""
    trainer = small_trainer(env, device="cuda", train__num_envs=64)
    assert isinstance(trainer.rollout, DeviceRollout)
    trainer.window()
    torch.cuda.set_sync_debug_mode("error")
    try:
        traj = trainer.rollout.collect(12)
        record = trainer.learner.learn(traj, 1.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert traj.x.is_cuda and torch.isfinite(traj.bootstrap).all()
    assert all(map(math.isfinite, trainer.learner.update.metrics(record).values()))
    few = {"num_envs": 64, "final_episodes": 2, "eval_episodes": 2, "checkpoint_every": 1}
    given = {"device": "cuda", "steps": 64 * 30, "train": few, "rule": {"window": 10, "tau_s": 10}}
    whole = run.train(env, run_dir=tmp_path / "whole", **given)
    assert whole.summary["env_steps"] == 64 * 30 and math.isfinite(whole.summary["mean_return"])
    (tmp_path / "whole" / "summary.json").unlink()
    sorted((tmp_path / "whole" / "checkpoints").glob("step_*.npz"))[-1].unlink()
    assert run.resume(tmp_path / "whole").summary["mean_return"] == whole.summary["mean_return"]
