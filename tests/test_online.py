"""The online form: traces carried over chunks are the forward form over the whole past."""

from __future__ import annotations

import pytest
import torch
from test_learner import small_trainer
from torch.testing import assert_close

from lfcs.errors import UserError
from lfcs.learner import Learner

FORM = {"rule__normalise": False, "rule__replays": 1}
MASK = {"agent__mask": "two-sided"}  # of lf-cs

NETWORKS = [{}, {"network__tau_m_max": 20.0}, {"network__neuron": "alif", "network__tau_m_max": 20.0}]


def summed_gradients(windows, apart=0.0, tail=100, **settings):
    """Return the sums of the gradients over windows with weights that do not move, as sums over steps."""
    trainer = small_trainer(
        rule__lr_hidden=0.0, rule__lr_readout=0.0, rule__homeostasis=0.0, rule__entropy=0.0, rule__tail=tail,
        network__input_gain=4.0, rule__critic_share=0.5, encoder__kind="identity", network__critic_path=True,
        rule__lr_path=0.0, **FORM, **settings,
    )  # fmt: skip
    new = trainer.learner.update.network
    for policy in (trainer.reference, new):
        policy.readout.normal_(generator=torch.Generator().manual_seed(1))
        policy.path.normal_(generator=torch.Generator().manual_seed(3))
    # another policy than the reference's, the same critic: ratios away from 1, some outside the band
    new.readout[:-1] += apart * torch.randn(new.readout[:-1].shape, generator=torch.Generator().manual_seed(2))
    if trainer.config.rule.form == "window":  # whose compiled form has no optimiser to look at
        trainer.learner = Learner(trainer.learner.update, trainer.engine)
    total, step = [0.0, 0.0, 0.0], trainer.learner.update.optimiser.step

    def record(gradients, rates, max_norm):
        for i, gradient in enumerate(gradients):
            total[i] = total[i] + gradient * trainer.config.rule.window * trainer.rollout.batch
        return step(gradients, rates, max_norm)

    trainer.learner.update.optimiser.step = record
    for _ in range(windows):
        trainer.window()
    return total


@pytest.mark.parametrize("chunk", [1, 3, 8])
@pytest.mark.parametrize("ticks", [1, 2])
@pytest.mark.parametrize("network", NETWORKS, ids=["lif", "spread", "alif"])
def test_online_form_sums_to_the_forward_form_over_episodes(double, chunk, ticks, network):
    """24 steps of episodes of 10: the forward form has them in one window."""
    sizes = {"network__ticks": ticks, "rule__tau_s": 24} | MASK | network
    forward = summed_gradients(1, rule__window=24, rule__tau_f=24, **sizes)
    online = summed_gradients(24 // chunk, rule__window=chunk, rule__tau_f=chunk, rule__form="online", **sizes)
    without = summed_gradients(24 // chunk, rule__window=chunk, rule__tau_f=chunk, **sizes)
    for ours, expected, blind in zip(online, forward, without, strict=True):
        assert_close(ours, expected, rtol=0, atol=1e-10)
        assert (blind - expected).abs().max() > 1e-4  # a window alone does not see that far


@pytest.mark.parametrize("tail", [0, 2])
def test_an_adaptive_threshold_is_credited_for_what_came_before_the_tail(double, tail):
    """A readout without memory, κ = e^-50, so that only the threshold reaches beyond the tail."""
    sizes = {"rule__tau_s": 24, "network__tau_out": 0.02, "tail": tail, "network__adaptation": 0.5} | NETWORKS[2] | MASK
    forward = summed_gradients(1, rule__window=24, rule__tau_f=24, **sizes)
    online = summed_gradients(8, rule__window=3, rule__tau_f=3, rule__form="online", **sizes)
    for ours, expected in zip(online, forward, strict=True):
        assert_close(ours, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("agent", ["lf-cs", "importance", "naive-replay"])
def test_away_from_the_reference_too_and_a_pull_acts_once(double, agent):
    """A restoring force is no part of what the TD errors to come multiply."""
    sizes = {"rule__tau_s": 24, "agent": agent, "apart": 0.3}
    sizes |= MASK | {"agent__pull": 1.0} if agent == "lf-cs" else {}
    forward = summed_gradients(1, rule__window=24, rule__tau_f=24, **sizes)
    online = summed_gradients(8, rule__window=3, rule__tau_f=3, rule__form="online", **sizes)
    for ours, expected in zip(online, forward, strict=True):
        assert_close(ours, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("agent", ["v-trace", "acer", "bptt-ppo"])
def test_agents_without_an_online_form_say_so(agent):
    with pytest.raises(UserError, match="has no online form"):
        small_trainer(agent=agent, rule__form="online", rule__tau_f=12, **FORM)


def test_an_update_at_every_step_learns():
    trainer = small_trainer(
        rule__form="online", rule__window=1, rule__tau_f=1, rule__tau_s=8, network__neurons=64, rule__lr_readout=5e-3,
        train__num_envs=8, rule__homeostasis=20.0, **FORM, **MASK,
    )  # fmt: skip
    for _ in range(2000):
        metrics = trainer.window()
    assert metrics["rollout/ep_rew_mean"] > 5.0  # of 10; chance is 3.3
    assert 0.02 < metrics["spikes/rate_mean"] < 0.3 and metrics["train/entropy"] > 0.1


def test_the_online_form_says_what_it_needs():
    for wrong in ({"agent__mask": "sided"}, {"rule__normalise": True}, {"rule__tau_f": 4}, {"rule__replays": 2}):
        with pytest.raises(UserError, match=r"rule\.form=online needs"):
            small_trainer(**({"rule__tau_f": 12} | FORM | MASK | {"rule__form": "online"} | wrong))
    with pytest.raises(UserError, match="one trace for policy and critic"):
        small_trainer(**{"rule__tau_f": 12, "rule__form": "online", "rule__lam_critic": 1.0} | FORM | MASK)


def test_what_a_rule_does_not_read_is_not_asked_of_it():
    """e-prop has no mask: its online form needs none."""
    trainer = small_trainer(agent="e-prop", rule__form="online", rule__normalise=False)
    assert trainer.window()["train/grad_norm"] > 0.0 and trainer.window()["spikes/rate_mean"] > 0.0
