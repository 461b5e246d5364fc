"""The identities that the project rests on, in float64: local gradients against autograd through snntorch."""

from __future__ import annotations

import pytest
import torch
from conftest import make_policy, random_window
from torch.testing import assert_close

from lfcs import rules
from lfcs.engines import CompiledEngine, SnntorchEngine, TensorEngine
from lfcs.network import NetState

TOLERANCE = {"rtol": 0.0, "atol": 1e-10}
SIZES = [  # neurons, inputs, actions, steps, batch, ticks
    (2, 1, 2, 3, 1, 1),
    (7, 3, 3, 20, 4, 1),
    (12, 5, 4, 15, 3, 2),
    (25, 4, 2, 12, 2, 3),
]
SPREAD = {"tau_m_max": 40.0, "tau_m_groups": 3}  # time constants 6, 15 and 40


def autograd_window(policy, x, reset):
    """Run snntorch with autograd and recurrent spikes detached; return head parameters, values and the states."""
    state, states = policy.initial_state(x.shape[1]), []
    for x_t, reset_t in zip(x, reset, strict=True):
        state = state.cleared(reset_t)
        for _ in range(policy.config.ticks):
            state = policy.tick(x_t, NetState.join((state.spk.detach(), state.mem), state.readout, state.trace))
            states.append(state)
    ticks, states = policy.config.ticks, NetState(torch.stack([s.data for s in states]), state.neurons)
    by_step = states.at(slice(ticks - 1, None, ticks))
    return *policy.read(by_step, x), states


