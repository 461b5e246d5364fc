"""Acting and evaluating with compiled loops: the same numbers whatever steps the environments, and a user's own parts.

What a user overrides is used: then the Python path runs.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers.vector import TransformReward
from test_learner import small_trainer
from test_trainer import begin as begin_run
from test_trainer import comparable, run, same_state, without_times
from test_trainer import proceed as proceed_run
from torch.testing import assert_close

from lfcs import evaluation
from lfcs import run as runs
from lfcs.agent import Agent
from lfcs.agents.acer import Acer
from lfcs.agents.lf_cs import LfCs
from lfcs.callbacks import Callback
from lfcs.compiled import act
from lfcs.compiled import evaluation as compiled_evaluation
from lfcs.compiled.learner import CompiledLearner
from lfcs.compiled.rollout import CompiledRollout
from lfcs.config import EncoderConfig
from lfcs.configure import build_config
from lfcs.engines import CompiledEngine, TensorEngine
from lfcs.envs import classic, make_vec
from lfcs.envs.classic import CompiledVectorEnv, Task
from lfcs.envs.classic.base import observe_pointer, step_pointer
from lfcs.envs.encoders import Population, Standardised
from lfcs.envs.vector import make_sync
from lfcs.errors import Interrupted
from lfcs.heads import ActionValueHead, CategoricalHead
from lfcs.learner import Learner
from lfcs.neurons import LIF
from lfcs.rollout import Rollout
from lfcs.trainer import Trainer

CART = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"
HILL = "gymnasium.envs.classic_control.mountain_car:MountainCarEnv"
gymnasium.register("BriefCartPole-v0", entry_point=CART, max_episode_steps=17)
gymnasium.register("BriefMountainCar-v0", entry_point=HILL, max_episode_steps=13)
gymnasium.register("LongerCartPole-v0", entry_point=CART, max_episode_steps=75)
LIVELY = {"network__input_gain": 4.0, "rule__lr_readout": 0.03, "rule__window": 30, "rule__tau_s": 30}
LIVELY |= {"rule__tau_f": 7, "rule__replays": 2}


class Watcher(Callback):
    """Keeps all that it is shown."""

    def __init__(self):
        self.seen = []

    def acted(self, trainer, where, moment):
        self.seen.append((where, copy.deepcopy(moment)))


def trainer_of(env="BriefCartPole-v0", watched=False, **settings):
    trainer = small_trainer(env, **LIVELY | settings)
    if watched:
        trainer.callbacks.append(Watcher())
    return trainer


def windows_of(trainer, count=4):
    """Return windows as they were lived, with what was seen of each, while learning goes on."""
    found, learn = [], trainer.learner.learn

    def kept(traj, left):
        found.append((copy.deepcopy(traj), learn(traj, left)))
        return found[-1][1]

    trainer.learner.learn = kept
    for _ in range(count):
        trainer.window()
    trainer.learner.learn = learn
    return found


def calls_of(monkeypatch, owner, name):
    """Return a list that grows with every call of a function, which goes on as before."""
    inner, calls = getattr(owner, name), []

    def counted(*given, **named):
        calls.append(name)
        return inner(*given, **named)

    monkeypatch.setattr(owner, name, counted)
    return calls


def used_of_the_bootstraps(traj):
    used = traj.truncated.clone()
    used[-1] = True
    return used


def assert_same_window(one, other, tolerance=0.0):
    """All of two windows, bootstraps and final observations where learning reads them."""
    for name in ("action", "reset", "reward", "terminated", "truncated"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    used = used_of_the_bootstraps(one)
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in ("x", "params", "value", "logp_ref")}
    pairs |= {"bootstrap": (one.bootstrap[used], other.bootstrap[used]), "state": (one.state.data, other.state.data)}
    assert one.final.keys() == other.final.keys()
    pairs |= {f"final {t}": (final[used[t]], other.final[t][used[t]]) for t, final in one.final.items()}
    for name, (got, wanted) in pairs.items():
        assert_close(got, wanted, rtol=tolerance, atol=tolerance, msg=lambda m, name=name: f"{name}: {m}")


def assert_same_runs(one, other, windows=4):
    """Windows, what learning saw of them, and all that a checkpoint would hold, bit for bit."""
    ended = 0
    for (traj, saw), (wanted, expected) in zip(windows_of(one, windows), windows_of(other, windows), strict=True):
        assert_same_window(traj, wanted)
        assert all(torch.equal(a, b) for a, b in zip(saw, expected, strict=True))
        assert 0.02 < saw.rate.mean() < 0.6
        ended += int((traj.terminated | traj.truncated)[:-1].sum())
    assert ended > 3
    states = [copy.deepcopy(trainer.state_dict()) for trainer in (one, other)]
    for state in states:
        del state["callbacks"], state["policy"]["encoder"]
        for window in (state["learner"]["replay"] or {"windows": []})["windows"]:
            del window["bootstrap"], window["final"]  # compared above where they are used
    assert same_state(*states) == (True, [])
    assert one.rollout.metrics() == other.rollout.metrics()


# --- acting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [
    {"encoder__kind": "population"},
    {"encoder__kind": "population", "network__ticks": 2},
    {"encoder__kind": "population", "encoder__bounds": "seen"},
    {"encoder__kind": "standardised", "network__ticks": 2},
    {"encoder__kind": "identity", "network__input_gain": 40.0},
    {"agent": "acer"},
    {"agent": "v-trace", "train__num_envs": 1},
    {"env": "BriefMountainCar-v0", "train__num_envs": 7, "network__neurons": 40},
    {"replay__capacity": 2, "replay__burn_in": 3, "rule__tau_s": 60},
], ids=str)  # fmt: skip
def test_a_window_in_one_call_is_a_window_by_steps_bit_for_bit(monkeypatch, settings):
    calls = calls_of(monkeypatch, act, "act")
    assert_same_runs(trainer_of(**settings), trainer_of(train__env_kind="plain", **settings))
    assert len(calls) == 4
    assert_same_runs(trainer_of(**settings), trainer_of(watched=True, **settings))
    assert len(calls) == 8  # what looks on is shown every step


def test_in_double_precision_too(double):
    assert_same_runs(trainer_of(network__ticks=2), trainer_of(train__env_kind="plain", network__ticks=2))


def test_both_kinds_of_ends_are_met():
    trajs = [traj for traj, _ in windows_of(trainer_of())]
    assert any(t.truncated[:-1].any() for t in trajs) and any(t.terminated[:-1].any() for t in trajs)
    assert any(len(t.final) > 1 for t in trajs)


def test_what_looks_on_sees_every_step_and_its_state():
    trainer = trainer_of(watched=True, network__ticks=2)
    (first, _), (traj, _) = windows_of(trainer, 2)
    seen = [moment for where, moment in trainer.callbacks[-1].seen if where == "training"]
    assert len(seen) == 60
    for name, part in (("reward", "reward"), ("began", "reset"), ("action", "action")):
        shown = torch.from_numpy(np.stack([getattr(moment, name) for moment in seen[30:]]))
        assert torch.equal(shown.to(getattr(traj, part).dtype), getattr(traj, part))
    assert torch.equal(torch.from_numpy(seen[30].ended), traj.reset[1])
    assert torch.equal(seen[29].state.data, traj.state.data) and first.state.data.abs().sum() == 0
    given = trainer_of(network__ticks=2)  # a policy with the weights of the first window
    states = given.engine.run(first.x, first.state, first.reset).states
    for t in range(30):
        assert_close(seen[t].state.data, states.data[2 * t + 1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("agent", ["lf-cs", "acer"])
@pytest.mark.parametrize("kind", ["auto", "plain"])
@pytest.mark.parametrize("ticks", [1, 2])
def test_the_python_rollout_is_its_definition(double, kind, ticks, agent):
    ours, theirs = (trainer_of(agent=agent, train__env_kind=kind, network__ticks=ticks) for _ in range(2))
    assert type(ours.rollout) is CompiledRollout
    theirs.rollout = Rollout(theirs.envs, theirs.policy)
    theirs.rollout.refresh(0)
    for (traj, _), (wanted, _) in zip(windows_of(ours), windows_of(theirs), strict=True):
        assert_same_window(traj, wanted, 1e-11)
    assert ours.rollout.metrics() == theirs.rollout.metrics()
    assert_close(ours.rollout.state.data, theirs.rollout.state.data, rtol=0, atol=1e-11)


@pytest.mark.parametrize("ticks", [1, 2])
def test_the_python_rollout_in_single_precision(ticks):
    ours, theirs = (trainer_of(network__ticks=ticks, rule__lr_readout=0.0, rule__lr_hidden=0.0) for _ in range(2))
    theirs.rollout = Rollout(theirs.envs, theirs.policy)
    theirs.rollout.refresh(0)
    for (traj, _), (wanted, _) in zip(windows_of(ours), windows_of(theirs), strict=True):
        assert_same_window(traj, wanted, 2e-6)


@pytest.mark.parametrize("agent", ["lf-cs", "acer", "v-trace"])
@pytest.mark.parametrize("kind", ["auto", "plain"])
@pytest.mark.parametrize("ticks,neurons,tau_f", [(1, 16, 7), (2, 16, 7), (3, 33, 1), (1, 130, 30)])
def test_the_ratio_is_exactly_one_before_the_first_update(kind, ticks, neurons, tau_f, agent):
    trainer = trainer_of(
        agent=agent, train__env_kind=kind, network__ticks=ticks, network__neurons=neurons, rule__tau_f=tau_f,
        rule__replays=1, rule__lr_hidden=0.01,
    )  # fmt: skip
    for traj, saw in windows_of(trainer):
        assert (saw.rho[:tau_f] == 1.0).all() and (tau_f == 30 or (saw.rho[tau_f:] != 1.0).any())
        assert torch.equal(saw.value[:tau_f], traj.value[:tau_f])
        assert 0.02 < saw.rate.mean() < 0.6


@pytest.mark.parametrize("agent", ["lf-cs", "acer"])
def test_looking_with_the_policy_that_acted_sees_what_it_saw(agent):
    trainer = trainer_of(agent=agent, network__ticks=2)
    for _ in range(3):
        traj = trainer.rollout.collect(30)
        view, used = trainer.learner.look(traj), used_of_the_bootstraps(traj) & ~traj.terminated
        assert (view.rho == 1.0).all() and torch.equal(view.value, traj.value)
        assert torch.equal(view.bootstrap[used], traj.bootstrap[used]) and used[:-1].any()


@step_pointer
def drift_step(state, action, obs, outcome):
    """See :class:`Drift`."""
    state[0] = 0.9 * state[0] + 0.3 * (action[0] - 6.0)
    obs[0] = state[0]
    outcome[0] = 0.1 - abs(state[0])
    outcome[1] = 1.0 if state[0] > 0.8 else 0.0


@observe_pointer
def drift_observe(state, obs):
    """See :class:`Drift`."""
    obs[0] = state[0]


class Drift(gymnasium.Env):
    """One number, actions counted from 5, rewards that single precision rounds."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(3, start=5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-0.5, 0.5)
        return np.array([self.state], np.float32), {}

    def step(self, action):
        assert action in self.action_space
        self.state = 0.9 * self.state + 0.3 * (int(action) - 6.0)
        return np.array([self.state], np.float32), 0.1 - abs(self.state), self.state > 0.8, False, {}


