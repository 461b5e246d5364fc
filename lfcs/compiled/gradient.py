"""The gradient of a chunk from local eligibilities, and the step along it; see :mod:`lfcs.compiled.learn`.

A thread writes the rows of the gradients that are its share: each is summed over all environments in one order.
"""

from __future__ import annotations

import math

import numpy as np

from lfcs.compiled.forms import part
from lfcs.compiled.team import meet
from lfcs.kernels import (
    accumulate,
    adam_at,
    add_credit_at,
    add_product_at,
    add_readout,
    backward_at,
    fill,
    inner,
    post_at,
    squared_norm,
)
from lfcs.optimiser import BETA_1, BETA_2, EPS


@part
def gradient(chunk, first, begin, end, filled, window, neurons, rule, learned, seen, room, share):
    """Write the gradients of a chunk: Σ_t G_t x̄_t = H_a x̄_a + Σ_{t>a} H_t pre_t, from x̄ after its first tick a."""
    ticks, last, error = neurons.ticks, end * neurons.ticks, room.error[: end - begin]
    rows = slice(filled - (begin * ticks - first), filled + (end - begin) * ticks)
    if share.thread == 0:
        follow_rate(chunk, filled, (end - begin) * ticks, rule, learned, seen, room)
    meet(share)
    feedback, drive = signals(error, rule, learned)
    reset, data, low, high = window.by_tick[first:last], room.rows[rows], share.low, share.high
    filtered, carry, later = room.carried[0], room.carried[1], room.carried[2]
    fill(filtered[low:high].reshape(-1), 0.0)
    fill(carry[low:high].reshape(-1), 0.0)
    fill(later[low:high].reshape(-1), 0.0)
    clear(room, share)
    add_to_path(begin, error, window, learned, room, share)
    length = len(room.credit)
    for stop in range(last - first, 0, -length):
        block = max(0, stop - length)
        credit = room.credit[: stop - block]
        backward_at(neurons.loops.backward, drive)(
            block, data, reset, error, feedback, drive, ticks, neurons.kappa, post_at(neurons.post, drive),
            neurons.fields, neurons.constants, filtered, carry, credit, low, high,
        )  # fmt: skip
        accumulate(block, reset, neurons.decay, credit, later, low, high)
        meet(share)
        add_block(first, block, rows, reset, credit, window, neurons, room, share)
        meet(share)
    columns, width = len(learned.firing_rate), neurons.fields * len(learned.firing_rate)
    to = share.last_neuron + (share.last_neuron == columns)  # the last has the bias too
    add_readout(error, data, ticks, width, room.readout, share.first_neuron, to)
    add_past(later, neurons, room, share)


@inner
def follow_rate(chunk, filled, ticks, rule, learned, seen, room):
    """Low-pass each neuron's firing rate, r̄ ← d r̄ + (1 - d) mean z, and keep the chunk's own."""
    rate, batch = seen.rate[chunk], room.counts.shape[1]
    fill(rate, 0.0)
    for t in range(filled, filled + ticks):
        for b in range(batch):
            fired = room.fired[t, b]
            for e in range(room.counts[t, b]):
                rate[fired[e]] += 1
    decay, share = rule.rate_decay**ticks, 1.0 / (ticks * batch)
    for i in range(len(rate)):
        rate[i] = rate[i] * share
        learned.firing_rate[i] = rate[i] + decay * (learned.firing_rate[i] - rate[i])


@inner
def signals(error, rule, learned):
    """Return the feedback weights [K + 1, N], the critic's share applied, and the neurons' drive [N]."""
    n = len(learned.firing_rate)
    source = learned.feedback if len(learned.feedback) else learned.readout
    feedback, drive = np.empty((len(learned.readout), n), source.dtype), np.empty(n, source.dtype)
    strength = rule.homeostasis / (error.shape[0] * error.shape[1])
    for k in range(len(feedback)):
        for i in range(n):
            feedback[k, i] = source[k, i] * learned.shares[k]
    for i in range(n):
        drive[i] = strength * (rule.target_rate - float(learned.firing_rate[i]))
    return feedback, drive


