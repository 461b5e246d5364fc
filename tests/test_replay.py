"""Stored experience: what is kept, what is drawn, and what older windows do to learning."""

from __future__ import annotations

import pytest
import torch
from test_learner import small_trainer
from torch.testing import assert_close

from lfcs.agent import Sample
from lfcs.agents.lf_cs import LfCs
from lfcs.config import RuleConfig
from lfcs.errors import UserError
from lfcs.heads import CategoricalHead
from lfcs.measured import Record, kl_estimate
from lfcs.trajectory import Replay, after


def test_the_oldest_window_is_forgotten_and_all_kept_ones_are_drawn():
    trainer = small_trainer()
    windows = [trainer.rollout.collect(12) for _ in range(4)]
    replay = Replay(3, torch.Generator().manual_seed(0))
    for window in windows:
        replay.add(window)
    drawn = [replay.draw() for _ in range(60)]
    counts = [sum(d is w for d in drawn) for w in windows]
    assert counts[0] == 0 and min(counts[1:]) > 8


def test_a_window_without_its_first_steps_is_the_rest_of_it():
    trainer = small_trainer()
    traj = trainer.rollout.collect(12)
    state = trainer.reference.initial_state(4)
    rest = after(traj, 5, state)
    assert torch.equal(rest.x, traj.x[5:]) and torch.equal(rest.params, traj.params[5:]) and rest.state is state
    assert set(rest.final) == {t - 5 for t in traj.final if t >= 5} and torch.equal(rest.final[6], traj.final[11])


def test_a_burnt_in_state_is_the_one_the_new_policy_would_be_in():
    """With the policy that acted, burning in arrives at the very state it was in."""
    trainer = small_trainer(replay__capacity=2, replay__burn_in=5)
    old, new = trainer.rollout.collect(12), trainer.rollout.collect(12)
    burnt, _ = trainer.learner.drawn(old, new)
    states = trainer.engine.run(old.x, old.state, old.reset).states
    assert torch.equal(burnt.state.data, states.data[4])
    assert trainer.learner.drawn(new, new)[0] is new


def test_looking_again_at_older_windows_gives_their_ratios():
    trainer = small_trainer(replay__capacity=3, rule__replays=3, rule__lr_readout=0.05)
    old = trainer.rollout.collect(12)
    before = trainer.learner.look(old)
    assert_close(before.value, old.value)
    assert_close(before.bootstrap, old.bootstrap)
    assert_close(before.rho, torch.ones_like(old.value))
    for _ in range(3):
        trainer.window()
    assert (trainer.learner.look(old).rho - 1.0).abs().max() > 0.05


def test_replaying_older_windows_changes_what_is_learned_and_burning_in_too():
    settings = {"rule__replays": 4, "rule__lr_readout": 0.02}
    found = []
    for extra in ({}, {"replay__capacity": 4}, {"replay__capacity": 4, "replay__burn_in": 6}):
        trainer = small_trainer(**settings, **extra)
        for _ in range(6):
            trainer.window()
        found.append(trainer.learner.update.network.hidden.clone())
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[1], found[2])
    one = small_trainer(replay__capacity=1, **settings)
    plain = small_trainer(**settings)
    for _ in range(3):
        one.window(), plain.window()
    assert_close(one.learner.update.network.hidden, plain.learner.update.network.hidden, rtol=0, atol=1e-3)


def older(trainer, windows=4):
    """Return a window, and the learner after it has learned from ``windows`` more."""
    old = trainer.rollout.collect(12)
    for _ in range(windows):
        trainer.window()
    return old, trainer.learner


def test_the_ratio_of_an_older_window_is_to_the_reference_of_now():
    settings = {"replay__capacity": 8, "rule__replays": 3, "rule__lr_readout": 0.05, "rule__tau_s": 24}
    for burn_in in (0, 5):
        trainer = small_trainer(replay__burn_in=burn_in, **settings)
        old, learner = older(trainer, windows=5)  # so that the new policy has left the reference
        window, view = learner.drawn(old, trainer.rollout.collect(12))
        acted, action = old.logp_ref[burn_in:], old.action[burn_in:]
        reference, new = (
            trainer.head.log_prob(engine.run(old.x, old.state, old.reset).params[burn_in:], action)
            for engine in (trainer.engine, learner.update.engine)
        )
        assert_close(window.logp_ref, reference)
        assert_close(window.stale, (reference - acted).exp())
        assert_close(view.rho, (new - acted).exp())
        assert (window.stale - 1.0).abs().max() > 0.05 and (new - reference).abs().max() > 0.01
    current = trainer.rollout.collect(12)
    single = small_trainer(replay__capacity=8, rule__replays=3, rule__lr_readout=0.05, agent__decouple=False)
    old, learner = older(single)
    assert learner.drawn(old, current)[0] is old