def draw_drift(np_random, count):
    return np_random.uniform(-0.5, 0.5, (count, 1))


gymnasium.register("Drift-v0", entry_point=Drift, max_episode_steps=11)
DRIFT = Task(
    ("Drift-v0",), 1, Drift.observation_space, Drift.action_space, drift_step, drift_observe, draw_drift, limit=11
)


def drift_trainer(make, watched=False):
    given = trainer_of("Drift-v0", encoder__kind="standardised", network__input_gain=6.0)
    made = Trainer(given.config, make, lambda space: Standardised(space, given.config.encoder), LfCs)
    made.callbacks += [Watcher()] if watched else []
    made.restored = []
    made.rollout.refresh(0)
    return made


def test_actions_that_are_not_counted_from_zero_and_rewards_that_are_no_integers():
    def compiled(count):
        return CompiledVectorEnv(DRIFT, count)

    def plain(count):
        return make_sync("Drift-v0", count)

    assert_same_runs(drift_trainer(compiled), drift_trainer(plain))
    assert_same_runs(drift_trainer(compiled), drift_trainer(compiled, watched=True))
    trainer = drift_trainer(compiled)
    trainer.window()
    for greedy in (True, False):
        ours, theirs = (
            compiled_evaluation.evaluate(trainer.policy, make(4), 9, 5, greedy) for make in (compiled, plain)
        )
        np.testing.assert_array_equal(ours, theirs)
    assert len(set(ours[1])) > 1  # lengths


