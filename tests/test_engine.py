"""The fused engine has the numbers of snntorch: spikes, membranes, traces and whole updates."""

from __future__ import annotations

import pytest
import torch
from conftest import make_policy
from hypothesis import given, settings
from hypothesis import strategies as st
from test_learner import small_trainer
from torch.testing import assert_close

from lfcs.engine import ENGINES, GATHER_FROM, make_engine
from lfcs.errors import UserError

EXACT = {"rtol": 0.0, "atol": 1e-10}


def both(policy, x, reset):
    """Run both engines over inputs [T, B, D] with resets [T, B]; return their states by tick."""
    states = {}
    for name in ENGINES:
        engine, state, states[name] = make_engine(name, policy), policy.initial_state(x.shape[1]), []
        for x_t, reset_t in zip(x, reset, strict=True):
            state = engine.tick(x_t, state.cleared(reset_t))
            states[name].append(state)
    return states["fused"], states["snntorch"]


@pytest.mark.parametrize("neurons,batch", [(2, 1), (40, 5), (GATHER_FROM, 3), (GATHER_FROM + 7, 1)])
def test_same_numbers_over_a_thousand_steps(double, neurons, batch):
    policy, _ = make_policy(neurons, inputs=4, seed=neurons)
    g = torch.Generator().manual_seed(0)
    x, reset = torch.randn(1000, batch, 4, generator=g), torch.rand(1000, batch, generator=g) < 0.01
    fused, witness = both(policy, x, reset)
    assert 0.02 < torch.stack([s.spk for s in witness]).mean() < 0.6
    for a, b in zip(fused, witness, strict=True):
        assert torch.equal(a.spk, b.spk)
        for field in ("mem", "readout", "trace"):
            assert_close(getattr(a, field), getattr(b, field), **EXACT)


def test_single_precision_agrees_until_the_first_flipped_spike():
    policy, _ = make_policy(64, inputs=4)
    fused, witness = both(policy, torch.randn(500, 8, 4), torch.zeros(500, 8, dtype=torch.bool))
    agreed = 0
    for a, b in zip(fused, witness, strict=True):
        assert_close(a.mem, b.mem, rtol=0, atol=1e-4)
        if not torch.equal(a.spk, b.spk):
            break
        agreed += 1
    assert agreed > 20


options = st.fixed_dictionaries(
    {
        "network__neurons": st.sampled_from([2, 9, GATHER_FROM + 3]),
        "network__ticks": st.integers(1, 3),
        "train__num_envs": st.integers(1, 4),
        "encoder__kind": st.sampled_from(["population", "standardised", "identity"]),
        "rule__mask": st.sampled_from(["sided", "two-sided"]),
        "rule__feedback": st.sampled_from(["symmetric", "random"]),
        "rule__homeostasis": st.sampled_from([0.0, 1.0]),
        "rule__tau_f": st.integers(1, 12),
        "rule__tail": st.integers(0, 5),
        "rule__replays": st.integers(1, 3),
        "rule__normalise": st.booleans(),
    }
)


@settings(max_examples=25, deadline=None)
@given(options, st.integers(0, 1000))
def test_whole_updates_are_the_same(options, seed):
    """Acting, resets inside the window (episodes last 10 of 12 steps) and R passes, through both engines."""
    torch.set_default_dtype(torch.float64)
    try:
        trainers = [small_trainer(seed=seed, engine=name, **options) for name in ENGINES]
        metrics = [[t.window() for _ in range(3)] for t in trainers]
        for a, b in zip(*metrics, strict=True):
            assert a.keys() == b.keys()
            assert all(a[k] == pytest.approx(b[k], rel=1e-8, abs=1e-10, nan_ok=True) for k in a)
        for name in ("hidden", "readout"):
            assert_close(*(getattr(t.learner.policy, name) for t in trainers), **EXACT)
            assert_close(*(getattr(t.reference, name) for t in trainers), **EXACT)
    finally:
        torch.set_default_dtype(torch.float32)


def test_engines_refuse_states_that_do_not_fit():
    policy, _ = make_policy()
    for name in ENGINES:
        engine, state = make_engine(name, policy), policy.initial_state(4)
        for wrong in (state._replace(mem=state.mem[:, :3]), state._replace(trace=state.trace[:, :2])):
            with pytest.raises(ValueError):
                engine.tick(torch.zeros(4, 3), wrong)
        with pytest.raises(ValueError):
            engine.tick(torch.zeros(3, 3), state)
    with pytest.raises(UserError, match="did you mean snntorch"):
        make_engine("sntorch", policy)


def test_engines_read_the_parameters_as_they_change():
    policy, _ = make_policy()
    x = torch.ones(2, 3)
    engine = make_engine("fused", policy)
    with torch.no_grad():
        policy.input.weight += 1.0
        policy.recurrent.mul_(2.0)
    assert_close(engine.tick(x, policy.initial_state(2)).mem, policy.tick(x, policy.initial_state(2)).mem)
