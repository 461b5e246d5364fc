"""Each agent's defining equation, with numbers worked out by hand, and where it is e-prop."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import make_policy, random_window
from hypothesis import given, settings
from hypothesis import strategies as st
from test_learner import small_trainer, weights
from torch.testing import assert_close

from lfcs import rules
from lfcs.agent import Sample
from lfcs.agents import AGENTS
from lfcs.agents.acer import Acer
from lfcs.agents.lf_cs import LfCs
from lfcs.config import RuleConfig
from lfcs.engines import BpttEngine
from lfcs.heads import ActionValueHead, CategoricalHead

RULE = RuleConfig()
OWN = {"acer": {"truncation": 2.0}, "v-trace": {"rho_bar": 1.5}} | {
    name: {"eps": 0.2} for name in ("lf-cs", "bptt-ppo")
}
RHO, ADVANTAGE = [0.5, 1.0, 1.19, 1.3, 3.0, 0.5, 3.0], [1.0, -2.0, 1.0, 1.0, 2.0, -1.0, -1.0]
BY_HAND = {
    "e-prop": [1.0, -2.0, 1.0, 1.0, 2.0, -1.0, -1.0],
    "naive-replay": [1.0, -2.0, 1.0, 1.0, 2.0, -1.0, -1.0],
    "random": [1.0, -2.0, 1.0, 1.0, 2.0, -1.0, -1.0],
    "importance": [0.5, -2.0, 1.19, 1.3, 6.0, -0.5, -3.0],
    "acer": [0.5, -2.0, 1.19, 1.3, 4.0, -0.5, -2.0],
    "v-trace": [0.5, -2.0, 1.19, 1.3, 3.0, -0.5, -1.5],
    "lf-cs": [0.5, -2.0, 1.19, 0.0, 0.0, 0.0, -3.0],
    "bptt-ppo": [0.5, -2.0, 1.19, 0.0, 0.0, 0.0, -3.0],
}


@pytest.mark.parametrize("name", AGENTS)
def test_weights_by_hand(name):
    agent = AGENTS[name]
    got = agent(RULE, agent.Options(**OWN.get(name, {}))).weight(torch.tensor(RHO), torch.tensor(ADVANTAGE))
    assert_close(got, torch.tensor(BY_HAND[name]))


def test_the_two_sided_mask_by_hand():
    agent = LfCs(RULE, LfCs.Options(eps=0.2, mask="two-sided"))
    got = agent.weight(torch.tensor(RHO), torch.tensor(ADVANTAGE))
    assert_close(got, torch.tensor([0.0, -2.0, 1.19, 0.0, 0.0, 0.0, 0.0]))


def test_a_closed_mask_can_pull_the_ratio_back():
    """With pull 2: at ρ = 1.3 the weight is -2 · 0.3 · 1.3, at ρ = 0.5 it is 2 · 0.5 · 0.5; within the band nothing."""
    rho, advantage = torch.tensor([1.1, 1.3, 0.5]), torch.tensor([1.0, 1.0, 1.0])
    got = LfCs(RULE, LfCs.Options(eps=0.2, mask="two-sided", pull=2.0)).weight(rho, advantage)
    assert_close(got, torch.tensor([1.1, -0.78, 0.5]))
    got = LfCs(RULE, LfCs.Options(eps=0.2, mask="sided", pull=2.0)).weight(rho, advantage)
    assert_close(got, torch.tensor([1.1, -0.78, 0.5]))  # at ρ = 0.5 with A > 0 this mask is open: ρ A
    free = torch.tensor([1.3], requires_grad=True)
    (slope,) = torch.autograd.grad(-2.0 * (free - 1.0) ** 2 / 2, free)
    assert_close(slope * free.detach(), torch.tensor([-0.78]))  # d/dW = slope · ρ · d log π/dW


@pytest.mark.parametrize("name", ["naive-replay", "importance", "lf-cs", "v-trace"])
def test_one_pass_on_the_policys_own_experience_is_e_prop(double, name):
    same = {"rule__replays": 1, "rule__tau_f": 12, "rule__tau_s": 12}
    runs = [small_trainer(agent=name, **same), small_trainer(agent="e-prop")]
    for trainer in runs:
        for _ in range(5):
            trainer.window()
    for a, b in zip(*(weights(t.learner.update.network).values() for t in runs), strict=True):
        assert_close(a, b, rtol=0, atol=1e-10)


def test_backpropagation_over_one_step_is_e_prop(double):
    """No recurrent spike and no past lies inside a window of one step that begins an episode."""
    same = {"rule__window": 1, "rule__tau_f": 1, "rule__tau_s": 1, "rule__replays": 1}
    runs = [small_trainer(agent="bptt-ppo", **same), small_trainer(agent="e-prop", **same)]
    before = weights(runs[0].learner.update.network)
    for trainer in runs:
        trainer.window()
    for name, value in weights(runs[0].learner.update.network).items():
        assert_close(value, weights(runs[1].learner.update.network)[name], rtol=0, atol=1e-10)
    assert not torch.equal(before["input.weight"], runs[0].learner.update.network.input.weight)


def test_backpropagation_gives_autograds_gradient_through_recurrent_spikes(double):
    policy, head = make_policy(ticks=2)
    x, _, reset = random_window(policy, head, 6, 3)
    state, outputs = policy.initial_state(3), []
    for x_t, reset_t in zip(x, reset, strict=True):
        state = state.cleared(reset_t)
        for _ in range(2):
            state = policy.tick(x_t, state)
        params, value = policy.read(state, x_t)
        outputs.append(torch.cat((params, value[:, None]), dim=1))
    error = torch.randn(6, 3, 4, dtype=torch.float64)
    found = torch.autograd.grad((torch.stack(outputs) * error).sum(), [policy.recurrent, policy.value_readout.weight])
    engine = BpttEngine(policy)
    by_tick = torch.zeros(12, 3, dtype=torch.bool)
    by_tick[::2] = reset
    seen = engine.run(x, policy.initial_state(3), reset, differentiable=True).states
    hidden, readout = engine.gradients(
        seen, by_tick, error, policy.readout[:, :-1], torch.zeros(7, dtype=torch.float64)
    )
    assert_close(hidden[4:].T, found[0].fill_diagonal_(0.0), rtol=0, atol=1e-10)
    assert_close(readout[3:, :-1], found[1], rtol=0, atol=1e-10)


def test_vtrace_by_hand():
    """γ = 0.9, λ = 1, ρ̄ = c̄ = 1: δ = (1.4, 1); the second ratio of 0.5 halves its TD error for all."""
    column = [torch.tensor(values)[:, None] for values in ([1.0, 2.0], [0.5, 1.0], [1.0, 0.0], [2.0, 0.5])]
    r, v, v_next, rho = column
    ends = torch.tensor([[False], [True]])
    advantage, target = rules.vtrace(r, v, v_next, ends, rho, 0.9, 1.0, 1.0, 1.0)
    assert_close(target[:, 0], torch.tensor([2.35, 1.5]))
    assert_close(advantage[:, 0], torch.tensor([1.85, 1.0]))


def test_vtrace_on_policy_is_generalised_advantage_estimation():
    g = torch.Generator().manual_seed(0)
    r, v, v_next = (torch.randn(20, 3, generator=g, dtype=torch.float64) for _ in range(3))
    ends = torch.rand(20, 3, generator=g) < 0.2
    v_next[:-1] = torch.where(ends[:-1], v_next[:-1], v[1:])  # a following value is that of the next step
    expected = rules.advantages(rules.td_error(r, v, v_next, 0.9), ends, 0.9, 0.8)
    advantage, target = rules.vtrace(r, v, v_next, ends, torch.ones_like(r), 0.9, 0.8, 1.0, 1.0)
    assert_close(advantage, expected, rtol=0, atol=1e-10)
    assert_close(target - v, expected, rtol=0, atol=1e-10)


def acer_sample(logits, logits_ref, alpha, action, advantage, raw, scale):
    head = ActionValueHead(CategoricalHead(len(logits)))
    params = torch.tensor([[logits + alpha]], dtype=torch.float64)
    params_ref = torch.tensor([[logits_ref + alpha]], dtype=torch.float64)
    action = torch.tensor([[action]])
    judged = head.judge(params, action)
    rho = torch.exp(judged.log_prob - head.log_prob(params_ref, action))
    made = (torch.tensor([[value]], dtype=params.dtype) for value in (advantage, raw))
    return Sample(params, params_ref, action, judged, rho, *made, torch.tensor(scale, dtype=params.dtype))


def logs(*probabilities):
    return torch.tensor(probabilities, dtype=torch.float64).log().tolist()


def test_acer_by_hand():
    """π = (.8, .2), π_ref = (.05, .95), c = 10: ρ = 16 is cut at 10, and 3/8 of what it leaves out comes from α."""
    sample = acer_sample(logs(0.8, 0.2), logs(0.05, 0.95), [1.0, -1.0], 0, advantage=0.5, raw=0.7, scale=1.0)
    got = AGENTS["acer"](RuleConfig()).error(sample)
    assert_close(got, torch.tensor([[[1.024, -1.024, 0.03, -0.03]]], dtype=torch.float64))


actions3 = st.lists(st.floats(-2, 2), min_size=3, max_size=3)


@settings(deadline=None)
@given(actions3, actions3, actions3, st.sampled_from([1.0, 1.5, 10.0]))
def test_acer_is_unbiased_where_its_critic_is_right(logits, logits_ref, alpha, c):
    """Over actions of the reference, both terms sum to the policy gradient Σ_k π_k (Q_k - V) d log π(k)."""
    agent = Acer(RULE, Acer.Options(truncation=c))
    given = torch.tensor([logits, logits_ref, alpha], dtype=torch.float64)
    pi, pi_ref = given[:2].softmax(-1)
    right = given[2] - (pi * given[2]).sum()
    mean = torch.zeros(3, dtype=torch.float64)
    for a in range(3):
        value = float(right[a])
        sample = acer_sample(logits, logits_ref, alpha, a, value, value, 1.0)
        mean += pi_ref[a] * agent.error(sample)[0, 0, :3]
    expected = pi * right - pi * (pi * right).sum()
    assert_close(mean, expected, rtol=0, atol=1e-10)


def test_acer_on_policy_changes_the_logits_as_e_prop_does():
    sample = acer_sample(logs(0.3, 0.7), logs(0.3, 0.7), [2.0, -1.0], 1, advantage=0.5, raw=0.7, scale=1.0)
    expected = AGENTS["e-prop"](RuleConfig()).error(sample)
    assert_close(AGENTS["acer"](RuleConfig()).error(sample)[..., :2], expected[..., :2])


def test_acers_critic_learns_which_action_is_better():
    """In Guess one action pays; the advantages α come to tell it from the others."""
    trainer = small_trainer(agent="acer", network__neurons=64, rule__lr_readout=2e-3, train__num_envs=16)
    for _ in range(100):
        metrics = trainer.window()
    assert metrics["rollout/ep_rew_mean"] > 6.0
    traj = trainer.rollout.collect(12)
    alpha = traj.params[..., 3:]
    better = alpha.gather(-1, traj.action[..., None])[..., 0] - alpha.mean(-1)
    assert better[traj.reward > 0.5].mean() > better[traj.reward < 0.5].mean()


def test_random_is_uniform_and_stays_so():
    trainer = small_trainer(agent="random")
    before = weights(trainer.learner.update.network)
    for _ in range(3):
        metrics = trainer.window()
    assert metrics["train/entropy"] == pytest.approx(math.log(3.0), abs=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in weights(trainer.learner.update.network).items())


@pytest.mark.parametrize("name", ["naive-replay", "importance", "acer", "v-trace", "bptt-ppo", "lf-cs"])
def test_every_agent_learns_an_easy_task(name):
    trainer = small_trainer(agent=name, network__neurons=64, rule__lr_readout=2e-3, train__num_envs=16)
    for _ in range(100):
        metrics = trainer.window()
    assert metrics["rollout/ep_rew_mean"] > 6.0  # of 10; chance is 3.3