class OwnPopulation:
    """The numbers of the population code, by an encoder that is nobody's child."""

    def __init__(self, space, config):
        self.inner, self.config = Population(space, config), config
        self.size, self.calls = self.inner.size, 0

    def observe(self, obs):
        self.inner.observe(obs)

    def encode(self, obs):
        self.calls += 1
        return self.inner.encode(obs)

    def state_dict(self):
        return self.inner.state_dict()

    def load_state_dict(self, state):
        self.inner.load_state_dict(state)


def test_an_encoder_of_ones_own_is_stepped_and_gives_the_same_results(monkeypatch):
    calls = calls_of(monkeypatch, act, "act")
    own = trainer_of(encoder__kind="test_compiled_acting:OwnPopulation")
    assert isinstance(own.envs, CompiledVectorEnv) and own.compiled
    ours = trainer_of()
    assert_same_runs(own, ours)
    assert len(calls) == 4 and own.policy.encoder.calls > 4 * 30
    for greedy in (True, False):
        np.testing.assert_array_equal(own.play(5, 0, greedy), ours.play(5, 0, greedy))


class Shifted(Standardised):
    """Overrides what has a compiled form."""

    def encode(self, obs):
        return super().encode(obs) + np.float32(0.25)


class Distracted(Standardised):
    """Overrides what has a compiled form, the other one."""

    def observe(self, obs):
        super().observe(obs + 1.0)


