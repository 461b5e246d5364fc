"""Heads: their mathematics against torch.distributions and autograd, and their compiled forms against themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributions as D
from torch.testing import assert_close

from lfcs import kernels
from lfcs.errors import UserError
from lfcs.heads import (
    ActionValueHead,
    CategoricalHead,
    GaussianHead,
    ProductHead,
    head_name,
    make_head,
    named_head,
)
from lfcs.heads.base import draw_at, judge_at
from lfcs.nested import named

BOX = spaces.Box(np.array([[-2.0, 0.0], [5.0, -np.inf]]), np.array([[2.0, 10.0], [6.0, np.inf]]), dtype=np.float64)
SPACES = {
    "box": BOX,
    "one number": spaces.Box(-2.0, 2.0, (1,), np.float32),
    "three numbers": spaces.Box(-1.0, 1.0, (3,), np.float32),
    "no axis": spaces.Box(-1.0, 3.0, (), np.float32),
    "discrete": spaces.Discrete(4, start=-1),
    "multi-discrete": spaces.MultiDiscrete([2, 5, 3], start=[0, -2, 7]),
    "matrix of choices": spaces.MultiDiscrete([[2, 3], [4, 2]]),
    "multi-binary": spaces.MultiBinary(3),
    "matrix of bits": spaces.MultiBinary([2, 2]),
    "tuple": spaces.Tuple([spaces.Discrete(3, start=2), BOX, spaces.MultiBinary(2)]),
    "dict": spaces.Dict({
        "steer": spaces.Box(-1.0, 1.0, (3,)), "gear": spaces.Discrete(5),
        "rest": spaces.Tuple([spaces.MultiDiscrete([3, 2]), spaces.Dict({"in": spaces.MultiBinary(1)})]),
    }),
}  # fmt: skip
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def params_of(head, rows=50, seed=0, spread=1.5):
    return spread * torch.randn(rows, head.size, generator=generator(seed), dtype=torch.float64)


def distributions(space, params):
    """Return the distributions of an action's parts, each with the action that it has of rows [..., A]."""
    if isinstance(space, spaces.Discrete):
        return [(D.Categorical(logits=params), 1)]
    if isinstance(space, spaces.MultiDiscrete):
        parts = params.split(space.nvec.ravel().tolist(), dim=-1)
        return [(D.Categorical(logits=part), 1) for part in parts]
    if isinstance(space, spaces.MultiBinary):
        return [(D.Independent(D.Bernoulli(logits=params), 1), params.shape[-1])]
    if isinstance(space, spaces.Box):
        mean, s = params.chunk(2, dim=-1)
        low, high = math.log(0.01), math.log(2.0)
        share = (math.log(0.6) - low) / (high - low)
        s = math.log(share / (1 - share)) + s / ((high - low) * share * (1 - share))
        std = (low + (high - low) * torch.sigmoid(s)).exp()
        return [(D.Independent(D.Normal(mean, std), 1), mean.shape[-1])]
    parts = list(space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces)
    own = params.split([make_head(part).size for part in parts], dim=-1)
    return [found for part, p in zip(parts, own, strict=True) for found in distributions(part, p)]


def rows_of(head, action):
    """Return actions as rows [..., A] in double precision."""
    return action.double().reshape(*action.shape[:1], head.numbers().width)


def expected(space, params, rows):
    """Return log-probabilities and entropies by torch.distributions."""
    log_prob, entropy, at = 0.0, 0.0, 0
    for distribution, width in distributions(space, params):
        own = rows[..., at : at + width]
        own = own[..., 0] if isinstance(distribution, D.Categorical) else own
        log_prob, entropy, at = log_prob + distribution.log_prob(own), entropy + distribution.entropy(), at + width
    assert at == rows.shape[-1]
    return log_prob, entropy