@inner
def clear(room, share):
    """Begin the sums of the gradients that are a thread's to write."""
    inputs = room.hidden.shape[0] - room.hidden.shape[1]
    fill(room.hidden[share.first_input : share.last_input].reshape(-1), 0.0)
    fill(room.hidden[inputs + share.first_neuron : inputs + share.last_neuron].reshape(-1), 0.0)
    to = share.last_neuron + (share.last_neuron == room.hidden.shape[1])
    for k in range(len(room.readout)):
        fill(room.readout[k, share.first_neuron : to], 0.0)


@inner
def add_to_path(begin, error, window, learned, room, share):
    """ds_d = Σ_{t,b} e_tb x_d,tb for a thread's inputs, with e the critic's error."""
    low, high, last = share.first_input, min(share.last_input, len(learned.path)), error.shape[2] - 1
    fill(room.path[low:high], 0.0)
    for t in range(len(error)):
        for b in range(error.shape[1]):
            missed, row = error[t, b, last], window.x[begin + t, b]
            for d in range(low, high):
                room.path[d] += missed * row[d]


@inner
def add_block(first, block, rows, reset, credit, window, neurons, room, share):
    """Add what a block of ticks gives to the gradients that are a thread's to write, without tick a itself."""
    inputs = room.hidden.shape[0] - room.hidden.shape[1]
    own = credit[1 if block == 0 else 0 :]  # tick a counts through x̄_a
    low, high = share.first_input, min(share.last_input, inputs - 1)
    tick = first + block + len(credit) - len(own)
    add_inputs(tick, own, neurons, window.columns[low:high], room.hidden[low:high])
    if share.last_input == inputs:
        add_bias(own, room.hidden[inputs - 1])
    fired, counts, like = room.fired[rows], room.counts[rows], room.hidden
    add_credit_at(neurons.loops.add_credit, like)(
        block, fired, counts, reset, credit, like[inputs:], share.first_neuron, share.last_neuron
    )


@inner
def add_inputs(tick, credit, neurons, columns, total):
    """total_d += Σ_{t,b} x_d,tb H_tb for a block of ticks from ``tick`` on; ticks of a step share its input."""
    batch, n, ticks = credit.shape[1], credit.shape[2], neurons.ticks
    t = 0
    if ticks == 1:
        add_product_at(neurons.loops.add_product, total)(
            total, columns[:, tick * batch : (tick + len(credit)) * batch], credit.reshape(-1, n)
        )
        return
    while t < len(credit):
        step = (tick + t) // ticks
        summed = credit[t].copy()
        t += 1
        while t < len(credit) and (tick + t) // ticks == step:
            add_all(credit[t].reshape(-1), summed.reshape(-1))
            t += 1
        add_product_at(neurons.loops.add_product, total)(total, columns[:, step * batch : (step + 1) * batch], summed)


@inner
def add_all(row, total):
    """total_i += row_i."""
    for i in range(len(total)):
        total[i] = total[i] + row[i]


@inner
def add_bias(credit, total):
    """total_i += Σ_{t,b} H_i,tb."""
    for t in range(len(credit)):
        for b in range(credit.shape[1]):
            add_all(credit[t, b], total)


@inner
def group_alone(later, g, groups):
    """Return H [B, N] with zeros for all neurons that are not of group g."""
    if groups == 1:
        return later
    out = np.zeros_like(later)
    for b in range(len(later)):
        for i in range(g, later.shape[1], groups):
            out[b, i] = later[b, i]
    return out


@inner
def add_slow(low, high, room):
    """Add λ_a ε_a to the rows from ``low`` to ``high`` of the gradient, ε from before the first tick a."""
    for b in range(len(room.slow)):
        factor = room.carried[1, b]
        for j in range(low, high):
            row, eps = room.hidden[j], room.slow[b, j]
            for i in range(len(row)):
                row[i] = row[i] + factor[i] * eps[i]