@pytest.mark.parametrize("name", ["Shifted", "Distracted"])
def test_an_encoder_that_overrides_ours_is_used(monkeypatch, name):
    calls = calls_of(monkeypatch, act, "act")
    trainer = trainer_of(encoder__kind=f"test_compiled_acting:{name}")
    plain = trainer_of(encoder__kind=f"test_compiled_acting:{name}", train__env_kind="plain")
    ours = trainer_of(encoder__kind="standardised")
    assert not torch.equal(windows_of(ours, 1)[0][0].x, windows_of(trainer, 1)[0][0].x)
    windows_of(plain, 1)
    assert_same_runs(trainer, plain)
    assert len(calls) == 1
    side, played = calls_of(monkeypatch, act, "play"), trainer.play(30, 0, False)
    np.testing.assert_array_equal(played, plain.play(30, 0, False))
    assert not side


def test_acting_can_go_on_from_any_window():
    trainer = trainer_of(network__ticks=2, replay__capacity=3)
    for _ in range(3):
        trainer.window()
    other = trainer_of(network__ticks=2, replay__capacity=3)
    other.load_state_dict(copy.deepcopy(trainer.state_dict()))
    assert_same_runs(trainer, other)


@pytest.mark.parametrize("windows", [1, 8, 21])
def test_a_cut_run_on_compiled_environments_ends_as_if_nothing_had_happened(tmp_path, windows):
    whole, expected = run(tmp_path / "whole", env="LongerCartPole-v0")
    assert whole.compiled and isinstance(whole.envs, CompiledVectorEnv)
    cut = begin_run(tmp_path / "cut", "LongerCartPole-v0")
    inner = cut.window

    def window():
        if cut.env_steps == (windows - 1) * 24:
            cut.interrupt()
        return inner()

    cut.window = window
    with pytest.raises(Interrupted):
        runs.complete(cut)
    continued = proceed_run(tmp_path / "cut")
    assert continued.env_steps == windows * 24
    got = runs.complete(continued)
    assert comparable(got) == comparable(expected)
    assert without_times(tmp_path / "cut") == without_times(tmp_path / "whole")
    assert same_state(continued.state_dict(), whole.state_dict()) == (True, [])


def test_a_run_on_plain_environments_is_the_run_on_compiled_ones(tmp_path):
    compiled, expected = run(tmp_path / "compiled", env="LongerCartPole-v0")
    plain, got = run(tmp_path / "plain", env="LongerCartPole-v0", **{"train.env_kind": "plain"})
    assert not isinstance(plain.envs, CompiledVectorEnv)
    assert comparable(got) == comparable(expected)
    assert without_times(tmp_path / "plain") == without_times(tmp_path / "compiled")
    assert same_state(plain.state_dict(), compiled.state_dict()) == (True, [])


# --- evaluation ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    trainer = trainer_of("LongerCartPole-v0", network__ticks=2)
    for _ in range(6):
        trainer.window()
    return trainer.policy