@every_space
def test_judgements_are_those_of_torch_and_their_derivatives_autograds(space):
    head = make_head(space)
    params = params_of(head).requires_grad_()
    action = head.sample(params.detach(), generator(1))
    log_prob, entropy = expected(space, params, rows_of(head, action))
    judged = head.judge(params.detach(), action)
    assert_close(judged.log_prob, log_prob.detach(), rtol=1e-12, atol=1e-12)
    assert_close(head.log_prob(params.detach(), action), log_prob.detach(), rtol=1e-12, atol=1e-12)
    assert_close(judged.entropy, entropy.detach(), rtol=1e-12, atol=1e-12)
    (score,) = torch.autograd.grad(log_prob.sum(), params, retain_graph=True)
    (slope,) = torch.autograd.grad(entropy.sum(), params)
    assert_close(judged.score, score, rtol=1e-10, atol=1e-12)
    assert_close(judged.entropy_score, slope, rtol=1e-10, atol=1e-12)
    assert score.abs().max() > 0.3 and slope.abs().max() > 0.05


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


def chosen(head, pointer, params, uniform):
    """Return actions [S, A] by a compiled form."""
    numbers = head.numbers()
    out = np.full((len(params), numbers.width), np.nan)
    choose_rows(pointer.address(), params.contiguous().numpy(), uniform, numbers.constants, out)
    return out


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(SPACES)), st.integers(0, 999), st.sampled_from([0.0, 1.0, 5.0, 40.0]))
def test_compiled_forms_are_the_heads(name, seed, spread):
    head = make_head(SPACES[name])
    params, numbers = params_of(head, 7, seed, spread), head.numbers()
    action = head.sample(params, generator(seed))
    wanted, rows = head.judge(params, action), rows_of(head, action)
    score, entropy_score = np.full((2, *params.shape), np.nan)
    found = np.full((len(params), 2), np.nan)
    judge_rows(head.loops.judge.address(), params.numpy(), rows.numpy(), numbers.constants, score, entropy_score, found)
    for got, right in zip((found[:, 0].copy(), score, found[:, 1].copy(), entropy_score), wanted, strict=True):
        assert_close(torch.from_numpy(got), right, rtol=1e-12, atol=1e-12)
    uniform = torch.rand((len(params), numbers.noise), generator=generator(seed), dtype=torch.float64)
    drawn = chosen(head, head.loops.draw, params, uniform.numpy())
    assert_close(torch.from_numpy(drawn), rows, rtol=1e-12, atol=1e-12)
    assert torch.equal(head.counted(torch.from_numpy(drawn)).double().reshape(rows.shape), torch.from_numpy(drawn))
    best = chosen(head, head.loops.greedy, params, np.empty((len(params), 0)))
    assert torch.equal(torch.from_numpy(best), rows_of(head, head.greedy(params)))


def test_a_policy_is_closed_below_a_twentieth_nat_a_choice_and_twice_the_least_deviation():
    choices = {"discrete": 1, "multi-discrete": 3, "matrix of choices": 4, "multi-binary": 3, "matrix of bits": 4}
    for name, count in choices.items():
        assert make_head(SPACES[name]).closed == pytest.approx(0.05 * count, abs=1e-12)
    gaussian = D.Normal(torch.zeros(3).double(), 0.02).entropy().sum().item()
    assert make_head(SPACES["three numbers"]).closed == pytest.approx(gaussian, abs=1e-12)
    parts = [make_head(space).closed for space in SPACES["tuple"]]
    assert make_head(SPACES["tuple"]).closed == pytest.approx(sum(parts), abs=1e-12) and len(parts) == 3


