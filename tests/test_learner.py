"""What an update changes and what it leaves alone; what the critic converges to."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from lfcs.configure import build_config
from lfcs.engines.base import at_last_tick
from lfcs.learner import Learner
from lfcs.run import make_trainer

SMALL = {"train.env_workers": "0", "network.neurons": 16, "train.num_envs": 4, "rule.window": 12, "rule.tau_s": 12}
# levers have tests of their own (test_levers.py)
SMALL |= {"network.critic_path": False, "rule.clip": "together", "rule.average": 0, "rule.reward_scale": 1.0}
SMALL |= {"rule.homeostasis": 1.0}


def small_trainer(env="toys:Guess-v0", agent="lf-cs", steps=10**9, seed=0, engine="fused", device="cpu", **settings):
    overrides = SMALL | {k.replace("__", "."): v for k, v in settings.items()}
    trainer = make_trainer(build_config(env, agent, steps, seed, device, engine, overrides))
    trainer.rollout.refresh(seed)
    return trainer


def weights(policy):
    return {k: v.clone() for k, v in policy.state_dict().items()}


def test_one_update_changes_every_plastic_tensor_and_nothing_else():
    trainer = small_trainer(rule__tau_s=24)
    new, reference = trainer.learner.update.network, trainer.reference
    before, frozen = weights(new), weights(reference)
    trainer.window()
    plastic = {name for name, _ in new.named_parameters()}
    assert len(plastic) == 7  # W_in, b, W_rec, W_pi, b_pi, w_v, b_v
    for name, value in weights(new).items():
        assert torch.equal(value, before[name]) == (name not in plastic), name
    for name, value in weights(reference).items():
        assert torch.equal(value, frozen[name]), f"{name} of the reference moved between copies"
    assert torch.equal(new.recurrent.diagonal(), torch.zeros(16))
    assert new.recurrent.abs().sum() > 0

    trainer.window()  # tau_s = 2 windows have passed
    for name, value in weights(reference).items():
        assert torch.equal(value, weights(new)[name]), name


def test_lf_cs_without_replay_is_e_prop_bit_by_bit():
    same = {"rule__replays": 1, "rule__tau_f": 12, "rule__tau_s": 12}
    runs = [small_trainer(agent="lf-cs", **same), small_trainer(agent="e-prop")]
    metrics = [[trainer.window() for _ in range(5)] for trainer in runs]
    assert [m.pop("train/clip_fraction") for m in metrics[0]] == [0.0] * 5  # which e-prop does not have
    assert metrics[0] == metrics[1]
    for a, b in zip(*(weights(t.learner.update.network).values() for t in runs), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("ticks,neurons", [(1, 16), (2, 16), (1, 300)])
def test_the_ratio_is_exactly_one_before_the_first_update(ticks, neurons):
    trainer = small_trainer(rule__tau_f=12, rule__replays=1, network__ticks=ticks, network__neurons=neurons)
    for _ in range(3):
        metrics = trainer.window()
        assert (metrics["train/ratio_mean"], metrics["train/ratio_std"]) == (1.0, 0.0)
        assert metrics["train/clip_fraction"] == 0.0


@pytest.mark.parametrize("settings", [{"agent__mask": "two-sided"}, {"rule__feedback": "random"}, {"rule__tail": 0}])
def test_each_option_changes_what_is_learned(settings):
    given = {"rule__lr_readout": 0.02, "agent__eps": 0.1}
    plain, other = small_trainer(**given), small_trainer(**given | settings)
    for _ in range(4):
        plain.window(), other.window()
    assert not torch.equal(plain.learner.update.network.recurrent, other.learner.update.network.recurrent)


def test_homeostasis_brings_rates_to_the_target():
    rates = {}
    for strength in (0.0, 10.0):
        trainer = small_trainer(
            rule__homeostasis=strength, rule__lr_hidden=1e-3, rule__lr_readout=0.0, network__input_gain=5.0
        )
        seen = [trainer.window()["spikes/rate_mean"] for _ in range(100)]
        rates[strength] = sum(seen[50:]) / 50
    assert abs(rates[10.0] - 0.1) < 0.05 < abs(rates[0.0] - 0.1)


def value_after_learning(env, windows=250):
    settings = {"rule.gamma": 0.9, "rule.lr_readout": 0.05, "rule.replays": 4, "network.neurons": 64}
    steps = windows * SMALL["rule.window"] * SMALL["train.num_envs"]  # so that learning rates fall
    trainer = small_trainer(env, steps=steps, encoder__kind="identity", network__input_gain=4.0, **settings)
    for _ in range(windows):
        trainer.window()
    traj = trainer.rollout.collect(20)
    return traj


def test_value_of_an_endless_reward_is_one_over_one_minus_gamma():
    traj = value_after_learning("toys:EndlessClock-v0")
    assert_close(traj.value, torch.full_like(traj.value, 10.0), atol=0.5, rtol=0)


def test_value_of_a_terminating_reward_is_its_finite_sum():
    traj = value_after_learning("toys:Clock-v0")
    time = traj.x.argmax(-1)
    expected = (1 - 0.9 ** (5 - time).double()) / (1 - 0.9)
    assert_close(traj.value.double(), expected, atol=0.25, rtol=0)


def test_a_tail_makes_chunks_of_one_step_sum_to_the_whole_window(double):
    """With weights that do not move, short chunks with a full tail give the gradient of one long chunk."""
    sums = {}
    for tau_f, tail in ((12, 0), (1, 12), (1, 0)):
        trainer = small_trainer(
            rule__tau_f=tau_f, rule__tail=tail, rule__lr_hidden=0.0, rule__lr_readout=0.0,
            rule__max_grad_norm=1e9, rule__replays=1, rule__homeostasis=0.0, network__input_gain=4.0,
        )  # fmt: skip
        traj, total = trainer.rollout.collect(12), 0.0
        trainer.learner = Learner(
            trainer.learner.update, trainer.engine
        )  # the compiled one has no optimiser to look at
        step = trainer.learner.update.optimiser.step

        def record(gradients, rates, max_norm, step=step, tau_f=tau_f):
            nonlocal total
            total = total + gradients[0] * tau_f  # each gradient is a mean over its chunk
            return step(gradients, rates, max_norm)

        trainer.learner.update.optimiser.step = record
        trainer.learner.learn(traj, 1.0)
        sums[tau_f, tail] = total
    assert_close(sums[1, 12], sums[12, 0], atol=1e-10, rtol=0)
    assert (sums[1, 0] - sums[12, 0]).abs().max() > 1e-4


def test_a_state_of_the_wrong_shape_is_refused():
    policy = small_trainer().reference
    with pytest.raises(ValueError, match="are not"):
        policy.tick(torch.zeros(3, policy.input.in_features), policy.initial_state(4))


def test_signals_sit_at_the_last_tick():
    out = at_last_tick(torch.ones(2, 1, 1), ticks=3, total=8)
    assert out.flatten().tolist() == [0, 0, 0, 0, 1, 0, 0, 1]


def test_learning_rates_and_entropy_bonus_fall_to_their_final_fractions():
    trainer = small_trainer(rule__lr_final=0.2, rule__entropy=0.04, rule__entropy_final=0.5)
    learner_, rule = trainer.learner, trainer.config.rule
    for left, lr, entropy in ((1.0, 1.0, 0.04), (0.5, 0.6, 0.03), (0.0, 0.2, 0.02)):
        learner_.learn(trainer.rollout.collect(12), left)
        assert learner_.update.learning_rates == pytest.approx(
            (rule.lr_hidden * lr, rule.lr_readout * lr, rule.lr_path * lr)
        )
        assert learner_.update.entropy_bonus == pytest.approx(entropy)


@pytest.mark.parametrize("bonus,low,high", [(0.0, 0.0, 0.95), (1.0, 1.05, 1.1)])
def test_the_entropy_bonus_holds_the_policy_open(bonus, low, high):
    trainer = small_trainer(rule__entropy=bonus, rule__lr_readout=0.02, network__neurons=64, train__num_envs=8)
    entropy = [trainer.window()["train/entropy"] for _ in range(200)]
    assert low < sum(entropy[150:]) / 50 < high  # log 3 = 1.0986 is a uniform policy's