def compiled_envs(count=20):
    return make_vec("LongerCartPole-v0", count)


def plain_envs(count=20):
    return make_vec("LongerCartPole-v0", count, kind="plain")


@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("episodes,beside", [(1, 1), (3, 2), (7, 20), (20, 7), (100, 20)])
def test_episodes_side_by_side_are_those_of_plain_environments(monkeypatch, trained, episodes, beside, greedy):
    calls = calls_of(monkeypatch, act, "play")
    ours = compiled_evaluation.evaluate(trained, compiled_envs(), episodes, 3, greedy)
    assert calls
    calls.clear()
    theirs = compiled_evaluation.evaluate(trained, plain_envs(beside), episodes, 3, greedy)
    assert not calls
    np.testing.assert_array_equal(ours, theirs)
    assert [len(part) for part in ours] == [episodes, episodes]
    np.testing.assert_array_equal(*ours)  # a reward of 1 a step
    monkeypatch.setattr(compiled_evaluation, "MANY", 6)  # so that there are several rounds
    np.testing.assert_array_equal(compiled_evaluation.evaluate(trained, compiled_envs(), episodes, 3, greedy), theirs)


def test_episodes_are_of_different_lengths_and_longer_than_a_call(trained):
    for greedy in (True, False):
        _, lengths = compiled_evaluation.evaluate(trained, compiled_envs(), 100, 3, greedy)
        assert len(set(lengths)) > 5 and lengths.max() > compiled_evaluation.BLOCK
    one, other = (compiled_evaluation.evaluate(trained, compiled_envs(), 100, seed, False)[1] for seed in (3, 4))
    np.testing.assert_array_equal(one[1:], other[:-1])  # an episode is that of its seed, 3 + i and 4 + i


@pytest.mark.parametrize("greedy", [True, False])
def test_what_watches_sees_every_step_and_changes_nothing(trained, greedy):
    seen = []

    def watch(obs, state, action, reward, began, ended):
        seen.append(copy.deepcopy((obs, state[0], action, reward, began, ended)))

    ours = compiled_evaluation.evaluate(trained, compiled_envs(5), 5, 3, greedy, watch)
    np.testing.assert_array_equal(ours, compiled_evaluation.evaluate(trained, compiled_envs(5), 5, 3, greedy))
    assert len(seen) == ours[1].max()
    began = np.stack([row[4] for row in seen])
    assert began[0].all() and np.array_equal(began[1:], np.stack([row[5] for row in seen])[:-1])
    total = sum(np.where(t < ours[1], row[3], 0.0) for t, row in enumerate(seen))
    np.testing.assert_array_equal(total, ours[0])
    width = trained.network.initial_state(5).data.shape
    assert all(row[1].shape == width for row in seen)


def test_greedy_episodes_and_states_are_those_of_predict(double):
    """Of :func:`lfcs.evaluation.evaluate`, which draws sampled actions from one generator for all."""
    trainer = trainer_of("LongerCartPole-v0", network__ticks=2)
    for _ in range(3):
        trainer.window()
    shown = [], []

    def watch_into(kept):
        return lambda *given: kept.append(copy.deepcopy(given))

    ours = compiled_evaluation.evaluate(trainer.policy, compiled_envs(4), 4, 9, True, watch_into(shown[0]))
    theirs = evaluation.evaluate(trainer.policy, plain_envs(4), 4, 9, True, watch_into(shown[1]))
    np.testing.assert_array_equal(ours, theirs)
    assert len(shown[0]) == len(shown[1])
    for ours_, theirs_ in zip(*shown, strict=True):
        for got, wanted in zip(ours_, theirs_, strict=True):
            if isinstance(got, tuple):
                got, wanted = got[0], wanted[0]
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-11)


def test_sampled_actions_are_those_of_the_head(trained):
    """By inverting the cumulative distribution at the numbers of an episode's own generator."""
    seen, policy = [], trained
    watch = lambda *given: seen.append(copy.deepcopy(given[1:3]))  # noqa: E731
    compiled_evaluation.evaluate(policy, compiled_envs(5), 5, 3, False, watch)
    numbers = np.stack([np.random.default_rng([3 + i, 1]).random(len(seen)) for i in range(5)], axis=1)
    greedy = 0
    for (state, action), uniform in zip(seen, numbers, strict=True):
        params = policy.network.policy_readout(policy.network.state_of(state[0]).readout)
        wanted = (params.double().softmax(-1).cumsum(-1) <= torch.from_numpy(uniform)[:, None]).sum(-1)
        assert action.tolist() == wanted.tolist()
        greedy += int((params.argmax(-1) == wanted).sum())
    assert greedy < 0.9 * numbers.size