def test_a_draw_inverts_the_cumulative_distribution_at_its_steps():
    head, below = make_head(spaces.Discrete(4)), np.nextafter(0.5, 0.0)
    uniform, params = torch.tensor([0.0, 0.25, below, 0.5, 0.75, 1.0]).double()[:, None], torch.zeros(6, 4).double()
    for drawn in (head.draw(params, uniform), torch.from_numpy(chosen(head, head.loops.draw, params, uniform.numpy()))):
        assert drawn.flatten().tolist() == [0, 1, 1, 2, 3, 3]  # 1.0 is what rounding makes of a sum below 1
    head, uniform, params = make_head(spaces.MultiBinary(3)), torch.tensor([[0.0, below, 0.5]]).double(), params[:1, :3]
    for drawn in (head.draw(params, uniform), torch.from_numpy(chosen(head, head.loops.draw, params, uniform.numpy()))):
        assert drawn.tolist() == [[1, 1, 0]]
    for best in (head.greedy(params), torch.from_numpy(chosen(head, head.loops.greedy, params, uniform.numpy()))):
        assert best.tolist() == [[0, 0, 0]]  # as probable as the other: 0


@every_space
def test_all_results_keep_the_leading_shape(space):
    head = make_head(space)
    params = params_of(head)
    action, deep = head.sample(params, generator(1)), params.reshape(5, 10, -1)
    again = head.sample(deep, generator(1))
    assert again.shape == (5, 10, *action.shape[1:]) and torch.equal(again.reshape(action.shape), action)
    assert torch.equal(head.greedy(deep).reshape(action.shape), head.greedy(params))
    for (_, own), (_, flat) in zip(*(named("a", head.to_env(of)) for of in (again, action)), strict=True):
        assert own.shape[:2] == (5, 10) and np.array_equal(own.reshape(flat.shape), flat)
    assert torch.equal(head.log_prob(deep, again).reshape(50), head.log_prob(params, action))
    for own, flat in zip(head.judge(deep, again), head.judge(params, action), strict=True):
        assert own.shape == (5, 10, *flat.shape[1:]) and torch.equal(own.reshape(flat.shape), flat)


@every_space
def test_what_compiled_loops_give_the_environment_is_what_the_head_gives(space):
    """clip(shift + scale · a, low, high), rounded where the environment takes single precision."""
    head = make_head(space)
    action = head.sample(params_of(head, spread=3.0), generator())
    scale, shift, low, high, single = head.numbers().outward
    made = np.clip(shift + scale * rows_of(head, action).numpy(), low, high)
    made = np.where(single == 1.0, made.astype(np.float32), made)
    parts = [np.asarray(part).reshape(50, -1) for _, part in named("action", head.to_env(action))]
    assert np.array_equal(made, np.concatenate(parts, axis=1)) and made.std() > 0.3
    assert (single == 1.0).all() if getattr(space, "dtype", None) == np.float32 else (single == 0.0).any()
    if not isinstance(space, spaces.Box | spaces.Tuple | spaces.Dict):
        assert head.numbers().constants.size == 0 or isinstance(space, spaces.MultiDiscrete)


def test_action_values_stand_beside_the_policy_and_change_nothing_of_it():
    space = spaces.Discrete(3, start=2)
    head, alone = ActionValueHead.of(space), make_head(space)
    assert (head.outputs, head.size, head.closed) == (3, 6, alone.closed)
    params = params_of(head, 40).reshape(4, 10, 6)
    policy = params[..., :3]
    action = head.sample(params, generator(2))
    assert torch.equal(action, alone.sample(policy, generator(2))) and len(action.unique()) == 3
    assert torch.equal(head.greedy(params), alone.greedy(policy))
    assert torch.equal(head.log_prob(params, action), alone.log_prob(policy, action))
    assert np.array_equal(head.to_env(action), alone.to_env(action)) and head.to_env(action).min() == 2
    judged, wanted = head.judge(params, action), alone.judge(policy, action)
    for own, right in ((judged.score, wanted.score), (judged.entropy_score, wanted.entropy_score)):
        assert torch.equal(own, torch.cat((right, torch.zeros_like(right)), dim=2)) and right.abs().max() > 0.3
    assert torch.equal(judged.log_prob, wanted.log_prob) and torch.equal(judged.entropy, wanted.entropy)
    assert head.loops is not None and ActionValueHead(Louder(3)).loops is None
    assert CategoricalHead(3).start == 0  # actions are counted from 0 unless their space says otherwise


