"""Actions of every space, from end to end: toys learn them, runs with them are cut, resumed, saved and watched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import toys
from gymnasium.vector.utils import batch_space, iterate
from test_learner import small_trainer

import lfcs
from lfcs.agents import AGENTS
from lfcs.compiled import evaluation as compiled_evaluation
from lfcs.compiled.rollout import CompiledRollout
from lfcs.errors import UserError
from lfcs.nested import mapped, named
from lfcs.policy import pack_space, unpack_space

SMALL = {
    "network.neurons": 24, "network.input_gain": 4.0, "encoder.kind": "identity", "train.num_envs": 4,
    "rule.window": 20, "rule.tau_s": 20, "rule.tau_f": 10, "rule.replays": 4, "rule.lr_readout": 0.02,
    "rule.lr_hidden": 0.002, "rule.gamma": 0.5, "train.final_episodes": 20, "train.eval_every": 10**6,
}  # fmt: skip
every = pytest.mark.parametrize("name", toys.WANTED)


def train(name, path, steps=4000, agent="lf-cs", callbacks=(), **settings):
    free = {k: v for k, v in SMALL.items() if k not in AGENTS[agent].fixed}
    given = free | {key.replace("__", "."): value for key, value in settings.items()}
    return lfcs.train(f"toys:{name}-v0", agent=agent, steps=steps, settings=given, callbacks=callbacks, run_dir=path)


@every
def test_a_toy_of_every_space_is_learned(name, tmp_path):
    run = train(name, tmp_path / "run")
    chance = train(name, tmp_path / "chance", steps=80, agent="random")
    gained = run.summary["mean_return_sampled"] / chance.summary["mean_return_sampled"]
    assert run.summary["diverged"] is None and gained < 0.6, (run, chance)
    assert run.summary["mean_return"] > run.summary["mean_return_sampled"] - 0.3
    assert all(0.02 < row["spikes/rate_mean"] < 0.7 for row in run.metrics)


@every
def test_a_policy_is_saved_with_its_space(name, tmp_path):
    run = train(name, tmp_path / "run", steps=160)
    space, obs = toys.WANTED[name][0], np.eye(3, dtype=np.float32)
    policy, loaded = run.policy, lfcs.load(run.policy.save(tmp_path / "mine"))
    assert loaded.action_space == space and type(loaded.head) is type(policy.head)
    state = other = None
    for deterministic in (True, False, False):
        one, state = policy.predict(obs, state, None, deterministic)
        again, other = loaded.predict(obs, other, None, deterministic)
        for (_, a), (_, b) in zip(named("", one), named("", again), strict=True):
            assert a.dtype == b.dtype and (np.array_equal(a, b) or not deterministic)
        assert all(action in space for action in iterate(batch_space(space, 3), one))
    alone, _ = policy.predict(obs[0])
    assert alone in space and state[0].any()


class Cut(lfcs.Callback):
    """Interrupts a run in its third window."""

    def window(self, trainer, metrics):
        if trainer.env_steps == 240:
            trainer.interrupt()


@pytest.mark.parametrize("name", ["Box", "Tuple", "Dict"])
def test_a_cut_run_goes_on_bit_for_bit(name, tmp_path):
    whole = train(name, tmp_path / "whole", steps=480, train__checkpoint_every=160)
    with pytest.raises(UserError):
        train(name, tmp_path / "cut", steps=480, callbacks=[Cut()], train__checkpoint_every=160)
    resumed = lfcs.resume(tmp_path / "cut", callbacks=[Cut()])
    assert torch.equal(resumed.policy.network.hidden, whole.policy.network.hidden)
    assert resumed.summary["mean_return_sampled"] == whole.summary["mean_return_sampled"]


@pytest.mark.parametrize("name", ["Box", "Tuple", "Dict"])
def test_workers_carry_every_action(name, tmp_path):
    alone, spread = (train(name, tmp_path / count, steps=160, train__env_workers=count) for count in ("0", "2"))
    assert torch.equal(alone.policy.network.hidden, spread.policy.network.hidden)
    assert alone.summary["mean_return_sampled"] == spread.summary["mean_return_sampled"]


def test_the_recorder_keeps_every_part(tmp_path):
    run = train("Dict", tmp_path / "run", steps=160, callbacks=[lfcs.Recorder("training", keep=1)])
    with np.load(run.path / "recording.npz") as kept:
        shapes = {key: kept[key].shape for key in kept if "action" in key}
    assert shapes == {"0/action/aim": (10, 2, 1), "0/action/bits": (10, 3), "0/action/pair": (10, 2)}


FORCES = ["Pendulum-v1", "MountainCarContinuous-v0"]


@pytest.mark.parametrize("env", FORCES)
def test_compiled_tasks_are_given_the_same_actions(env, double):
    """A window in one compiled call is that of single steps, whatever steps them, and so is an evaluation."""
    settings = {"network__input_gain": 4.0, "rule__lr_readout": 0.05, "rule__window": 120, "rule__tau_s": 120}
    whole, stepped, plain = (
        small_trainer(env, train__env_kind=kind, **settings) for kind in ("compiled", "compiled", "plain")
    )
    clipped = 0.0
    for _ in range(3):
        for trainer in (whole, stepped, plain):
            assert type(trainer.rollout) is CompiledRollout
        ours = whole.rollout.collect(120)
        for other in (stepped, plain):
            look = (lambda moment: None) if other is stepped else None
            theirs = other.rollout.collect(120, look)
            for part in ("action", "reward", "logp_ref", "x", "terminated", "truncated"):
                assert torch.equal(getattr(ours, part), getattr(theirs, part)), part
            assert np.array_equal(whole.rollout.action_log[-1], other.rollout.action_log[-1])
            other.learner.learn(theirs, 1.0)
        whole.learner.learn(ours, 1.0)
        for trainer in (whole, stepped, plain):
            trainer.reference.load_state_dict(trainer.learner.update.network.state_dict())
        clipped += float((ours.action.abs() > 1.0).double().mean())
    space = whole.envs.single_action_space
    log = np.stack(whole.rollout.action_log)
    assert log.dtype == np.float32 and log.min() == space.low[0] and log.max() == space.high[0] and clipped > 0.05
    for greedy in (True, False):
        given = whole.policy, 4, 7, greedy
        found = [compiled_evaluation.evaluate(given[0], one.eval_envs, *given[1:]) for one in (whole, plain)]
        np.testing.assert_allclose(*found, rtol=1e-13)  # sums of rewards in another order
        assert len(set(found[0][0])) == 4


@pytest.mark.parametrize("agent", ["e-prop", "naive-replay", "importance", "v-trace", "bptt-ppo", "random"])
@pytest.mark.parametrize("name", ["Box", "Dict"])
def test_every_rule_goes_with_every_space(agent, name, tmp_path):
    run = train(name, tmp_path / "run", steps=160, agent=agent)
    rate = np.mean([row["spikes/rate_mean"] for row in run.metrics])
    assert run.summary["diverged"] is None and 0.02 < rate < 0.7


def test_a_critic_of_every_action_wants_them_discrete(tmp_path):
    for name in toys.WANTED:
        with pytest.raises(UserError, match="agent acer has a critic of every action: actions must be Discrete"):
            train(name, tmp_path / name, agent="acer")


def test_the_online_form_takes_numbers(tmp_path):
    given = {"rule__form": "online", "agent__mask": "two-sided", "rule__normalise": False, "rule__replays": 1}
    run = train("Box", tmp_path / "run", steps=400, **given, rule__tau_f=20)
    assert run.summary["diverged"] is None and 0.02 < run.metrics[-1]["spikes/rate_mean"] < 0.7


def test_a_gaussian_is_closed_by_its_own_measure(tmp_path):
    """Its entropy may be negative where it explores; a verdict asks the head."""
    kept = []

    class Ask(lfcs.Callback):
        def begin(self, trainer):
            kept.append((trainer.callbacks[0].closed, trainer.policy.head.closed))

    train("Box", tmp_path / "run", steps=80, callbacks=[Ask()])
    assert kept[0][0] == kept[0][1] < -2.0


@every
def test_spaces_survive(name):
    space = toys.WANTED[name][0]
    again = unpack_space(pack_space(space))
    kinds = [mapped(lambda part: (part.dtype, part.shape), one.sample()) for one in (space, again)]
    assert again == space and kinds[0] == kinds[1]