@pytest.mark.parametrize("greedy", [True, False])
def test_returns_are_the_same_on_any_number_of_cores(monkeypatch, trained, greedy):
    found = []
    for number in (1, 2, 5):
        monkeypatch.setattr(compiled_evaluation, "cores", lambda number=number: number)
        found.append(compiled_evaluation.evaluate(trained, compiled_envs(), 45, 3, greedy))
    for returns, lengths in found[1:]:
        np.testing.assert_array_equal(returns, found[0][0])
        np.testing.assert_array_equal(lengths, found[0][1])
    assert len(set(found[0][1])) > 5 or greedy


def test_evaluating_changes_nothing_of_the_policy(trained):
    before = copy.deepcopy(trained.state_dict()), trained.generator.get_state()
    for greedy in (True, False):
        compiled_evaluation.evaluate(trained, compiled_envs(), 30, 1, greedy)
        compiled_evaluation.evaluate(trained, plain_envs(), 3, 1, greedy)
    assert same_state(before[0], trained.state_dict()) == (True, [])
    assert torch.equal(before[1], trained.generator.get_state())


# --- what a user overrides ----------------------------------------------------------------------------------------


class OwnWeight(LfCs):
    """A rule that learns nothing from the advantage."""

    def weight(self, rho, advantage):
        return 0.0 * super().weight(rho, advantage)


class OwnError(LfCs):
    """A rule that goes the other way."""

    def error(self, sample):
        return -super().error(sample)


class OwnCredit(LfCs):
    """A rule with a credit of its own."""

    def credit(self, reward, value, v_next, ends, rho):
        return torch.ones_like(reward), torch.zeros_like(reward)


class Mixin:
    """Overrides from the side."""

    def weight(self, rho, advantage):
        return advantage


class Mixed(Mixin, LfCs):
    """A rule whose weight comes from before ours."""


class OwnRule(Agent):
    """A rule from the base of all, without compiled forms."""

    def weight(self, rho, advantage):
        return rho.sqrt() * advantage


class OwnEngine(LfCs):
    """A rule with an engine of its own."""

    engine = TensorEngine


class NoHidden(CompiledEngine):
    """A child of our engine that learns the readout alone."""

    def gradients(self, *given):
        hidden, readout = super().gradients(*given)
        return hidden.zero_(), readout


class OwnGradient(LfCs):
    """A rule with an engine of its own that is a child of ours."""

    engine = NoHidden


class OwnMeasure(LfCs):
    """A rule that only tells more."""

    metrics = ("train/clip_fraction", "train/mine")

    def measure(self, rho):
        return super().measure(rho) | {"train/mine": float(rho.max())}


class NotSure(CategoricalHead):
    """A head whose judgements are its own."""

    def judge(self, params, action):
        judged = super().judge(params, action)
        return judged._replace(score=0.5 * judged.score)


class FirstAlways(CategoricalHead):
    """A head that draws one action alone."""

    def sample(self, params, generator):
        return torch.zeros(params.shape[:-1], dtype=torch.long)


class LastBest(CategoricalHead):
    """A head whose most probable action is another."""

    def greedy(self, params):
        return torch.full(params.shape[:-1], self.size - 1)


class Flipped(CategoricalHead):
    """A head that hands the environment other actions."""

    def to_env(self, action):
        return self.size - 1 - super().to_env(action)


class Certain(CategoricalHead):
    """A head whose log-probabilities are its own."""

    def log_prob(self, params, action):
        return super().log_prob(params, action) - 1.0


class Plain(CategoricalHead):
    """A head without compiled forms."""

    loops = None


class NotSureOfValues(ActionValueHead):
    """A child of the other head."""

    def judge(self, params, action):
        judged = super().judge(params, action)
        return judged._replace(score=0.5 * judged.score)


def with_head(kind, base=LfCs):
    return type(f"With{kind.__name__}", (base,), {"head": lambda self, space: kind.of(space)})