class Louder(CategoricalHead):
    """A head of somebody's own, whose mathematics the compiled forms do not know."""


@every_space
def test_draws_have_the_moments_of_their_distribution_in_both_forms(space):
    head, count = make_head(space), 100_000
    params = params_of(head, 1, seed=3, spread=0.7).expand(count, -1)
    uniform = np.random.default_rng(0).random((count, head.numbers().noise))
    both = (
        rows_of(head, head.sample(params, generator(5))),
        torch.from_numpy(chosen(head, head.loops.draw, params, uniform)),
    )
    for rows in both:
        at = 0
        for distribution, width in distributions(space, params[0]):
            own = rows[:, at : at + width]
            if isinstance(distribution, D.Categorical):
                often = torch.bincount(own[:, 0].long(), minlength=len(distribution.probs)) / count
                assert_close(often.double(), distribution.probs, rtol=0, atol=0.008)
            else:
                std = distribution.stddev
                assert (own.mean(0) - distribution.mean).abs().lt(0.013 * std).all()
                assert (own.std(0) / std - 1.0).abs().max() < 0.012
            at += width
        if rows.shape[1] > 1:  # and are independent
            assert (torch.corrcoef(rows.T) - torch.eye(rows.shape[1]).double()).abs().max() < 0.015
    if isinstance(space, spaces.Box):  # the shape too: shares beyond 1, 2 and 3 deviations
        for rows in both:
            ((distribution, _),) = distributions(space, params[0])
            away = ((rows - distribution.mean) / distribution.stddev).abs()
            for far, share in ((1.0, 0.3173), (2.0, 0.0455), (3.0, 0.0027)):
                assert ((away > far).double().mean(0) - share).abs().max() < 5 * (share / count) ** 0.5


@every_space
def test_the_greedy_action_is_the_mode(space):
    head = make_head(space)
    params = params_of(head, 200)
    best = head.log_prob(params, head.greedy(params))
    assert (head.greedy(params) == head.counted(rows_of(head, head.greedy(params)))).all()
    for seed in range(20):
        assert (head.log_prob(params, head.sample(params, generator(seed))) <= best + 1e-12).all()


def each(space, given, count):
    """Return a batch of actions one by one."""
    from gymnasium.vector.utils import batch_space, iterate

    found = list(iterate(batch_space(space, count), given))
    assert len(found) == count
    return found


@every_space
@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0])
def test_the_environment_is_given_what_is_in_its_space(space, spread):
    head = make_head(space)
    params = params_of(head, 300, spread=spread).float()
    for action in (head.sample(params, generator()), head.greedy(params)):
        for one in each(space, head.to_env(action), 300):
            assert (np.asarray(one) if isinstance(one, np.generic) else one) in space, one


def test_numbers_are_mapped_onto_their_bounds_and_clipped():
    head = make_head(BOX)
    action = torch.tensor([[-1.0, 0.0, 0.5, -3.5], [1.0, -5.0, 1.0, 1e9]])
    given_ = head.to_env(action)
    assert given_.dtype == np.float64 and given_.tolist() == [[[-2, 5], [5.75, -3.5]], [[2, 0], [6, 1e9]]]
    whole = make_head(spaces.Box(0, 255, (2,), np.uint8))
    given_ = whole.to_env(torch.tensor([[-1.0, 0.2]]))
    assert given_.tolist() == [[0, 153]] and given_.dtype == np.uint8
    half = make_head(spaces.Box(0.0, np.inf, (1,), np.float32))  # one bound is none, but it is kept
    assert half.to_env(torch.tensor([[-2.0], [7.0]])).tolist() == [[0.0], [7.0]]
    million, below = 1e6, np.nextafter(1e6, 0.0)  # from a million on a bound is none, and then neither is the other
    for low, high, wanted in ((-million, 3.0, 1.0), (-3.0, million, 1.0), (-below, 3.0, 3.0), (-3.0, below, below)):
        wide = make_head(spaces.Box(low, high, (1,), np.float64))
        assert wide.to_env(torch.tensor([[1.0]])).item() == pytest.approx(wanted)