def test_the_weight_of_an_older_step_by_hand():
    """ρ = π_new/π_ref is masked around 1; min(c̄, π_ref/π_acting) multiplies what is left, entropy's share not."""
    head, agent = CategoricalHead(2), LfCs(RuleConfig(), LfCs.Options(eps=0.2, stale_bar=1.5))
    params, action = torch.zeros(1, 4, 2), torch.zeros(1, 4, dtype=torch.long)
    rho, advantage = torch.tensor([[1.1, 1.3, 1.1, 0.9]]), torch.tensor([[2.0, 2.0, 2.0, -1.0]])
    stale = torch.tensor([[0.5, 0.5, 4.0, 1.0]])
    judged = head.judge(params, action)  # score (0.5, -0.5)
    sample = Sample(params, params, action, judged, rho, advantage, advantage, torch.tensor(1.0), stale)
    assert_close(agent.error(sample)[0, :, 0], torch.tensor([0.55, 0.0, 1.65, -0.45]))
    assert_close(agent.error(sample._replace(stale=None))[0, :, 0], torch.tensor([1.1, 0.0, 1.1, -0.45]))


def test_on_the_policys_own_experience_decoupling_changes_nothing():
    """Bit by bit: with one window kept, all that is drawn is current."""
    settings = {"replay__capacity": 1, "rule__replays": 4, "rule__lr_readout": 0.02}
    runs = [small_trainer(agent__decouple=decouple, **settings) for decouple in (True, False)]
    for _ in range(4):
        metrics = [trainer.window() for trainer in runs]
        assert metrics[0] == metrics[1] and metrics[0]["spikes/rate_mean"] > 0
    assert torch.equal(*(t.learner.update.network.hidden for t in runs))


def clip_fraction_by_age(decouple, ages=8):
    """Return the share of steps outside the band for windows of every age, newest first."""
    trainer = small_trainer(
        replay__capacity=ages, rule__replays=4, rule__lr_readout=5e-3, network__neurons=64, train__num_envs=8,
        rule__tau_s=24, agent__decouple=decouple,
    )  # fmt: skip
    found = torch.zeros(ages)
    for number in range(60):
        trainer.window()
        kept = list(trainer.learner.replay.windows)
        apart = number >= 20 and trainer.since_sync > 0  # the new policy has left the reference
        for age in range(ages if apart else 0):
            window, _ = trainer.learner.drawn(kept[-1 - age], trainer.rollout)
            rho = trainer.learner.look(window).rho
            found[age] += float(((rho - 1.0).abs() > 0.2).float().mean()) / 20
    return found


def test_the_share_masked_no_longer_grows_with_the_age_of_the_window():
    single, decoupled = clip_fraction_by_age(False), clip_fraction_by_age(True)
    assert single[4:].mean() > 2 * single[0] and single[7] > 1.2 * single[1:5].mean()  # the policy that acted is gone
    assert decoupled[0] > 0.1 and decoupled.max() < 1.3 * decoupled[0]


def test_bad_replay_settings_are_refused():
    with pytest.raises(UserError, match="burn_in"):
        small_trainer(replay__burn_in=12)
    with pytest.raises(UserError, match=r"needs replay\.capacity"):
        small_trainer(replay__burn_in=2)


def test_divergence_instruments_by_hand():
    trainer = small_trainer()
    traj = trainer.rollout.collect(12)
    rho = torch.tensor([[0.5, 2.0]])
    zeros, one = torch.zeros(1, 2), torch.ones(())
    record = Record(zeros, rho, rho, torch.zeros(1, 16), torch.ones(1), one, zeros, torch.tensor(0.7))
    metrics = trainer.learner.update.metrics(record)
    assert metrics["train/ess"] == pytest.approx(2.5**2 / (2 * 4.25))
    assert metrics["train/approx_kl"] == pytest.approx(0.25)  # the mean of -½ + log 2 and 1 - log 2
    assert metrics["train/approx_kl_max"] == pytest.approx(0.7)
    assert metrics["train/ratio_max"] == 2.0
    policy = trainer.learner.update.network
    squares = sum(float(p.detach().square().sum()) for p in policy.parameters())
    assert metrics["train/weight_norm"] == pytest.approx(squares**0.5, rel=1e-5)
    assert float(kl_estimate(torch.ones_like(traj.value))) == 0.0