def by_tick(policy, states, reset):
    """Return states and resets by tick."""
    out = torch.zeros(len(states.data), reset.shape[1], dtype=torch.bool)
    out[:: policy.config.ticks] = reset
    return NetState(states.data.detach(), states.neurons), out


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("quantity", ["log_prob", "ratio", "value"])
@pytest.mark.parametrize("engine", [SnntorchEngine, TensorEngine, CompiledEngine])
@pytest.mark.parametrize("network", [{}, SPREAD], ids=["one-tau", "spread"])
def test_local_gradient_equals_autograd(double, sizes, quantity, engine, network):
    neurons, inputs, actions, steps, batch, ticks = sizes
    policy, head = make_policy(neurons, inputs, actions, seed=neurons, ticks=ticks, **network)
    x, action, reset = random_window(policy, head, steps, batch)
    params, value, states = autograd_window(policy, x, reset)
    weight = torch.randn(steps, batch, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    logp = head.log_prob(params, action)
    logp_ref = (logp + 0.1 * weight).detach()
    zero = torch.zeros_like(weight)

    if quantity == "value":
        objective, policy_weight, value_weight = value, zero, weight
    elif quantity == "ratio":
        objective = rules.ratio(logp, logp_ref)
        policy_weight, value_weight = weight * objective.detach(), zero
    else:
        objective, policy_weight, value_weight = logp, weight, zero
    layers = (policy.input, policy.cell.recurrent, policy.policy_readout, policy.value_readout)
    parameters = [p for layer in layers for p in layer.parameters()]
    found = torch.autograd.grad((weight * objective).sum(), parameters, materialize_grads=True)
    w_in, b, w_rec, w_pi, b_pi, w_v, b_v = found
    w_rec.fill_diagonal_(0.0)
    weights, biases = torch.cat((w_pi, w_v)), torch.cat((b_pi, b_v))
    expected = torch.cat((w_in.T, b[None], w_rec.T)), torch.cat((weights, biases[:, None]), dim=1)

    with torch.no_grad():
        score = head.judge(params, action).score
        error = torch.cat((policy_weight[..., None] * score, value_weight[..., None]), dim=-1)
        seen = by_tick(policy, states, reset)
        got = engine(policy).gradients(*seen, error, policy.readout[:, :-1], torch.zeros(neurons, dtype=torch.float64))
    assert states.spk.sum() > 0
    assert all(e.abs().max() > 1e-6 for e in (w_in, b, w_rec))
    for g, e in zip(got, expected, strict=True):
        assert_close(g, e, **TOLERANCE)


@pytest.mark.parametrize("sizes", SIZES)
def test_chunk_product_equals_the_sum_of_per_step_traces(double, sizes):
    neurons, inputs, actions, steps, batch, ticks = sizes
    policy, head = make_policy(neurons, inputs, actions, ticks=ticks)
    x, _, reset = random_window(policy, head, steps, batch)
    with torch.no_grad():
        *_, states = autograd_window(policy, x, reset)
        seen, cleared = by_tick(policy, states, reset)
        psi, xbar = rules.surrogate_derivative(seen.mem - 1.0, policy.config.dampening), seen.trace
    signal = torch.randn(psi.shape, dtype=torch.float64)
    kappa = policy.config.kappa

    expected = xbar.new_zeros(neurons, xbar.shape[2])
    ebar = xbar.new_zeros(batch, neurons, xbar.shape[2])
    for t in range(len(psi)):
        ebar = ebar * (~cleared[t])[:, None, None]
        ebar = rules.filtered_eligibility(ebar, rules.eligibility(psi[t], xbar[t]), kappa)
        expected += (signal[t][:, :, None] * ebar).sum(0)
    got = rules.chunk_gradient(xbar, rules.filter_backwards(signal, kappa, cleared) * psi)
    assert_close(got.T, expected, **TOLERANCE)


@pytest.mark.parametrize("sizes", SIZES)
def test_traces_by_group_equal_a_trace_for_every_synapse(double, sizes):
    """x̄_ij,t = β_i x̄_ij,t-1 + pre_j,t for each neuron i with its own β, [B, N, D + 1 + N] numbers a tick."""
    neurons, inputs, actions, steps, batch, ticks = sizes
    policy, head = make_policy(neurons, inputs, actions, ticks=ticks, **SPREAD)
    x, _, reset = random_window(policy, head, steps, batch)
    with torch.no_grad():
        *_, states = autograd_window(policy, x, reset)
    seen, cleared = by_tick(policy, states, reset)
    post = torch.randn(seen.mem.shape, dtype=torch.float64)
    beta = torch.tensor(policy.neuron.betas, dtype=torch.float64)[:, None]
    expected = x.new_zeros(neurons, inputs + 1 + neurons)
    trace, spk = x.new_zeros(batch, *expected.shape), x.new_zeros(batch, neurons)
    for t in range(len(post)):
        keep = (~cleared[t])[:, None]
        pre = torch.cat((x[t // ticks], x.new_ones(batch, 1), spk * keep), dim=1)
        trace = beta * trace * keep[..., None] + pre[:, None]
        expected += (post[t][..., None] * trace).sum(0)
        spk = seen.spk[t]
    got = rules.grouped_gradient(seen.trace, post, min(3, neurons))
    assert_close(got.T, expected, **TOLERANCE)
    assert len(set(policy.neuron.betas)) == min(3, neurons) and spk.sum() + seen.spk.sum() > 0


@pytest.mark.parametrize("steps,batch", [(1, 1), (8, 2), (40, 5)])
def test_online_form_equals_forward_form(steps, batch):
    g = torch.Generator().manual_seed(steps)
    delta = torch.randn(steps, batch, generator=g, dtype=torch.float64)
    gradient = torch.randn(steps, batch, 3, 4, generator=g, dtype=torch.float64)  # m ρ d log π of each step
    ends = torch.rand(steps, batch, generator=g) < 0.2
    gamma, lam = 0.97, 0.9
    forward = (rules.advantages(delta, ends, gamma, lam)[..., None, None] * gradient).sum((0, 1))

    online, trace = delta.new_zeros(3, 4), delta.new_zeros(batch, 3, 4)
    reset = torch.zeros(batch, dtype=torch.bool)
    for t in range(steps):
        trace = rules.online_eligibility(trace, gradient[t], reset, gamma, lam)
        online += (delta[t][:, None, None] * trace).sum(0)
        reset = ends[t]
    assert_close(online, forward, **TOLERANCE)