def own_trainer(agent, env="BriefCartPole-v0", **settings):
    settings = {k.replace("__", "."): v for k, v in LIVELY.items()} | {"network.neurons": 16, "train.num_envs": 4}
    trainer = runs.make_trainer(build_config(env, agent, 10**9, overrides=settings), agent)
    trainer.rollout.refresh(0)
    return trainer


def assert_python(trainer):
    assert not trainer.compiled and type(trainer.learner) is Learner and type(trainer.rollout) is Rollout


@pytest.mark.parametrize("agent", [OwnWeight, OwnError, OwnCredit, Mixed, OwnRule, OwnEngine])
def test_a_rule_that_overrides_ours_is_used(monkeypatch, agent):
    name = {OwnError: "error", OwnCredit: "credit"}.get(agent, "weight")
    calls = calls_of(monkeypatch, agent, name)
    trainer, ours = own_trainer(agent), own_trainer(LfCs)
    assert_python(trainer)
    assert ours.compiled and type(ours.learner) is CompiledLearner and type(ours.rollout) is CompiledRollout
    for one in (trainer, ours):
        metrics = one.window()
        assert 0.02 < metrics["spikes/rate_mean"] < 0.6
    assert calls
    ends = [one.learner.update.network.readout[0, 0] for one in (trainer, ours)]
    if agent is OwnEngine:
        assert type(trainer.learner.update.engine) is TensorEngine
        assert_close(*ends, rtol=1e-3, atol=1e-3)
    else:
        assert not torch.equal(*ends)
    trainer.play(3, 0, False)


def test_an_engine_that_overrides_ours_is_used():
    trainer = own_trainer(OwnGradient)
    assert_python(trainer)
    before = trainer.reference.hidden.clone(), trainer.reference.readout.clone()
    trainer.window()
    assert torch.equal(trainer.reference.hidden, before[0]) and not torch.equal(trainer.reference.readout, before[1])


def test_a_rule_that_only_measures_stays_compiled():
    trainer, ours = own_trainer(OwnMeasure), own_trainer(LfCs)
    assert trainer.compiled and type(trainer.learner) is CompiledLearner and type(trainer.rollout) is CompiledRollout
    got, wanted = trainer.window(), ours.window()
    assert got.pop("train/mine") == got["train/ratio_max"]
    assert got == wanted and "train/mine" in trainer.columns


@pytest.mark.parametrize("head,base", [
    (NotSure, LfCs), (FirstAlways, LfCs), (LastBest, LfCs), (Flipped, LfCs), (Certain, LfCs), (NotSureOfValues, Acer),
])  # fmt: skip
def test_a_head_that_overrides_ours_is_used(monkeypatch, head, base):
    name = next(name for name in ("judge", "sample", "greedy", "to_env", "log_prob") if name in vars(head))
    calls = calls_of(monkeypatch, head, name)
    side = calls_of(monkeypatch, act, "play")
    trainer = own_trainer(with_head(head, base))
    assert_python(trainer)
    (traj, saw), ours = windows_of(trainer, 1)[0], windows_of(own_trainer(base), 1)[0][0]
    returns = {greedy: trainer.play(5, 0, greedy)[0] for greedy in (True, False)}
    assert calls and not side and 0.02 < saw.rate.mean() < 0.6
    if head is FirstAlways:
        assert (traj.action == 0).all() and not (ours.action == 0).all()
        assert (returns[False] < 12).all()  # a cart that is always pushed to the left falls
    if head is LastBest:
        assert (returns[True] < 12).all()
    if head is Flipped:
        log = np.stack(trainer.rollout.action_log)
        assert np.array_equal(log, 1 - traj.action.numpy())
    if head is Certain:
        assert_close(traj.logp_ref, traj.params.log_softmax(-1).gather(-1, traj.action[..., None])[..., 0] - 1.0)


class Dearer(CompiledVectorEnv):
    """Environments that override a step of ours."""

    def step(self, actions):
        obs, reward, *rest = super().step(actions)
        return obs, 2.0 * reward, *rest


def wrapped(count):
    return TransformReward(make_vec("BriefCartPole-v0", count), lambda reward: 2.0 * reward)


def overridden(count):
    return Dearer(classic.find("BriefCartPole-v0"), count)