@inner
def add_past(later, neurons, room, share):
    """Add H_a x̄_a + λ_a ε_a to the gradients that are a thread's, and leave none to self-connections; sum squares."""
    inputs, product = room.hidden.shape[0] - room.hidden.shape[1], add_product_at(neurons.loops.add_product, later)
    low, high, groups = inputs + share.first_neuron, inputs + share.last_neuron, len(neurons.decays)
    for g in range(groups):
        own, trace = group_alone(later, g, groups), room.trace.T[g * len(room.hidden) : (g + 1) * len(room.hidden)]
        product(room.hidden[share.first_input : share.last_input], trace[share.first_input : share.last_input], own)
        product(room.hidden[low:high], trace[low:high], own)
    if len(room.slow):
        add_slow(share.first_input, share.last_input, room)
        add_slow(low, high, room)
    for i in range(share.first_neuron, share.last_neuron):
        room.hidden[inputs + i, i] = 0.0
        if len(neurons.present):
            mask(room.hidden[inputs + i], neurons.present[i])
        room.squares[inputs + i] = squared_norm(room.hidden[inputs + i])
    for i in range(share.first_input, share.last_input):
        room.squares[i] = squared_norm(room.hidden[i])


@inner
def mask(row, present):
    """row_i ← row_i present_i: no gradient where there is no synapse."""
    for i in range(len(row)):
        row[i] = row[i] * present[i]


@part
def ascend(done, neurons, rule, learned, room, share):
    """Take a thread's part of a step of Adam along the gradients, clipped by their norms; return that of all."""
    kind, outputs = learned.hidden.dtype.type, rule.outputs
    meet(share)
    hidden, policy = 0.0, float(squared_norm(room.readout[:outputs].reshape(-1)))
    for square in room.squares:
        hidden += square
    critic, path = float(squared_norm(room.readout[outputs:].reshape(-1))), float(squared_norm(room.path))
    debias_1, debias_2 = 1.0 - BETA_1**done, (1.0 - BETA_2**done) ** -0.5
    one, two, debias, eps = kind(BETA_1), kind(BETA_2), kind(debias_2), kind(EPS)
    step = adam_at(neurons.loops.adam, room.hidden)
    inputs = room.hidden.shape[0] - room.hidden.shape[1]
    scale = kind(within(rule.max_norm, hidden if rule.apart else policy + critic + hidden))
    rate = kind(learned.rates[0] / debias_1)
    for low, high in (
        (share.first_input, share.last_input), (inputs + share.first_neuron, inputs + share.last_neuron),
    ):  # fmt: skip
        step(
            learned.hidden[low:high].reshape(-1), room.hidden[low:high].reshape(-1),
            learned.first_hidden[low:high].reshape(-1), learned.second_hidden[low:high].reshape(-1),
            scale, rate, one, two, debias, eps,
        )  # fmt: skip
    if share.thread == 0:
        rate, first, second = kind(learned.rates[1] / debias_1), learned.first_readout, learned.second_readout
        for low, high, square in ((0, outputs, policy), (outputs, len(learned.readout), critic + path)):
            scale = kind(within(rule.max_norm, square if rule.apart else policy + critic + hidden))
            step(
                learned.readout[low:high].reshape(-1), room.readout[low:high].reshape(-1), first[low:high].reshape(-1),
                second[low:high].reshape(-1), scale, rate, one, two, debias, eps,
            )  # fmt: skip
        scale, rate = kind(within(rule.max_norm, critic + path if rule.apart else path)), learned.rates[2] / debias_1
        along, first, second = room.path, learned.first_path, learned.second_path
        step(learned.path, along, first, second, scale, kind(rate), one, two, debias, eps)
    return math.sqrt(policy + critic + hidden + path)


@inner
def within(norm, square):
    """Return the factor that brings gradients with a sum of squares to at most a norm."""
    return min(1.0, norm / (math.sqrt(square) + 1e-6))
