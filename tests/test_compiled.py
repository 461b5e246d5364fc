"""Learning a window as one compiled call gives what the Python learner, its definition, gives."""

from __future__ import annotations

import copy
import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from conftest import make_policy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from lfcs import kernels
from lfcs.agent import Sample, error_at, weight_at
from lfcs.agents import AGENTS
from lfcs.compiled.learner import CompiledLearner, loops_of
from lfcs.config import RuleConfig
from lfcs.engines import CompiledEngine
from lfcs.heads import ActionValueHead, CategoricalHead, Judgement
from lfcs.heads.base import draw_at, judge_at
from lfcs.learner import Learner
from lfcs.trajectory import Replay, Trajectory
from lfcs.update import Update, View

ACTIONS, INPUTS, NEURONS = 3, 3, 9
SPACE = gymnasium.spaces.Discrete(ACTIONS)
RULE = {
    "window": 12,
    "tau_s": 12,
    "tau_f": 4,
    "replays": 3,
    "lr_readout": 0.03,
    "lr_hidden": 0.005,
    "lr_path": 0.02,
    "tail": 4,
}
BOX = gymnasium.spaces.Box(-1.0, 2.0, (3,), np.float32)
CHOICES, BITS = gymnasium.spaces.MultiDiscrete([3, 2]), gymnasium.spaces.MultiBinary(3)
WHOLE = gymnasium.spaces.Dict({"one": SPACE, "two": gymnasium.spaces.Tuple([BOX, CHOICES]), "three": BITS})
HAVE_LOOPS = [name for name, agent in AGENTS.items() if loops_of(agent(RuleConfig())) is not None]
LEARN = [name for name in HAVE_LOOPS if name != "random"]
ALIF = {"neuron": "alif", "adaptation": 0.4, "tau_a": 20.0}
NETWORKS = [{}, {"tau_m_max": 40.0, "tau_m_groups": 3}, ALIF, ALIF | {"tau_m_max": 40.0, "tau_m_groups": 2}]


class Pair:
    """The same weights, rule and policy that acts twice: the compiled learner and the Python one."""

    def __init__(
        self,
        agent="lf-cs",
        ticks=1,
        options=None,
        capacity=0,
        burn_in=0,
        sync=True,
        seed=0,
        path=True,
        network=None,
        **rule,
    ):
        self.space = rule.pop("space", SPACE)
        self.rule = RuleConfig(**RULE | rule)
        made = AGENTS[agent](self.rule, AGENTS[agent].Options(**options or {}))
        self.head, self.ticks, self.sync = made.head(self.space), ticks, sync
        self.reference, _ = make_policy(
            NEURONS, INPUTS, self.head.size, seed=seed, ticks=ticks, critic_path=path, **network or {}
        )
        self.reference.hidden[INPUTS] = 0.0  # the bias, so that it does not fire all the time
        self.acting = CompiledEngine(self.reference)
        self.ours, self.witness = (self.learner(kind, made, capacity, burn_in) for kind in (CompiledLearner, Learner))
        self.state, self.g, self.fired = None, torch.Generator().manual_seed(seed), []

    def learner(self, kind, agent, capacity, burn_in):
        network = copy.deepcopy(self.reference)
        generator = torch.Generator().manual_seed(1)
        update = Update(self.rule, agent, network, self.head, CompiledEngine(network), generator)
        replay = Replay(capacity, torch.Generator().manual_seed(2)) if capacity else None
        return kind(update, self.acting, replay, burn_in)

    def lived(self, steps, batch, ends=0.15):
        """Return a window of random observations and rewards as the reference would live it, and go on from there.

        A share ``ends`` of the steps terminates and half of it is truncated, in some both at once.
        """
        g = self.g
        if self.state is None:
            self.state, self.begun = self.reference.initial_state(batch), torch.ones(batch, dtype=torch.bool)
        terminated = torch.rand(steps, batch, generator=g) < ends
        truncated = torch.rand(steps, batch, generator=g) < ends / 2
        over = terminated | truncated
        reset = torch.cat((self.begun[None], over[:-1]))
        real = {"generator": g, "dtype": self.reference.recurrent.dtype}
        x = torch.randn(steps, batch, INPUTS, **real)
        seen = self.acting.run(x, self.state, reset)
        action = self.head.sample(seen.params, g)
        bootstrap, final, no_reset = torch.zeros_like(seen.value), {}, torch.zeros(1, batch, dtype=torch.bool)
        for t in range(steps):
            if truncated[t].any() or t == steps - 1:
                final[t] = torch.randn(batch, INPUTS, **real)
                after = seen.states.at((t + 1) * self.ticks - 1)
                bootstrap[t] = self.acting.run(final[t][None], after, no_reset).value[0]
        traj = Trajectory(
            x=x, action=action, params=seen.params.contiguous(), value=seen.value.contiguous(), bootstrap=bootstrap,
            logp_ref=self.head.log_prob(seen.params, action), reward=torch.randn(steps, batch, **real),
            terminated=terminated, truncated=truncated, reset=reset, final=final, state=self.state,
        )  # fmt: skip
        self.state, self.begun = seen.states.at(-1), over[-1]
        self.fired.append(float(seen.states.spk.mean()))
        return traj

    def window(self, batch=3, steps=None, ends=0.15, left=1.0):
        """Let both learn from one window; return it and what each saw."""
        traj = self.lived(steps or self.rule.window, batch, ends)
        saw = self.ours.learn(copy.deepcopy(traj), left), self.witness.learn(copy.deepcopy(traj), left)
        if self.sync:
            self.reference.load_state_dict(self.witness.update.network.state_dict())
        return traj, *saw