@pytest.mark.parametrize("make", [wrapped, overridden])
def test_what_wraps_or_overrides_compiled_environments_is_used(make):
    given = trainer_of()
    trainer = Trainer(given.config, make, lambda space: Population(space, given.config.encoder), LfCs)
    trainer.rollout.refresh(0)
    (traj, _), (plain, _) = windows_of(trainer, 1)[0], windows_of(given, 1)[0]
    assert (traj.reward == 2.0).all() and (plain.reward == 1.0).all()
    for greedy in (True, False):
        returns, lengths = trainer.play(5, 0, greedy)
        np.testing.assert_array_equal(returns, 2.0 * lengths)


class Numb(LIF):
    """A neuron with a tick of its own, and without loops."""

    def __init__(self, config):
        super().__init__(config)
        self.loops = None

    def tick(self, current, fields):
        return super().tick(current, fields)


class Stiff(LIF):
    """A neuron that overrides the tick of ours and says nothing of loops."""

    def tick(self, current, fields):
        return super().tick(1.5 * current, fields)


class Blunt(LIF):
    """A neuron that overrides the postsynaptic factor of ours and says nothing of loops."""

    def post(self, signal, fields, reset):
        return 0.0 * super().post(signal, fields, reset)


@pytest.mark.parametrize("neuron,name", [(Numb, "tick"), (Stiff, "tick"), (Blunt, "post")])
def test_a_neuron_that_overrides_ours_is_used(monkeypatch, neuron, name):
    calls = calls_of(monkeypatch, neuron, name)
    trainer = trainer_of(network__neuron=f"test_compiled_acting:{neuron.__name__}")
    assert_python(trainer)
    assert isinstance(trainer.engine, TensorEngine)
    metrics = trainer.window()
    assert 0.02 < metrics["spikes/rate_mean"] < 0.8 and calls
    trainer.play(3, 0, True)


def test_a_head_without_compiled_forms_gives_the_same_numbers(double):
    trainer, ours = own_trainer(with_head(Plain)), own_trainer(LfCs)
    assert_python(trainer)
    for (traj, saw), (wanted, expected) in zip(windows_of(trainer), windows_of(ours), strict=True):
        assert_same_window(traj, wanted, 1e-10)
        assert_close(saw.rho, expected.rho, rtol=0, atol=1e-10)


class Untuned(LIF):
    """A neuron that overrides nothing that is compiled."""


def test_a_neuron_that_overrides_nothing_compiled_stays_compiled():
    trainer = trainer_of(network__neuron="test_compiled_acting:Untuned")
    assert trainer.compiled and type(trainer.rollout) is CompiledRollout
    assert torch.equal(windows_of(trainer, 1)[0][0].params, windows_of(trainer_of(), 1)[0][0].params)


@pytest.mark.parametrize("settings", [{"engine": "snntorch"}, {"rule__form": "online", "agent__mask": "two-sided"}])
def test_what_has_no_compiled_form_runs_in_python(settings):
    if "rule__form" in settings:
        settings |= {"rule__normalise": "false", "rule__replays": 1, "rule__tau_f": 30}
    trainer = trainer_of(**settings)
    assert not trainer.compiled and type(trainer.rollout) is Rollout
    trainer.window()
    trainer.play(3, 0, False)


def test_our_encoders_declare_their_own_compiled_forms():
    space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    assert Population(space, EncoderConfig()).loops().encode is not Standardised(space, EncoderConfig()).loops().encode


# --- the cache ----------------------------------------------------------------------------------------------------

FRESH = """
import json, sys
from numba.core import event

class Seen(event.Listener):
    names = set()

    def on_start(self, event):
        self.names.add(str(event.data))

    def on_end(self, event):
        pass

event.register("numba:run_pass", Seen())
import lfcs

settings = {"network.neurons": 8, "train.num_envs": 2, "rule.window": 50, "rule.tau_s": 50, "train.eval_every": 300}
settings |= {"train.eval_episodes": 2, "train.final_episodes": 3}
lfcs.train("CartPole-v1", steps=600, settings=settings, run_dir=sys.argv[1])
print(json.dumps(sorted(Seen.names)))
"""


def test_a_second_process_compiles_nothing(tmp_path):
    """No pass of the compiler runs, neither for functions nor for what is called by address."""
    for name in ("first", "second"):
        done = subprocess.run(
            [sys.executable, "-c", FRESH, str(tmp_path / name)], capture_output=True, text=True, timeout=150
        )
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
