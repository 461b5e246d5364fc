"""``network.memory=false``, the control: every step begins at rest, on all paths, and no credit goes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import make_policy, random_window
from test_compiled import Pair, hold_to_the_witness
from test_compiled_acting import assert_same_runs, trainer_of
from torch.testing import assert_close

from lfcs.engines import BpttEngine, CompiledEngine, SnntorchEngine, TensorEngine

ENGINES = [SnntorchEngine, TensorEngine, CompiledEngine, BpttEngine]
BATCH, STEPS = 4, 6


def lived(engine_type, memory, ticks, steps=STEPS):
    """Return an engine, its network at rest, inputs, and resets at the first step alone."""
    network, head = make_policy(12, ticks=ticks, memory=memory)
    x, _, reset = random_window(network, head, steps, BATCH)
    reset[1:] = False
    return engine_type(network), network.initial_state(BATCH), x, reset


@pytest.mark.parametrize("ticks", [1, 3])
@pytest.mark.parametrize("engine_type", ENGINES)
def test_a_step_does_not_depend_on_what_was_before(double, engine_type, ticks):
    for memory in (True, False):
        engine, rest, x, reset = lived(engine_type, memory, ticks)
        whole = engine.run(x, rest, reset)
        assert 0.05 < whole.states.spk.mean() < 0.8
        same = []
        for t in range(STEPS):
            alone = engine.run(x[t : t + 1], rest, torch.ones(1, BATCH, dtype=torch.bool))
            same.append(torch.equal(alone.params[0], whole.params[t]) and torch.equal(alone.value[0], whole.value[t]))
        assert same == [True] + [not memory] * (STEPS - 1)


@pytest.mark.parametrize("ticks", [1, 3])
@pytest.mark.parametrize("engine_type", ENGINES)
def test_a_gradient_is_the_sum_of_those_of_single_steps(double, engine_type, ticks):
    for memory in (True, False):
        engine, rest, x, reset = lived(engine_type, memory, ticks)
        outputs, n = engine.network.readout.shape[0], 12
        sizes = (STEPS, BATCH, outputs), (outputs, n), (n,)
        error, feedback, drive = (torch.randn(size, dtype=torch.float64) for size in sizes)

        def gradient(part, engine=engine, rest=rest, x=x, reset=reset, given=(error, feedback, drive)):
            first = reset[part].clone()
            first[0] = True
            seen = engine.run(x[part], rest, first, differentiable=True).states
            by_tick = torch.zeros(len(seen.data), BATCH, dtype=torch.bool)
            by_tick[0] = True
            return [g.clone() for g in engine.gradients(seen, by_tick, given[0][part], *given[1:])]

        whole = gradient(slice(0, STEPS))
        single = [sum(parts) for parts in zip(*(gradient(slice(t, t + 1)) for t in range(STEPS)), strict=True)]
        if memory:
            assert (whole[0] - single[0]).abs().max() > 0.01
        else:
            for got, wanted in zip(whole, single, strict=True):
                assert_close(got, wanted, rtol=1e-10, atol=1e-10)
                assert got.abs().max() > 0.01


@pytest.mark.parametrize("ticks", [1, 2])
def test_the_compiled_learner_equals_its_definition(double, ticks):
    hold_to_the_witness(Pair("lf-cs", ticks, network={"memory": False}))


@pytest.mark.parametrize("settings", [{}, {"network__ticks": 2, "rule__tail": 0}])
def test_acting_is_the_same_whatever_steps_the_environments(settings):
    one, other = (trainer_of(network__memory=False, train__env_kind=kind, **settings) for kind in ("auto", "plain"))
    assert_same_runs(one, other)


def test_python_and_compiled_acting_see_the_same():
    """Values, bootstraps and parameters of a window are those of the Python engine from rest at every step."""
    trainer = trainer_of(network__memory=False)
    traj, network = trainer.rollout.collect(30), trainer.reference
    engine, rest = SnntorchEngine(network), network.initial_state(30 * traj.x.shape[1])
    seen = engine.run(traj.x.flatten(0, 1)[None], rest, torch.ones(1, len(rest.data), dtype=torch.bool))
    assert_close(seen.params[0].view_as(traj.params), traj.params, rtol=1e-5, atol=1e-6)
    assert_close(seen.value[0].view_as(traj.value), traj.value, rtol=1e-5, atol=1e-6)
    final, cut = traj.final[29], traj.state.cleared(torch.ones(traj.x.shape[1], dtype=torch.bool))
    beyond = engine.run(final[None], cut, torch.zeros_like(traj.reset[:1])).value[0]
    assert_close(beyond, traj.bootstrap[-1], rtol=1e-5, atol=1e-6)
    assert not traj.reset[1:].all() and float(seen.states.spk.mean()) > 0.02


def test_predict_and_evaluation_forget():
    trainer = trainer_of("toys:Guess-v0", network__memory=False)
    policy, obs = trainer.policy, np.eye(3)[np.array([0, 1, 2, 0, 1, 2])]
    state, seen = None, []
    for row in obs:
        action, state = policy.predict(row, state, deterministic=True)
        seen.append((int(action), state[0]))
    for t in range(3):
        assert seen[t][0] == seen[t + 3][0] and np.array_equal(seen[t][1], seen[t + 3][1])
    lengths = [trainer.play(20, 5, False), trainer.play(20, 5, False)]
    assert np.array_equal(lengths[0][0], lengths[1][0])


def test_the_online_form_keeps_its_traces():
    """Credit by traces goes back over steps, which only says which step's own gradient a reward multiplies."""
    given = {"rule__form": "online", "agent__mask": "two-sided", "rule__normalise": False, "rule__replays": 1}
    given |= {"rule__window": 5, "rule__tau_f": 5, "rule__tau_s": 5, "network__memory": False}
    trainer = trainer_of("toys:Guess-v0", **given)
    for _ in range(3):
        trainer.window()
    assert all(trace.abs().max() > 0 for trace in trainer.learner.traces[:2])
