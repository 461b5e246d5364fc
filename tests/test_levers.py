"""Options of the learner: the critic's path from the input, a mean as the final policy, scaled rewards, a pace."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from conftest import make_policy, random_window
from test_learner import small_trainer
from torch.testing import assert_close

from lfcs.engines import CompiledEngine, SnntorchEngine, TensorEngine
from lfcs.engines.bptt import BpttEngine
from lfcs.learner import Learner
from lfcs.update import View


def weights(network):
    """Return copies of all that learns."""
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


ENGINES = [SnntorchEngine, TensorEngine, CompiledEngine, BpttEngine]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("ticks", [1, 3])
def test_the_critic_hears_the_input_and_nobody_else_does(double, engine, ticks):
    """V_t = w_v · y_t + b_v + s · x_t; neither neurons nor policy notice."""
    policy, head = make_policy(ticks=ticks, critic_path=True)
    x, _, reset = random_window(policy, head, 9, 4)
    deaf = engine(policy).run(x, policy.initial_state(4), reset)  # s is 0 at the start
    policy.path.normal_(generator=torch.Generator().manual_seed(5))
    hears = engine(policy).run(x, policy.initial_state(4), reset)
    assert hears.states.spk.mean() > 0.05
    assert_close(hears.value - deaf.value, x @ policy.path, rtol=0, atol=1e-12)
    assert (hears.value - deaf.value).abs().max() > 0.5
    assert torch.equal(hears.params, deaf.params) and torch.equal(hears.states.data, deaf.states.data)
    assert torch.equal(policy.value_path.weight[0], policy.path)  # a parameter: it is saved, and copied at the sync


@pytest.mark.parametrize("form", ["window", "online"])
def test_the_path_goes_along_the_gradient_of_the_critics_error(double, form):
    """ds = -d/ds Σ_t c_V (target_t - V_t)² / 2, as a mean over steps, by autograd."""
    trainer = small_trainer(
        network__critic_path=True, rule__form=form, rule__replays=1, rule__normalise=False, rule__tau_f=12,
        agent__mask="two-sided", rule__value=0.7,
    )  # fmt: skip
    update, found = trainer.learner.update, []
    update.network.path.normal_(generator=torch.Generator().manual_seed(5))
    trainer.reference.path.copy_(update.network.path)
    traj = trainer.rollout.collect(12)
    seen = update.engine.run(traj.x, traj.state, traj.reset)
    credit = update.credit(traj, view(trainer, traj, seen))
    s = update.network.path.clone().requires_grad_()
    value = seen.value - traj.x @ update.network.path + traj.x @ s
    (-0.7 * (credit.target - value).square() / 2).mean().backward()
    step = update.optimiser.step
    update.optimiser.step = lambda gradients, *rest: found.append(gradients[2].clone()) or step(gradients, *rest)
    if form == "window":
        trainer.learner = Learner(update, trainer.engine)
    trainer.learner.learn(traj, 1.0)
    assert_close(found[0], s.grad, rtol=0, atol=1e-12)
    assert found[0].abs().max() > 1e-3


def view(trainer, traj, seen):
    bootstrap = trainer.learner.update.bootstraps(traj, slice(0, len(traj.reward)), seen)
    return View(seen.value, bootstrap, torch.ones_like(seen.value))


@pytest.mark.parametrize("engine", ["fused", "snntorch", "tensor"])
def test_a_run_with_a_path_learns_with_it_on_every_engine(engine):
    trainer = small_trainer(engine=engine, network__critic_path=True, rule__lr_path=0.05)
    for _ in range(3):
        metrics = trainer.window()
    assert trainer.learner.update.network.path.abs().max() > 0.01
    assert torch.equal(trainer.reference.path, trainer.learner.update.network.path)
    assert metrics["spikes/rate_mean"] > 0.0


def test_the_final_policy_is_the_mean_of_those_that_acted():
    trainer, plain = small_trainer(rule__average=3), small_trainer()
    assert plain.final is plain.policy
    acted, mean = [], []
    for _ in range(5):
        trainer.window()
        plain.window()
        acted.append(weights(trainer.reference))
        mean.append(weights(trainer.final.network))
    for name, value in weights(plain.reference).items():
        assert torch.equal(value, acted[-1][name]), name  # it looks on
        expected = [torch.stack([w[name] for w in acted[: n + 1]]).mean(0) for n in range(3)]
        expected += [expected[-1] + (acted[3][name] - expected[-1]) / 3]
        expected += [expected[-1] + (acted[4][name] - expected[-1]) / 3]
        for n in range(5):
            assert_close(mean[n][name], expected[n])
    assert trainer.final.encoder is trainer.policy.encoder
    returns, _ = trainer.play(40, seed=1, greedy=False)
    trainer.final.network.readout.zero_()
    assert (trainer.play(40, seed=1, greedy=False)[0] != returns).any()  # it is what is evaluated


def test_a_run_with_a_mean_goes_on_where_it_was_kept():
    whole, first, second = (small_trainer(rule__average=3, rule__distance=0.01, rule__tau_s=24) for _ in range(3))
    for trainer in (whole, first):
        for _ in range(3):
            trainer.window()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for trainer in (whole, second):
        for _ in range(3):
            trainer.window()
    for policy in ("reference", "final"):
        a, b = (getattr(t, policy) for t in (whole, second))
        a, b = (weights(getattr(p, "network", p)) for p in (a, b))
        assert all(torch.equal(value, b[name]) for name, value in a.items())
    assert whole.learner.update.pace == second.learner.update.pace < 1.0
    assert whole.average.count == second.average.count == 3


def test_learning_from_scaled_rewards_is_learning_from_other_rewards():
    """And returns are those of the environment."""
    scaled, doubled = small_trainer(rule__reward_scale=2.0), small_trainer()
    collect = doubled.rollout.collect

    def more(*given):
        traj = collect(*given)
        return dataclasses.replace(traj, reward=2.0 * traj.reward)

    doubled.rollout.collect = more
    for _ in range(4):
        ours, theirs = scaled.window(), doubled.window()
    assert ours == theirs and ours["rollout/ep_rew_mean"] <= 10.0
    assert torch.equal(scaled.reference.hidden, doubled.reference.hidden)
    other = small_trainer()
    for _ in range(4):
        other.window()
    assert not torch.equal(scaled.reference.hidden, other.reference.hidden)


def test_the_pace_holds_the_distance_to_the_reference():
    fast = {"rule__lr_readout": 0.2, "rule__replays": 8, "agent__eps": 10.0}
    free, held = small_trainer(**fast), small_trainer(rule__distance=0.05, **fast)
    for _ in range(60):
        a, b = free.window(), held.window()
    assert a["train/pace"] == 1.0 and b["train/pace"] < 0.5
    assert b["train/learning_rate"] == pytest.approx(0.2 * b["train/pace"], rel=0.11)  # of the window before
    assert b["train/total_variation"] < 0.2
    slow = small_trainer(rule__distance=0.9)
    assert [slow.window()["train/pace"] for _ in range(3)] == [1.0] * 3
    slow.learner.update.pace = 0.5
    slow.window()
    assert slow.learner.update.pace == pytest.approx(0.55)


def test_rewards_are_scaled_by_their_size_where_no_scale_is_given():
    """c = min(1, 10 (1 - γ)/mean|r|) over the run; it falls and never rises, and goes on from a checkpoint."""
    trainer = small_trainer(rule__reward_scale=0.0, rule__gamma=0.99)
    update, like = trainer.learner.update, trainer.rollout.collect(12)

    def scale(size):
        reward = torch.full_like(like.reward, -size)
        scaled = update.scaled(dataclasses.replace(like, reward=reward)).reward
        assert_close(scaled, update.reward_scale * reward)
        return update.reward_scale

    assert scale(0.05) == 1.0  # values of at most 5
    assert scale(1.95) == pytest.approx(0.1)  # 1 on average, for 100 steps
    assert scale(0.0) == pytest.approx(0.1)
    other = small_trainer(rule__reward_scale=0.0, rule__gamma=0.99).learner.update
    other.load_state_dict(copy.deepcopy(update.state_dict()))
    assert (other.reward_scale, other.rewarded) == (update.reward_scale, update.rewarded)
    assert scale(20.0) == pytest.approx(0.1 / 5.5)
