"""Analytic values and invariants of the equations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from lfcs import rules
from lfcs.heads import CategoricalHead
from lfcs.update import next_values

floats = st.floats(-3.0, 3.0, allow_nan=False)


def test_sided_mask_closes_only_where_the_ratio_would_go_further():
    rho = torch.tensor([0.7, 0.7, 1.0, 1.0, 1.3, 1.3])
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    assert rules.mask_sided(rho, advantage, 0.2).tolist() == [1, 0, 1, 1, 0, 1]


def test_masks_are_closed_on_the_edge_of_the_band():
    rho = torch.tensor([0.75, 1.25]).double()  # exact in binary, as is ε
    assert rules.mask_two_sided(rho, 0.25).tolist() == [0.0, 0.0]
    for advantage, wanted in ((1.0, [1.0, 0.0]), (-1.0, [0.0, 1.0]), (0.0, [1.0, 1.0])):
        assert rules.mask_sided(rho, torch.full((2,), advantage).double(), 0.25).tolist() == wanted


@pytest.mark.parametrize("begins", [True, False])
def test_the_filter_moved_onto_the_signal_is_the_sum_over_what_follows(begins):
    """L̂_s = (1 - κ) Σ_{t≥s} κ^{t-s} L_t, up to the next reset."""
    g, kappa, (steps, batch, neurons) = torch.Generator().manual_seed(0), 0.7, (9, 3, 2)
    signal = torch.randn(steps, batch, neurons, generator=g).double()
    reset = torch.rand(steps, batch, generator=g) < 0.3
    reset[0] = begins
    wanted = torch.zeros_like(signal)
    for b in range(batch):
        for s in range(steps):
            for t in range(s, steps):
                if t > s and reset[t, b]:
                    break
                wanted[s, b] += (1.0 - kappa) * kappa ** (t - s) * signal[t, b]
    assert reset[1:].any() and not reset[1:].all()
    torch.testing.assert_close(rules.filter_backwards(signal, kappa, reset), wanted, rtol=0, atol=1e-12)


def test_two_sided_mask_ignores_the_advantage():
    assert rules.mask_two_sided(torch.tensor([0.79, 0.81, 1.0, 1.19, 1.21]), 0.2).tolist() == [0, 1, 1, 1, 0]


@given(st.lists(floats, min_size=2, max_size=6), st.floats(0.01, 0.9))
def test_ratio_is_exactly_one_and_masks_open_when_the_policies_agree(logits, eps):
    head = CategoricalHead(len(logits))
    logp = head.log_prob(torch.tensor([logits]), torch.tensor([0]))
    rho = rules.ratio(logp, logp.clone())
    assert rho.item() == 1.0
    assert rules.mask_two_sided(rho, eps).item() == 1.0
    for sign in (-1.0, 0.0, 1.0):
        assert rules.mask_sided(rho, torch.tensor([sign]), eps).item() == 1.0


@settings(deadline=None)
@given(st.lists(floats, min_size=2, max_size=6), st.integers(0, 5))
def test_sided_mask_is_the_gradient_of_the_clipped_objective(logits, action):
    head = CategoricalHead(len(logits))
    params = torch.tensor([logits], dtype=torch.float64, requires_grad=True)
    action = torch.tensor([action % len(logits)])
    for logp_ref in (-0.1, -1.0, -3.0):
        for advantage in (-0.7, 1.3):
            a = torch.tensor([advantage], dtype=torch.float64)
            rho = rules.ratio(head.log_prob(params, action), torch.full((1,), logp_ref, dtype=torch.float64))
            clipped = torch.minimum(rho * a, rho.clamp(0.8, 1.2) * a)
            (expected,) = torch.autograd.grad(clipped.sum(), params)
            weight = (rules.mask_sided(rho, a, 0.2) * rho * a).detach()
            assert_close(weight[:, None] * head.judge(params, action).score.detach(), expected)


@settings(deadline=None)
@given(st.lists(floats, min_size=2, max_size=6), st.integers(0, 5))
def test_categorical_scores_equal_autograd(logits, action):
    head = CategoricalHead(len(logits))
    params = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    action = torch.tensor(action % len(logits))
    (score,) = torch.autograd.grad(head.log_prob(params, action), params)
    judged = head.judge(params.detach(), action)
    pi = params.softmax(-1)
    (entropy,) = torch.autograd.grad(-(pi * pi.log()).sum(), params)
    assert_close(judged.log_prob, head.log_prob(params, action).detach())
    assert_close(judged.entropy, -(pi * pi.log()).sum().detach())
    assert_close(judged.score, score)
    assert_close(judged.entropy_score, entropy)


def test_categorical_samples_with_its_probabilities():
    head = CategoricalHead(3)
    p = torch.tensor([0.5, 0.2, 0.3])
    generator = torch.Generator().manual_seed(0)
    actions = head.sample(p.log().expand(100_000, 3), generator)
    assert_close(actions.bincount(minlength=3) / 100_000, p, atol=0.01, rtol=0)
    assert head.greedy(p.log()) == 0


def test_advantages_by_hand():
    delta = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    ends = torch.tensor([[False], [True], [False], [False]])
    assert rules.advantages(delta, ends, gamma=0.5, lam=0.5).flatten().tolist() == [1.5, 2.0, 6.0, 8.0]


def test_next_values_end_bootstrap_and_follow():
    value, bootstrap = torch.tensor([[1.0], [2.0], [3.0], [4.0]]), torch.tensor([[0.0], [7.0], [0.0], [9.0]])
    terminated = torch.tensor([[False], [False], [True], [False]])
    truncated = torch.tensor([[False], [True], [False], [False]])
    got = next_values(value, bootstrap, terminated, terminated | truncated)
    assert got.flatten().tolist() == [2.0, 7.0, 0.0, 9.0]


def test_traces_decay_as_written():
    one, half = torch.ones(1, 1), torch.full((1, 1), 0.5)
    assert rules.presynaptic_trace(half, one, beta=0.5).item() == 1.25
    assert rules.leaky_readout(half, one, kappa=0.5).item() == 0.75
    assert rules.surrogate_derivative(torch.tensor([-2.0, -0.5, 0.0, 0.25]), 0.4).tolist() == pytest.approx(
        [0.0, 0.2, 0.4, 0.3]
    )


def test_homeostasis_pushes_towards_the_target():
    assert_close(rules.homeostasis(torch.tensor([0.0, 0.1, 0.3]), 0.1, 2.0), torch.tensor([0.2, 0.0, -0.4]))


@pytest.mark.parametrize(
    "call",
    [
        lambda: rules.leaky_readout(torch.zeros(2, 3), torch.zeros(3, 2), 0.5),
        lambda: rules.presynaptic_trace(torch.zeros(2, 3), torch.zeros(2, 4), 0.5),
        lambda: rules.eligibility(torch.zeros(2, 3), torch.zeros(3, 3)),
        lambda: rules.learning_signal(torch.zeros(2, 3), torch.zeros(2, 5)),
        lambda: rules.filter_backwards(torch.zeros(2, 3, 4), 0.5, torch.zeros(3, 2, dtype=torch.bool)),
        lambda: rules.chunk_gradient(torch.zeros(2, 3, 4), torch.zeros(2, 4, 4)),
        lambda: rules.ratio(torch.zeros(2), torch.zeros(3)),
        lambda: rules.advantages(torch.zeros(2, 2), torch.zeros(2, 3, dtype=torch.bool), 0.9, 0.9),
    ],
)
def test_wrong_shapes_are_refused(call):
    with pytest.raises(ValueError):
        call()