def test_a_gaussian_starts_where_it_says_and_stays_finite():
    head = make_head(SPACES["three numbers"])
    mean, log_std, slope = head._read(torch.zeros(1, 6, dtype=torch.float64))
    assert_close(log_std.exp(), torch.full((1, 3), 0.6).double()) and (mean == 0).all()
    assert_close(slope, torch.ones(1, 3).double())
    for s in (-1e6, 1e6):
        params = torch.tensor([[0.0, 1.0, -1.0, s, s, s]], dtype=torch.float64)
        judged = head.judge(params, torch.full((1, 3), 5.0))
        assert all(part.isfinite().all() for part in judged)
        assert_close(head._read(params)[1].exp(), torch.full((1, 3), 0.01 if s < 0 else 2.0).double())
    params = torch.tensor([[0.0] * 3 + [-1e6] * 3], dtype=torch.float64)
    assert (
        head.judge(params, torch.zeros(1, 3)).entropy < head.closed < head.judge(0 * params, torch.zeros(1, 3)).entropy
    )


class Quiet(GaussianHead):
    """Starts with less noise, whose rate is three times that of the mean."""

    start, gain = 0.2, 3.0


def test_start_and_rate_are_a_childs_to_choose():
    head = Quiet.of(SPACES["one number"])
    _, log_std, slope = head._read(torch.zeros(1, 2, dtype=torch.float64))
    assert_close(log_std.exp().item(), 0.2) and assert_close(slope.item(), 3.0)
    params = torch.zeros(1000, 2, dtype=torch.float64)
    drawn = chosen(head, head.loops.draw, params, np.random.default_rng(0).random((1000, 2)))
    assert 0.18 < drawn.std() < 0.22

    for edge in (0.01, 2.0, 3.0):  # of what the deviation can be, where its slope is 0, and beyond
        odd = type("Odd", (GaussianHead,), {"start": edge})
        with pytest.raises(ValueError, match="start must be between"):
            odd.of(SPACES["one number"])


def test_no_uniform_number_makes_a_draw_that_is_not_finite():
    for name in ("one number", "three numbers", "dict"):
        head = make_head(SPACES[name])
        params = torch.zeros(3, head.size, dtype=torch.float64)
        uniform = np.array([0.0, 1.0 - 2.0**-24, np.nextafter(1.0, 0.0)])[:, None].repeat(head.numbers().noise, 1)
        assert np.isfinite(chosen(head, head.loops.draw, params, uniform)).all()
        assert head.draw(params, torch.from_numpy(uniform)).isfinite().all()
        single = torch.from_numpy(uniform[:2]).float()
        assert head.draw(params[:2].float(), single).isfinite().all()


@every_space
def test_a_head_is_found_again_by_name(space):
    head = make_head(space)
    again = named_head(head_name(head), space)
    assert type(again) is type(head) and again.size == head.size and again.closed == head.closed
    assert np.array_equal(again.numbers().constants, head.numbers().constants)


@pytest.mark.parametrize("space", [
    spaces.Text(3), spaces.Tuple([spaces.Discrete(2), spaces.Text(3)]), spaces.Dict({}), spaces.Tuple([]),
    spaces.MultiDiscrete([2, 1]), spaces.Box(-1, 1, (0,)), spaces.Sequence(spaces.Discrete(2)),
])  # fmt: skip
def test_spaces_without_a_head_are_one_line(space):
    with pytest.raises(UserError, match="is not supported"):
        make_head(space)


def test_a_part_without_compiled_forms_leaves_tensor_operations():
    head = ProductHead([Quiet.of(SPACES["one number"]), make_head(SPACES["discrete"])])
    assert head.loops is None and ProductHead([make_head(SPACES["discrete"])]).loops is not None
    params = params_of(head)
    assert head.judge(params, head.sample(params, generator())).score.shape == params.shape
