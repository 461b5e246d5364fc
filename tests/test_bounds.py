"""Bounds that mean something: every number has two, memory is asked for first, and nothing within them crashes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lfcs import checkpoint, cli, footprint, machine
from lfcs import run as runs
from lfcs.agents import ALL
from lfcs.config import parse
from lfcs.config import settings as settings_of
from lfcs.configure import build_config
from lfcs.errors import Diverged, UserError
from lfcs.measured import Record, kl_estimate, measured

# what only makes a run long or large: drawn small
SIZES = {
    "network.neurons": (2, 12), "network.ticks": (1, 3), "network.tau_m_groups": (2, 5), "rule.window": (1, 12),
    "rule.tau_f": (1, 12), "rule.replays": (1, 3), "rule.tail": (0, 9), "replay.capacity": (0, 3),
    "replay.burn_in": (0, 6), "encoder.cells": (2, 6), "train.num_envs": (1, 3), "train.threads": (1, 2),
    "train.eval_episodes": (1, 2), "train.final_episodes": (1, 2), "rule.average": (0, 6), "network.fan_out": (0, 1),
}  # fmt: skip
TEXTS = {
    "network.neuron": ("lif", "alif"), "encoder.kind": ("population", "standardised", "identity"),
    "train.env_workers": ("0",), "train.env_timeout": (0.0, 60.0), "train.env_kind": ("auto", "plain"),
    "train.tracker": ("none",), "train.from_nir": ("",), "encoder.previous_observation": (False,),
}  # fmt: skip
TASKS = "toys:Guess-v0", "toys:Lights-v0", "toys:Box-v0", "toys:Choices-v0", "toys:Dict-v0", "CartPole-v1"


def numeric(agent):
    return {key: f for key, f in settings_of(agent.Options).items() if type(f.default) in (int, float)}


@pytest.mark.parametrize("agent", ALL, ids=lambda agent: agent.name)
def test_every_number_has_two_bounds(agent):
    found = numeric(agent)
    assert len(found) > 40
    for key, f in found.items():
        low, high = f.metadata["low"], f.metadata["high"]
        assert math.isfinite(low) and math.isfinite(high) and low <= f.default <= high, key
        kind = type(f.default)
        for bound in (low, high):
            assert parse(key, kind(bound), agent.Options) == bound
        for beyond in (math.nextafter(high, math.inf) if kind is float else int(high) + 1, 10**400, "9" * 400):
            with pytest.raises(UserError, match=rf"setting {key} (must be at most|wants a) ") as said:
                parse(key, beyond, agent.Options)
            assert len(str(said.value)) < 200
        assert kind is int or abs(high) <= torch.finfo(torch.float32).max, "it is used in single precision"


@pytest.mark.parametrize(
    "given, message",
    [
        (["network.neurons=100000"], "setting network.neurons must be at most 65536, got 100000"),
        (["train.threads=1000000"], "setting train.threads must be at most 256, got 1000000"),
        (["train.env_workers=100000"], "setting train.env_workers must be at most 256, got 100000"),
        (["train.env_workers=" + "9" * 5000], "setting train.env_workers must be at most 256"),
        (["encoder.width=1e200"], "setting encoder.width must be at most 100, got 1e+200"),
        (["rule.lr_readout=1e300"], "setting rule.lr_readout must be at most 100, got 1e+300"),
        (["rule.critic_share=1e39"], "setting rule.critic_share must be at most 1000, got 1e+39"),
        (["network.neurons=60000"], "and this machine has 8.0 GB left: make one of them smaller"),
        (["replay.capacity=100000", "rule.window=1000", "rule.tau_s=1000"], "needs about"),
        (["rule.form=online", "agent.mask=two-sided", "rule.tau_f=64", "rule.replays=1", "rule.normalise=false",
          "network.neurons=5000", "train.num_envs=100"], "needs about"),
    ],
)  # fmt: skip
def test_what_is_too_large_is_one_line_before_it_is_allocated(capsys, monkeypatch, tmp_path, given, message):
    monkeypatch.setattr(machine, "available_memory", lambda: 8_000_000_000)
    argv = ["train", "toys:Guess-v0", "--run-dir", str(tmp_path / "run"), "--set", *given]
    assert cli.main(argv) != 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0] and not (tmp_path / "run" / "config.json").exists()


def test_steps_and_seeds_have_bounds():
    for name, number in (("steps", 10**13), ("seed", 10**300), ("seed", 2**63)):
        with pytest.raises(UserError, match=rf"{name} must be at most [0-9,]+, got [0-9.]+$"):
            build_config("toys:Guess-v0", **{name: number})


def test_memory_is_known_or_nothing_is_said(monkeypatch, tmp_path):
    assert machine.available_memory() > 1 << 24
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "none")
    monkeypatch.setattr(machine.os, "sysconf_names", {})
    monkeypatch.setattr(machine, "LIMIT", tmp_path / "limit")
    assert machine.available_memory() is None
    machine.check_memory(1e30, "anything")
    (tmp_path / "limit").write_text("max\n")
    assert machine.available_memory() is None
    (tmp_path / "limit").write_text("3000\n")
    (tmp_path / "used").write_text("1000\n")
    monkeypatch.setattr(machine, "USED", tmp_path / "used")
    assert machine.available_memory() == 2000
    with pytest.raises(UserError, match="anything needs more memory than any machine has"):
        machine.check_memory(1e30, "anything")


@pytest.mark.parametrize("form", ["window", "replay", "online"])
def test_the_estimate_is_of_what_a_run_holds(form):
    own = {"network.neurons": 64, "train.num_envs": 4, "rule.window": 32, "rule.tau_s": 32}
    own |= {"replay.capacity": 20} if form == "replay" else {}
    if form == "online":
        own |= {"rule.form": "online", "agent.mask": "two-sided", "rule.tau_f": 32, "rule.replays": 1}
        own |= {"rule.normalise": False}
    trainer = runs.make_trainer(build_config("toys:Guess-v0", steps=2600, overrides=own))
    trainer.rollout.refresh(0)
    for _ in range(20):
        trainer.window()

    def size(tree):
        parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
        return sum(map(size, parts)) + getattr(tree, "nbytes", 0)

    held = size(trainer.state_dict())
    estimated = footprint.estimate(trainer.config, trainer.policy.encoder.size, trainer.head.size)
    trainer.close()
    assert held / 1.5 < estimated < 4 * held


# --- random settings within bounds -------------------------------------------------------------------------------


def number(key, f):
    low, high = SIZES.get(key, (f.metadata["low"], f.metadata["high"]))
    if type(f.default) is int:
        return st.integers(int(low), int(high))
    return st.one_of(
        st.sampled_from([low, high, f.default]), st.floats(max(low, 1e-3), high), st.floats(low, min(high, 2.0))
    )


@st.composite
def configs(draw):
    agent = draw(st.sampled_from(ALL))
    chosen = {}
    for key, f in settings_of(agent.Options).items():
        if key in agent.fixed or key in ("rule.tau_s", "rule.form") or draw(st.integers(0, 2)):
            continue  # two of three keep their default
        if key in TEXTS or f.metadata["choices"]:
            chosen[key] = draw(st.sampled_from(TEXTS.get(key) or f.metadata["choices"]))
        elif type(f.default) is bool:
            chosen[key] = draw(st.booleans())
        else:
            chosen[key] = draw(number(key, f))
    small = {key: draw(number(key, settings_of()[key])) for key in ("network.neurons", "rule.window", "train.num_envs")}
    chosen |= {key: value for key, value in small.items() if key not in agent.fixed}
    window = chosen["rule.window"]
    chosen |= {"train.env_workers": "0", "train.watch": "none"} | dict.fromkeys(
        {"train.env_kind"} & chosen.keys(), draw(st.sampled_from(TEXTS["train.env_kind"]))
    )
    if "rule.tau_f" not in agent.fixed:
        chosen["rule.tau_f"] = draw(st.integers(1, window))
    if "rule.tau_s" not in agent.fixed:
        chosen["rule.tau_s"] = window * draw(st.integers(1, 3))
    if chosen.get("replay.burn_in"):
        chosen |= {"replay.capacity": 2, "replay.burn_in": min(chosen["replay.burn_in"], window - 1)}
        chosen["replay.capacity"] = 2 if chosen["replay.burn_in"] else 0
    tau_m = chosen.get("network.tau_m", 3.0)
    if 0 < chosen.get("network.tau_m_max", 0.0) < tau_m:
        chosen["network.tau_m_max"] = tau_m
    if agent.online and not agent.fixed and draw(st.integers(0, 3)) == 0:
        chosen |= {"rule.form": "online", "rule.tau_f": window, "rule.replays": 1, "rule.normalise": False}
        chosen |= {"replay.capacity": 0, "replay.burn_in": 0, "rule.lam_critic": 0.0}
        chosen |= {"agent.mask": "two-sided"} if agent.name == "lf-cs" else {}
    task = draw(
        st.sampled_from([task for task in TASKS if agent.name != "acer" or task in ("toys:Guess-v0", "CartPole-v1")])
    )
    if "Lights" not in task and chosen.get("encoder.bounds") == "declared":
        del chosen["encoder.bounds"]
    if "Lights" in task:
        chosen.pop("encoder.bounds", None)
    engine = draw(st.sampled_from(["fused", "tensor"]))
    return build_config(task, agent.name, steps=10_000, seed=draw(st.integers(0, 99)), engine=engine, overrides=chosen)


def lives(config, windows):
    """Run some windows: what is told has no NaN and weights are finite, or the run has diverged and says so."""
    trainer = runs.make_trainer(config)
    try:
        trainer.rollout.refresh(config.seed)
        for _ in range(windows):
            try:
                metrics = trainer.window()
            except Diverged:
                return "diverged"
            bad = [key for key, value in metrics.items() if math.isnan(value)]
            assert not bad, bad
        assert all(np.isfinite(part.numpy()).all() for part in trainer.final.network.packed)
        checkpoint.fit(trainer.learner.update.state_dict(), trainer.learner.update.state_dict(), "learner")
    finally:
        trainer.close()
    return "whole"


QUICK = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@QUICK
@given(configs())
def test_settings_within_bounds_do_not_crash(config):
    lives(config, 4)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
def test_two_thousand_settings_within_bounds_do_not_crash(part, capsys):
    came = []

    @settings(QUICK, max_examples=100, derandomize=False)
    @given(configs())
    def run(config):
        came.append(lives(config, 20))

    run()
    with capsys.disabled():
        print(f"\n{part}: {came.count('whole')} whole, {came.count('diverged')} diverged")


# --- what was found ----------------------------------------------------------------------------------------------


def test_an_infinite_ratio_is_told_as_it_is():
    rho = torch.tensor([[1.0, math.inf], [0.5, 1.0]])
    assert kl_estimate(rho) == math.inf and kl_estimate(torch.tensor([0.0, 1.0])) == math.inf
    one = torch.ones(2, 2)
    record = Record(one, rho, one, torch.ones(1, 3), torch.ones(1), torch.ones(()), one, kl_estimate(rho))
    found = measured(record, [torch.ones(2)], lambda rho: {})
    assert not any(math.isnan(value) for value in found.values())
    assert found["train/approx_kl"] == found["train/approx_kl_max"] == found["train/ratio_max"] == math.inf
    assert found["train/ess"] == 0.25, "one of four counts"


@pytest.mark.parametrize("engine", ["fused", "tensor"])
def test_acer_bears_probabilities_that_are_zero_in_both_policies(engine):
    """Logits 1,000 apart: π of the worse action is 0 exactly, in single precision."""
    config = build_config("toys:Clock-v0", "acer", steps=1000, engine=engine, overrides={
        "network.neurons": 4, "train.num_envs": 2, "rule.window": 8, "rule.tau_s": 8, "train.env_workers": "0",
    })  # fmt: skip
    trainer = runs.make_trainer(config)
    with torch.no_grad():
        for network in (trainer.reference, trainer.learner.update.network):
            network.policy_readout.bias[:] = torch.tensor([1000.0, 0.0, 0.0, 0.0])
    trainer.rollout.refresh(0)
    metrics = trainer.window()
    trainer.close()
    assert math.isfinite(metrics["train/grad_norm"])


def test_weights_that_are_not_finite_are_a_verdict(monkeypatch):
    config = build_config("toys:Guess-v0", "e-prop", overrides={"network.neurons": 4, "train.env_workers": "0"})
    trainer = runs.make_trainer(dataclasses.replace(config, rule=dataclasses.replace(config.rule, lr_readout=1e300)))
    trainer.rollout.refresh(0)
    with pytest.raises(Diverged, match="learning diverged"):
        for _ in range(3):
            trainer.window()
    trainer.close()
