"""Fixed point: whole numbers that are the same on every machine, saturate, and come near the real ones with more bits.

``python tests/test_fixed.py`` writes the golden file, which is only right where the arithmetic is meant to change.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_policy
from hypothesis import given, settings
from hypothesis import strategies as st

from lfcs import cli, load, run
from lfcs.engines import Fixed, FixedEngine, TensorEngine, fixed
from lfcs.errors import UserError
from lfcs.hardware import low_bits
from lfcs.hardware.quantise import Format, decays, quantise, scales, whole_network

GOLDEN = Path(__file__).parent / "golden_fixed.npz"


def random_fixed(seed, neurons=12, inputs=6, outputs=3, bits=4, state_bits=16, most_k=12):
    """Return a network of random integers that fires, with every kind of leak."""
    g = np.random.default_rng(seed)
    most = 2 ** (bits - 1) - 1
    k = g.integers(0, most_k + 1, neurons + 1)
    d = np.maximum(1, g.integers(0, 2, neurons + 1) * g.integers(1, 2 ** np.maximum(k, 1)))
    leaks = np.stack((np.minimum(d, 2**k), k))
    return Fixed(
        inputs=g.integers(-most, most + 1, (inputs, neurons)).astype(np.int8),
        recurrent=g.integers(-most, most + 1, (neurons, neurons)).astype(np.int8),
        bias=g.integers(-50, 200, neurons),
        threshold=g.integers(500, 1500, neurons),
        leak=leaks[:, :-1],
        readout=g.integers(-most, most + 1, (outputs, neurons)).astype(np.int8),
        readout_bias=g.integers(-1000, 1000, outputs),
        readout_leak=leaks[:, -1],
        shifts=g.integers(0, 5, 2),
        input_range=np.array([0, 255]),
        input_shift=8,
        state_bits=state_bits,
        weight_bits=bits,
        output_unit=np.full(outputs, 1.0),
    )


def by_definition(of, x, reset, ticks=1):
    """Return z, u, y [T, B, N] and outputs [S, B, K + 1] of integer inputs [S, B, D], tick by tick in numpy."""
    z, u, y = np.zeros((3, x.shape[1], len(of.bias)), np.int64)
    seen, out = [], []
    for t in range(len(x) * ticks):
        if t % ticks == 0:
            z, u, y = (np.where(reset[t // ticks, :, None], 0, part) for part in (z, u, y))
        z, u, y = fixed.tick(of, x[t // ticks], z, u, y)
        seen.append((z, u, y))
        if t % ticks == ticks - 1:
            out.append(fixed.read(of, y))
    return *(np.stack(part) for part in zip(*seen, strict=True)), np.stack(out)


def by_engine(of, x, reset, ticks=1):
    """Return the same by the engine, whose states are real numbers."""
    neurons, inputs = len(of.bias), len(of.inputs)
    network, _ = make_policy(neurons, inputs, len(of.readout) - 1, ticks=ticks, critic_path=False)
    engine = FixedEngine(network.double(), of)
    seen = engine.run(
        torch.from_numpy(x / 2**of.input_shift), network.initial_state(x.shape[1]), torch.from_numpy(reset)
    )
    out = torch.cat((seen.params, seen.value[..., None]), -1).numpy()
    return *engine.integers(seen.states), out


def golden():
    """Return what the golden file holds: a network, its inputs and what it does for 200 ticks."""
    of = random_fixed(7)
    x = np.random.default_rng(8).integers(0, 256, (200, 1, 6))
    reset = np.zeros((200, 1), bool)
    reset[100] = True
    z, u, y, out = by_definition(of, x, reset)
    numbers = {name: np.asarray(value) for name, value in of._asdict().items()}
    return numbers | {"x": x, "reset": reset, "z": z.astype(np.int8), "u": u.astype(np.int32), "y": y, "out": out}


@pytest.mark.parametrize("form", [by_definition, by_engine])
def test_the_golden_file_is_reproduced_bit_for_bit(form):
    with np.load(GOLDEN) as file:
        kept = dict(file)
    of = Fixed(**{name: kept[name][()] for name in Fixed._fields})
    z, u, y, out = form(of, kept["x"], kept["reset"])
    assert 0.05 < z.mean() < 0.7 and np.abs(kept["u"]).max() > 5000
    for found, name in ((z, "z"), (u, "u"), (y, "y"), (out, "out")):
        assert np.array_equal(found, kept[name]), name


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 3), st.sampled_from([2, 4, 8]), st.integers(11, 24))
def test_the_loop_is_the_definition(seed, batch, ticks, bits, state_bits):
    g = np.random.default_rng(seed)
    of = random_fixed(seed, bits=bits, state_bits=state_bits)
    x, reset = g.integers(0, 256, (20, batch, 6)), g.random((20, batch)) < 0.1
    for ours, theirs in zip(by_definition(of, x, reset, ticks), by_engine(of, x, reset, ticks), strict=True):
        assert np.array_equal(ours, theirs)


@given(st.integers(-(2**31), 2**31), st.integers(0, 15), st.data())
def test_a_leak_is_rounded_to_the_nearest_halves_up(n, k, data):
    d = data.draw(st.integers(1, 2**k))
    found = fixed.leaked(np.array([n]), np.array([d]), np.array([k]))
    assert found[0] == n - floor(Fraction(n * d, 2**k) + Fraction(k > 0, 2))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([-1, 1]))
def test_a_membrane_saturates_and_never_wraps(seed, sign):
    of = random_fixed(seed, state_bits=11)
    of = of._replace(inputs=np.full_like(of.inputs, 7 * sign), shifts=np.array([4, 4]))
    x, reset = np.full((30, 1, 6), 255), np.zeros((30, 1), bool)
    for form in (by_definition, by_engine):
        z, u, _, _ = form(of, x, reset)
        assert (u == (1023 if sign > 0 else -1024)).all() and (of.threshold > 1023).any()
        assert np.array_equal(z, u > of.threshold)


def agreement(bits, per_neuron=False, input_bits=16):
    """Return the share of ticks and neurons where the spikes of a network and of its fixed form are the same."""
    network, _ = make_policy(40, inputs=5, seed=3)
    network = network.double()
    of, _ = whole_network(network, (0.0, 1.0), Format(bits, per_neuron, input_bits=input_bits, state_bits=32))
    x, reset = torch.rand(300, 4, 5, dtype=torch.float64), torch.rand(300, 4) < 0.05
    real, whole = (
        engine.run(x, network.initial_state(4), reset) for engine in (TensorEngine(network), FixedEngine(network, of))
    )
    assert 0.05 < real.states.spk.mean() < 0.6 and 0.05 < whole.states.spk.mean() < 0.6
    return float((real.states.spk == whole.states.spk).double().mean())


def test_more_bits_come_nearer_to_the_real_network():
    torch.manual_seed(0)
    coarse, middle, fine, finest = (agreement(bits) for bits in (2, 4, 8, 14))
    assert coarse < middle < fine < finest and finest > 0.99 and coarse < 0.97


def test_the_network_of_a_quantised_policy_has_its_weights():
    """With inputs that are whole and decays that are exact, real arithmetic spikes alike until rounding tells."""
    network, head = make_policy(30, inputs=5, seed=5, tau_out=2.0)
    policy = dataclasses.replace(small_policy(), network=network, head=head)
    quantised = quantise(policy, Format(4, True, decay_shift=True))
    assert quantised.network.config.beta in (0.5, 0.75, 0.875) and quantised.network.config.kappa in (0.5, 0.75)
    x = torch.randint(0, 256, (40, 4, 5)).double() / 256.0
    reset, start = torch.zeros(40, 4, dtype=torch.bool), quantised.network.initial_state(4)
    whole, real = (of.run(x, start, reset) for of in (quantised.engine, TensorEngine(quantised.network)))
    assert 0.05 < whole.states.spk.mean() < 0.6
    assert (whole.states.spk == real.states.spk).double().mean() > 0.99
    first = slice(0, 3)
    torch.testing.assert_close(whole.states.at(first).mem, real.states.at(first).mem, atol=0.01, rtol=0)
    torch.testing.assert_close(whole.params[first], real.params[first], atol=0.01, rtol=0)


def test_steps_alone_are_steps_in_a_row():
    of = random_fixed(1)
    network, _ = make_policy(12, 6, 2, critic_path=False)
    network.double()
    engine, state = FixedEngine(network, of), network.initial_state(2)
    x, reset = torch.rand(25, 2, 6, dtype=torch.float64), torch.rand(25, 2) < 0.1
    whole, rows = engine.run(x, state, reset), []
    for t in range(25):
        seen = engine.run(x[t : t + 1], state, reset[t : t + 1])
        state = seen.states.at(-1)
        rows.append(state.data)
    assert torch.equal(torch.stack(rows), whole.states.data) and whole.states.spk.any()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_scales_of_neurons_fit_better_than_one_and_weights_fill_their_bits(bits):
    g = np.random.default_rng(bits)
    a, b = g.normal(0, 0.3, (15, 20)) * g.uniform(0.5, 2, 20), g.normal(0, 0.04, (20, 20))
    most, errors = 2 ** (bits - 1) - 1, []
    for per_neuron in (False, True):
        scale, apart = scales(a, b, most, per_neuron)
        assert (len(set(scale)) > 1) == per_neuron and 1 <= apart <= 4
        whole = [np.clip(np.rint(w / s), -most, most) for w, s in ((a, scale), (b, scale * 2.0**-apart))]
        assert all(np.abs(w).max() > 0.8 * most for w in whole)
        errors.append(((whole[0] * scale - a) ** 2).sum() + ((whole[1] * scale * 2.0**-apart - b) ** 2).sum())
        clipless = np.abs(a).max(0) / most if per_neuron else np.abs(a).max() / most
        assert errors[-1] < ((np.rint(a / clipless) * clipless - a) ** 2).sum() + (b**2).sum()
    assert errors[1] < errors[0]


def test_decays_are_powers_of_two_where_asked():
    network, _ = make_policy(4, 3)
    leaks, config = decays(network.config, True)  # tau_m = 6: 0.846; tau_out = 2: 0.607
    assert (
        leaks.tolist() == [[1, 3], [1, 1]]
        and config.beta == pytest.approx(0.875)
        and config.kappa == pytest.approx(0.5)
    )
    leaks, config = decays(network.config, False)
    assert config == network.config and 1 - leaks[0, 0] / 4096 == pytest.approx(config.beta, abs=2e-4)
    with pytest.raises(UserError, match="one time constant"):
        decays(dataclasses.replace(network.config, tau_m_max=20.0), True)


TINY = {
    "network.neurons": 24, "encoder.cells": 5, "train.num_envs": 2, "train.eval_every": 10**6,
    "train.final_episodes": 2, "train.watch": "none",
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return run.train("CartPole-v1", steps=600, settings=TINY, tuned=False, run_dir=tmp_path_factory.mktemp("run") / "a")


def small_policy():
    return run.make_trainer(run.build_config("CartPole-v1", overrides=TINY)).policy


def test_a_run_is_quantised_evaluated_and_loaded(trained, tmp_path, capsys):
    out = tmp_path / "q"
    argv = ["quantise", str(trained.path), "--bits", "4", "--per-neuron", "--decay-shift", "--episodes", "3"]
    assert cli.main([*argv, "--run-dir", str(out)]) == 0
    said = capsys.readouterr().out
    assert "4-bit weights, a scale for each neuron, power-of-two decays" in said and "kept:" in said
    assert cli.main(["eval", str(out), "--episodes", "3"]) == 0
    greedy = f"{run.read_summary(out)['mean_return']:.2f}"
    told = capsys.readouterr().out
    assert f"greedy: {greedy}" in told and f"after:   greedy {greedy}" in said
    policy = load(out)
    assert isinstance(policy.engine, FixedEngine) and set(np.unique(policy.fixed.inputs)) <= set(range(-7, 8))
    assert not isinstance(load(out, engine="fused").engine, FixedEngine)
    obs, (first, state) = np.zeros(4, np.float32), policy.predict(np.zeros(4, np.float32), deterministic=True)
    again = load(policy.save(tmp_path / "p"))
    assert isinstance(again.engine, FixedEngine)
    for ours, theirs in zip(policy.predict(obs, state), again.predict(obs, state), strict=True):
        assert np.array_equal(ours, theirs)
    assert np.array_equal(first, again.predict(obs, deterministic=True)[0])
    assert policy.record("CartPole-v1").returns[0] > 0
    assert cli.main(["report", str(out)]) == 0


def test_a_curve_over_bits_has_a_picture(trained, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out = tmp_path / "q"
    assert cli.main(["quantise", str(trained.path), "--curve", "--episodes", "1", "--run-dir", str(out)]) == 0
    assert all(f"{bits} bits:" in capsys.readouterr().out or bits for bits in range(2, 9))
    assert (out / "bits.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "argv,why",
    [
        (["quantise", "RUN", "--bits", "9"], "--bits must be from 2 to 8, got 9"),
        (["quantise", "RUN", "--bits", "1"], "--bits must be from 2 to 8, got 1"),
        (["quantise", "RUN", "--state-bits", "16", "--episodes", "1"], "--state-bits must be at least"),
        (["quantise", "RUN", "--run-dir", "RUN"], "already holds a run"),
        (["quantise", "RUN", "--episodes", "0"], "--episodes must be at least 1"),
        (["quantise", "nowhere"], "nowhere holds no run"),
        (["quantise", "Q"], "is quantised already"),
        (["eval", "RUN", "--engine", "fixed"], "lfcs quantise RUN"),
        (["resume", "Q", "--steps", "5000"], "does not learn"),
        (["train", "CartPole-v1", "--steps", "64", "--engine", "fixed"], "does not learn"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_a_line(trained, quantised, argv, why, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = {"RUN": str(trained.path), "Q": str(quantised)}
    assert cli.main([names.get(word, word) for word in argv]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("lfcs: error:") and why in said


@pytest.fixture(scope="module")
def quantised(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("quantised") / "q"
    assert cli.main(["quantise", str(trained.path), "--episodes", "1", "--run-dir", str(out)]) == 0
    return out


def test_policies_without_a_whole_form_are_refused():
    config = run.build_config("CartPole-v1", overrides=TINY | {"network.neuron": "alif"})
    with pytest.raises(UserError, match="LIF neurons only"):
        quantise(run.make_trainer(config).policy, Format())
    config = run.build_config("CartPole-v1", overrides=TINY | {"encoder.kind": "identity"})
    with pytest.raises(UserError, match="does not bound its inputs"):
        quantise(run.make_trainer(config).policy, Format())
    with pytest.raises(UserError, match="quantised already"):
        quantise(quantise(small_policy(), Format()), Format())


def test_inputs_that_may_be_negative_are_signed():
    config = run.build_config("CartPole-v1", overrides=TINY | {"encoder.kind": "standardised"})
    of = quantise(run.make_trainer(config).policy, Format()).fixed
    assert of.input_range.tolist() == [-128, 127]
    assert of.whole(np.array([10.0, -10.0, 0.07, 99.0])).tolist() == [80, -80, 1, 127]


def test_what_is_kept_of_a_return_below_nought():
    assert low_bits.kept(-80.0, -84.0) == pytest.approx(0.95) and low_bits.kept(500.0, 490.0) == pytest.approx(0.98)
    assert np.isnan(low_bits.kept(0.0, 1.0))


if __name__ == "__main__":
    np.savez_compressed(GOLDEN, **golden())