def learned(learner):
    """Return all that learning changes, by name."""
    update = learner.update
    names = ("hidden", "readout", "path")
    parts = dict(zip(names, update.weights, strict=True)) | {"firing rate": update.firing_rate}
    for name, moments in (("first", update.optimiser.first), ("second", update.optimiser.second)):
        parts |= {f"{name} of {k}": moment for k, moment in zip(names, moments, strict=True)}
    return {name: part.clone() for name, part in parts.items()} | {"steps": torch.tensor(update.optimiser.steps)}


def assert_same(got, wanted, tolerance):
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        assert_close(got[name], value, rtol=tolerance, atol=tolerance, msg=lambda m, name=name: f"{name}: {m}")


def hold_to_the_witness(pair, batch=3, windows=3, tolerance=1e-10, moves=True, steps=None, ends=0.15):
    """Let both learn from several windows and compare all that they saw and all that they changed."""
    before = learned(pair.ours)
    for i in range(windows):
        _, got, wanted = pair.window(batch, steps, ends, left=1.0 - i / windows)
        assert_same(got._asdict(), wanted._asdict(), tolerance)
        assert_same(learned(pair.ours), learned(pair.witness), tolerance)
        assert 0.02 < got.rate.mean() < 0.6 and 0.02 < pair.fired[-1] < 0.6
    after = learned(pair.ours)
    chunks = -(-len(got.value) // pair.rule.tau_f)
    assert after["steps"] - before["steps"] == windows * pair.rule.replays * chunks
    for name in ("hidden", "readout", "path")[: 2 + bool(len(after["path"]))]:
        assert (float((after[name] - before[name]).abs().max()) > 1e-3) == moves
    assert torch.equal(pair.ours.update.network.recurrent.diagonal(), torch.zeros(NEURONS))
    return got


# --- the learner --------------------------------------------------------------------------------------------------


def test_which_rules_are_compiled():
    assert HAVE_LOOPS == ["lf-cs", "e-prop", "naive-replay", "importance", "acer", "v-trace", "random"]


@pytest.mark.parametrize("tail", [0, 4])
@pytest.mark.parametrize("ticks", [1, 2])
@pytest.mark.parametrize("network", NETWORKS[1:], ids=str)
def test_every_neuron_equals_its_definition(double, network, ticks, tail):
    hold_to_the_witness(Pair(ticks=ticks, network=network, tail=tail, capacity=3, burn_in=3))


@pytest.mark.parametrize("ticks", [1, 2, 3])
@pytest.mark.parametrize("agent", LEARN)
def test_every_rule_equals_its_definition(double, agent, ticks):
    pair = Pair(agent, ticks, entropy=0.02)
    saw = hold_to_the_witness(pair)
    assert (saw.rho - 1.0).abs().max() > 0.05


@pytest.mark.parametrize("agent", ["lf-cs", "e-prop", "naive-replay", "importance", "v-trace"])
@pytest.mark.parametrize("space", [BOX, CHOICES, BITS, WHOLE], ids=["box", "choices", "bits", "whole"])
def test_every_action_space_equals_its_definition(double, space, agent):
    one_pass = {"replays": 1, "tau_f": 12} if agent == "e-prop" else {}
    pair = Pair(agent, 2, space=space, entropy=0.02, **one_pass)
    saw = hold_to_the_witness(pair)
    assert (saw.rho - 1.0).abs().max() > 0.05 or agent == "e-prop"


@pytest.mark.parametrize("space", [BOX, WHOLE], ids=["box", "whole"])
def test_older_windows_of_every_action_space(double, space):
    pair = Pair(capacity=3, replays=4, tau_f=5, burn_in=3, space=space, feedback="random", lr_readout=0.01)
    for _ in range(4):
        _, got, wanted = pair.window()
        assert_same(got._asdict(), wanted._asdict(), 1e-10)
        assert_same(learned(pair.ours), learned(pair.witness), 1e-10)


def test_a_rule_that_learns_nothing_changes_nothing(double):
    hold_to_the_witness(Pair("random", lr_hidden=0.0, lr_readout=0.0, lr_path=0.0, replays=1, tau_f=12), moves=False)


OPTIONS = [
    {"options": {"mask": "two-sided"}},
    {"options": {"mask": "two-sided", "pull": 1.5, "eps": 0.05}},
    {"options": {"mask": "sided", "pull": 1.5, "eps": 0.05}},
    {"options": {"mask": "sided", "eps": 0.02}},
    {"agent": "acer", "options": {"truncation": 1.0}},
    {"agent": "acer", "critic_share": 0.7, "feedback": "random", "options": {"truncation": 1.2}},
    {"agent": "v-trace", "options": {"rho_bar": 1.1, "c_bar": 0.9}},
    {"agent": "v-trace", "options": {"rho_bar": 0.9, "c_bar": 1.1}, "normalise": False},
    {"normalise": False},
    {"feedback": "random"},
    {"homeostasis": 0.0},
    {"homeostasis": 30.0, "target_rate": 0.4, "rate_memory": 5.0},
    {"entropy": 0.5},
    {"entropy": 0.0},
    {"critic_share": 1.0, "value": 2.0},
    {"critic_share": 0.0},
    {"gamma": 1.0, "lam": 1.0},
    {"gamma": 0.8, "lam": 0.0},
    {"max_grad_norm": 1e-2},
    {"max_grad_norm": 1e9},
    {"lr_final": 0.1, "entropy": 0.1, "entropy_final": 0.0},
    {"sync": False, "replays": 1},
    {"path": False},
    {"path": False, "clip": "apart"},
    {"clip": "apart", "max_grad_norm": 0.1},
    {"clip": "apart", "agent": "acer", "max_grad_norm": 0.1},
    {"lam": 0.5, "lam_critic": 0.95},
    {"lam": 0.5, "lam_critic": 0.95, "agent": "v-trace"},
    {"lam": 0.9, "lam_critic": 0.3},
]


@pytest.mark.parametrize("given_", OPTIONS, ids=str)
def test_every_option_equals_its_definition(double, given_):
    hold_to_the_witness(Pair(**given_))


@pytest.mark.parametrize("ticks", [1, 3])
@pytest.mark.parametrize("tail", [0, 1, 4, 50])
@pytest.mark.parametrize("tau_f", [1, 5, 12])
def test_chunks_and_tails_of_any_length(double, tau_f, tail, ticks):
    """5 does not divide the window; 50 ticks are longer than it."""
    hold_to_the_witness(Pair(ticks=ticks, tau_f=tau_f, tail=tail, replays=2), windows=2)


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("ends", [0.0, 0.15, 0.6])
@pytest.mark.parametrize("agent", ["lf-cs", "acer"])
def test_any_number_of_environments_and_ends(double, batch, ends, agent):
    hold_to_the_witness(Pair(agent, tau_f=3), batch, ends=ends)


def test_a_window_longer_than_the_rooms_of_a_pass(double):
    """States of 70 steps do not fit the memory that is kept, nor the credit of 7 environments one block."""
    hold_to_the_witness(Pair(window=70, tau_s=70, tau_f=3, tail=4), 7, windows=2)
    hold_to_the_witness(Pair(window=70, tau_s=70, tau_f=70, tail=4, ticks=2), 7, windows=2)


def test_windows_of_other_lengths(double):
    """The last window of a run is cut."""
    pair = Pair(tau_f=5)
    for steps in (12, 4, 7, 12, 1):
        hold_to_the_witness(pair, windows=1, steps=steps)


REPLAYS = [
    {"agent": "lf-cs", "options": {"stale_bar": 2.0}},
    {"agent": "lf-cs", "options": {"stale_bar": 0.7}, "burn_in": 5},
    {"agent": "lf-cs", "options": {"mask": "two-sided", "pull": 1.0, "stale_bar": 0.9}, "ticks": 2, "burn_in": 3},
    {"agent": "lf-cs", "options": {"decouple": False}},
    {"agent": "lf-cs", "options": {"decouple": False}, "burn_in": 5},
    {"agent": "importance", "burn_in": 4},
    {"agent": "v-trace"},
    {"agent": "acer", "burn_in": 4},
]


@pytest.mark.parametrize("given_", REPLAYS, ids=str)
def test_older_windows_equal_their_definition(double, given_):
    pair = Pair(capacity=3, replays=4, tau_f=5, **given_)
    older = 0
    for _ in range(6):
        traj, got, wanted = pair.window()
        assert_same(got._asdict(), wanted._asdict(), 1e-10)
        assert_same(learned(pair.ours), learned(pair.witness), 1e-10)
        older += len(got.value) < len(traj.value)
    assert bool(older) == bool(given_.get("burn_in"))
    kept = pair.ours.replay.windows
    drawn, view = pair.ours.drawn(kept[0], kept[-1])
    expected, expected_view = pair.witness.drawn(pair.witness.replay.windows[0], pair.witness.replay.windows[-1])
    assert_close(view.rho, expected_view.rho, rtol=0, atol=1e-10)
    decoupled = given_["agent"] == "lf-cs" and given_.get("options", {}).get("decouple", True)
    assert (drawn.stale is not None) == decoupled
    if decoupled:
        assert_close(drawn.stale, expected.stale, rtol=0, atol=1e-10)
        assert (drawn.stale < 0.9).any() and (drawn.stale > 1.1).any()


many = st.fixed_dictionaries({
    "agent": st.sampled_from(LEARN), "ticks": st.integers(1, 3), "tau_f": st.integers(1, 12),
    "tail": st.integers(0, 14), "replays": st.integers(1, 3), "feedback": st.sampled_from(["symmetric", "random"]),
    "normalise": st.booleans(), "homeostasis": st.sampled_from([0.0, 1.0]), "entropy": st.floats(0, 0.1),
    "critic_share": st.floats(0, 1), "gamma": st.floats(0, 1), "lam": st.floats(0, 1), "value": st.floats(0, 1),
    "max_grad_norm": st.sampled_from([0.1, 0.5, 100.0]), "capacity": st.integers(0, 3), "burn_in": st.integers(0, 4),
    "sync": st.booleans(), "seed": st.integers(0, 5), "network": st.sampled_from(NETWORKS),
})  # fmt: skip
of_lf_cs = st.fixed_dictionaries({
    "mask": st.sampled_from(["sided", "two-sided"]), "eps": st.sampled_from([0.02, 0.2]),
    "pull": st.sampled_from([0.0, 1.0]), "decouple": st.booleans(), "stale_bar": st.sampled_from([0.8, 2.0]),
})  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(many, of_lf_cs, st.sampled_from([1, 2, 5]), st.sampled_from([0.0, 0.15, 0.5]))
def test_any_combination_equals_its_definition(double, given_, own, batch, ends):
    options = own if given_["agent"] == "lf-cs" else {}
    pair = Pair(**given_ | {"burn_in": given_["burn_in"] if given_["capacity"] else 0}, options=options)
    before = learned(pair.ours)
    for _ in range(3):
        _, got, wanted = pair.window(batch, ends=ends)
        assert_same(got._asdict(), wanted._asdict(), 1e-10)
        assert_same(learned(pair.ours), learned(pair.witness), 1e-10)
    assert not torch.equal(learned(pair.ours)["hidden"], before["hidden"])
    assert 0.02 < np.mean(pair.fired) < 0.6


@pytest.mark.parametrize("agent", LEARN)
def test_single_precision_too(agent):
    hold_to_the_witness(Pair(agent, ticks=2, replays=2), windows=2, tolerance=1e-4)


@pytest.mark.parametrize("ticks", [1, 2])
@pytest.mark.parametrize("agent", ["lf-cs", "acer", "v-trace"])
def test_looking_changes_nothing_and_sees_what_the_witness_sees(double, agent, ticks):
    pair = Pair(agent, ticks, sync=False)
    for _ in range(2):
        traj, *_ = pair.window()
    before, state = learned(pair.ours), traj.state.data.clone()
    view, expected = pair.ours.look(traj), pair.witness.look(traj)
    assert_same(learned(pair.ours), before, 0.0)
    assert torch.equal(traj.state.data, state)
    used = traj.truncated & ~traj.terminated
    used[-1] = True
    for name in ("value", "rho"):
        assert_close(getattr(view, name), getattr(expected, name), rtol=0, atol=1e-10)
    assert_close(view.bootstrap[used], expected.bootstrap[used], rtol=0, atol=1e-10)
    assert isinstance(view, View) and (view.rho - 1.0).abs().max() > 0.05 and used[:-1].any()
    _, got, wanted = pair.window()  # and what it learns next does not depend on having looked
    assert_same(got._asdict(), wanted._asdict(), 1e-10)


@pytest.mark.parametrize("name,number", [("reward", float("nan")), ("logp_ref", -1e4), ("logp_ref", float("nan"))])
def test_what_is_not_finite_shows(double, name, number):
    """A ratio of infinity, too: its KL is none, and the largest of all is none then."""
    pair = Pair(replays=2)
    traj = pair.lived(12, 3)
    getattr(traj, name)[3, 1] = number
    got, wanted = (learner.learn(copy.deepcopy(traj), 1.0) for learner in (pair.ours, pair.witness))
    assert got.norm.isnan().any() and got.largest.isnan()
    for mine, theirs in zip(got, wanted, strict=True):
        assert torch.equal(mine.isnan(), theirs.isnan())
    assert torch.equal(pair.ours.update.network.hidden.isnan(), pair.witness.update.network.hidden.isnan())


def test_a_window_is_not_written_to(double):
    pair = Pair("lf-cs", 2, capacity=3, replays=4, burn_in=3)
    for _ in range(3):
        traj = pair.lived(12, 3)
        given_ = copy.deepcopy(traj)
        pair.ours.learn(traj, 1.0)
        for f in dataclasses.fields(Trajectory):
            mine, theirs = getattr(traj, f.name), getattr(given_, f.name)
            if isinstance(mine, torch.Tensor):
                assert torch.equal(mine, theirs), f.name
        assert torch.equal(traj.state.data, given_.state.data)
        assert all(torch.equal(traj.final[t], given_.final[t]) for t in given_.final)


def test_learning_goes_on_from_what_was_saved(double):
    pair, other = Pair(capacity=3, replays=4), Pair(capacity=3, replays=4)
    for _ in range(3):
        pair.window()
    other.ours.load_state_dict(pair.ours.state_dict())  # which shares nothing that learning changes
    other.reference.load_state_dict(pair.reference.state_dict())
    traj = pair.lived(12, 3)
    for learner in (pair.ours, other.ours):
        learner.learn(copy.deepcopy(traj), 0.5)
    assert_same(learned(other.ours), learned(pair.ours), 0.0)


# --- heads --------------------------------------------------------------------------------------------------------


@kernels.compiled
def judge_rows(address, params, action, constants, score, entropy_score, found):
    judge = judge_at(address, params)
    for i in range(len(params)):
        judge(params[i], action[i], constants, score[i], entropy_score[i], found[i])


@kernels.compiled
def choose_rows(address, params, uniform, constants, action):
    choose = draw_at(address, params)
    for i in range(len(params)):
        choose(params[i], uniform[i], constants, action[i])


NONE = np.empty(0)  # constants of these heads


def head_of(kind, actions):
    return CategoricalHead(actions) if kind == "categorical" else ActionValueHead(CategoricalHead(actions))


logits = st.one_of(st.floats(-3, 3), st.floats(-50, 50), st.sampled_from([-50.0, 0.0, 50.0]))
many_logits = st.integers(2, 6).flatmap(lambda k: st.lists(st.lists(logits, min_size=k, max_size=k), min_size=1))
kinds = st.sampled_from(["categorical", "action-value"])


def params_of(kind, rows):
    params = torch.tensor(rows, dtype=torch.float64)
    return params if kind == "categorical" else torch.cat((params, params.flip(-1)), dim=-1)


@settings(max_examples=60, deadline=None)
@given(kinds, many_logits, st.integers(0, 99))
def test_compiled_judgements_are_the_heads(kind, rows, seed):
    params, actions = params_of(kind, rows), len(rows[0])
    head = head_of(kind, actions)
    action = torch.randint(actions, (len(rows),), generator=torch.Generator().manual_seed(seed))
    wanted = head.judge(params, action)
    score, entropy_score, found = np.full((2, *params.shape), np.nan), None, np.full((len(rows), 2), np.nan)
    score, entropy_score = score
    given_ = params.numpy(), action.numpy().astype(np.float64)[:, None]
    judge_rows(head.loops.judge.address(), *given_, NONE, score, entropy_score, found)
    log_prob, entropy = found.T.copy()
    for got, expected in zip((log_prob, score, entropy, entropy_score), wanted, strict=True):
        assert_close(torch.from_numpy(got), expected, rtol=1e-12, atol=1e-12)
    chosen = torch.distributions.Categorical(logits=params[:, :actions])
    assert_close(torch.from_numpy(log_prob), chosen.log_prob(action), rtol=1e-12, atol=1e-12)
    assert_close(torch.from_numpy(entropy), chosen.entropy(), rtol=1e-12, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(kinds, many_logits, st.integers(0, 99))
def test_compiled_actions_are_the_heads(kind, rows, seed):
    params = params_of(kind, rows)
    head, action = head_of(kind, len(rows[0])), np.full((len(rows), 1), np.nan)
    drawn = head.sample(params, torch.Generator().manual_seed(seed))
    uniform = torch.rand((len(rows), 1), generator=torch.Generator().manual_seed(seed), dtype=torch.float64).numpy()
    choose_rows(head.loops.draw.address(), params.numpy(), uniform, NONE, action)
    assert action[:, 0].tolist() == drawn.tolist()
    choose_rows(head.loops.greedy.address(), params.numpy(), np.empty((len(rows), 0)), NONE, action)
    best = params[:, : head.outputs].max(-1, keepdim=True).values
    assert (params[:, : head.outputs].gather(-1, torch.from_numpy(action).long()) == best).all()
    assert action[:, 0].tolist() == (params[:, : head.outputs] == best).int().argmax(-1).tolist()  # the first of equals


@pytest.mark.parametrize("kind", ["categorical", "action-value"])
def test_actions_come_as_often_as_they_should(kind):
    params, count = params_of(kind, [[1.0, -1.0, 0.3, -30.0]]), 40_000
    head, action = head_of(kind, 4), np.empty((count, 1))
    uniform = np.random.default_rng(0).random((count, 1))
    choose_rows(head.loops.draw.address(), params.expand(count, -1).contiguous().numpy(), uniform, NONE, action)
    often = np.bincount(action[:, 0].astype(int), minlength=4) / count
    np.testing.assert_allclose(often, params[0, :4].softmax(-1).numpy(), atol=0.01)
    edge = np.array([[0.0], [np.nextafter(1.0, 0.0)]])
    choose_rows(head.loops.draw.address(), params.expand(2, -1).contiguous().numpy(), edge, NONE, action[:2])
    assert action[0, 0] == 0 and action[1, 0] in (2, 3)  # never one that there is not
    equal, edge = np.zeros((7, params.shape[1])), np.array([[0.0], [0.2], [0.25], [0.4], [0.5], [0.75], [0.9]])
    choose_rows(head.loops.draw.address(), equal, edge, NONE, action[:7])
    assert action[:7, 0].tolist() == [0, 0, 1, 1, 2, 3, 3]  # an action begins where those before it end


# --- rules --------------------------------------------------------------------------------------------------------


@kernels.compiled
def errors_of(weight, error, rho, advantage, raw, scale, stale, params, params_ref, action, score, constants, out):
    weigh, correct, known = weight_at(weight, rho), error_at(error, rho), np.empty(4)
    for i in range(len(rho)):
        share = weigh(rho[i], advantage[i], stale[i], constants)
        for k in range(out.shape[1]):
            out[i, k] = share * score[i, k]
        known[0], known[1], known[2], known[3] = rho[i], advantage[i], raw[i], scale
        correct(params[i], params_ref[i], action[i], score[i], known, constants, out[i])


def both_errors(agent, params, params_ref, action, rho, advantage, raw, scale, stale):
    """Return a rule's errors [S, P] in compiled form and as it defines them."""
    head = agent.head(SPACE)
    judged, loops = head.judge(params, action), agent.loops()
    sample = Sample(
        params, params_ref, action, judged, rho, advantage, raw, torch.tensor(scale, dtype=rho.dtype),
        stale,
    )  # fmt: skip
    out, older = np.full(tuple(params.shape), np.nan), torch.full_like(rho, -1.0) if stale is None else stale
    arrays = [part.numpy() for part in (rho, advantage, raw)]
    rest = [part.numpy() for part in (older, params, params_ref, action.double()[:, None], judged.score)]
    constants = np.array(loops.constants, np.float64)
    errors_of(loops.weight.address(), loops.error.address(), *arrays, scale, *rest, constants, out)
    return torch.from_numpy(out), agent.error(sample)


RULES = [("lf-cs", {"mask": mask, "pull": pull, "stale_bar": bar}) for mask in ("sided", "two-sided")
         for pull, bar in ((0.0, 2.0), (1.5, 0.7))]  # fmt: skip
RULES += [("lf-cs", {"mask": mask, "eps": 0.25}) for mask in ("sided", "two-sided")]  # 0.75 and 1.25 are the edges
RULES += [("acer", {}), ("acer", {"truncation": 1.2}), ("v-trace", {"rho_bar": 1.3})]
RULES += [(name, {}) for name in ("e-prop", "naive-replay", "importance", "random")]
EDGES = [0.0, 0.8, 1.2, 1.0 - 0.2, 1.0 + 0.2, np.nextafter(1.2, 2.0), np.nextafter(0.8, 0.0), 1.0, 1.3, 10.0, np.inf]
EDGES += [0.75, 1.25, np.nextafter(0.75, 1.0), np.nextafter(1.25, 1.0)]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(RULES), st.integers(0, 999), st.floats(0.1, 10), st.sampled_from([1.0, 5.0]))
def test_compiled_errors_are_the_rules(rule, seed, scale, spread):
    name, options = rule
    agent = AGENTS[name](RuleConfig(value=0.7), AGENTS[name].Options(**options))
    g, size, steps = torch.Generator().manual_seed(seed), agent.head(SPACE).size, 40
    params, params_ref = spread * torch.randn(2, steps, size, generator=g, dtype=torch.float64)
    advantage, raw, noise = torch.randn(3, steps, generator=g, dtype=torch.float64)
    rho, stale = noise.exp(), torch.randn(steps, generator=g, dtype=torch.float64).exp()
    advantage[:2], rho[2:6] = 0.0, 1.05  # some where a mask is open, whatever is drawn
    action = torch.randint(ACTIONS, (steps,), generator=g)
    for older in (None, stale) if name == "lf-cs" else (None,):
        got, wanted = both_errors(agent, params, params_ref, action, rho, advantage, raw, scale, older)
        assert_close(got, wanted, rtol=1e-12, atol=1e-12)
        assert got.abs().max() > 1e-3


@pytest.mark.parametrize("advantage", [-1.5, 0.0, 2.0])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_compiled_errors_at_the_edges(rule, advantage):
    name, options = rule
    agent = AGENTS[name](RuleConfig(), AGENTS[name].Options(**options))
    rho = torch.tensor(EDGES, dtype=torch.float64)
    params = torch.randn(2, len(rho), agent.head(SPACE).size, generator=torch.Generator().manual_seed(0)).double()
    action, known = torch.arange(len(rho)) % ACTIONS, torch.full_like(rho, advantage)
    got, wanted = both_errors(agent, *params, action, rho, known, known, 1.0, None)
    assert_close(got, wanted, rtol=1e-12, atol=1e-12, equal_nan=True)
    if name == "lf-cs":
        for stale in (0.0, 0.7, 2.0, np.inf):
            older = torch.full_like(rho, stale)
            got, wanted = both_errors(agent, *params, action, rho, known, known, 1.0, older)
            assert_close(got, wanted, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_judgements_name_their_parts_in_the_order_that_is_compared():
    assert Judgement._fields == ("log_prob", "score", "entropy", "entropy_score")
