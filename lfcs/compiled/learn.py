"""Learning a window as one compiled call: all passes over it, and in each all chunks.

The equations are those of rules.py, update.py and learner.py, which define them and are the witness of this form; what
a neuron model, a head and a learning rule do is called by address. Head and rule compute in double precision, on
numbers that are rounded to the network's where it rounds them too: so the ratio is exactly 1 where two policies agree.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import types

from lfcs.agent import error_at, weight_at
from lfcs.heads.base import judge_at
from lfcs.kernels import (
    Kernels,
    accumulate,
    adam_at,
    add_credit_at,
    add_product_at,
    advance_at,
    backward_at,
    compiled,
    copy,
    fill,
    follow_trace,
    inner,
    post_at,
    squared_norm,
    tick_at,
)
from lfcs.optimiser import BETA_1, BETA_2, EPS
from lfcs.pointers import Pointer

Array = np.ndarray


def part(function: Any) -> Pointer:
    """Declare a part of a pass, whose signature follows from what it is given."""
    return Pointer(None, function)


class Experience(NamedTuple):
    """A window of T steps of B environments; see :class:`lfcs.trajectory.Trajectory`."""

    x: Array  # [T, B, D]
    columns: Array  # [D, T·B], the same by input
    action: Array  # [T, B, A] float64
    params: Array  # [T, B, P] of the policy that the ratio is to
    logp_ref: Array  # [T, B]
    reward: Array  # [T, B]
    terminated: Array  # [T, B] bool
    truncated: Array  # [T, B] bool
    reset: Array  # [T, B] bool
    by_tick: Array  # [T·ticks, B] bool, resets before the first tick of a step
    stale: Array  # [T, B], or [0, 0] where there is none
    final: Array  # [F, B, D] next observations before any reset
    final_at: Array  # [T] which of ``final`` belongs to a step, -1 for none


class Neurons(NamedTuple):
    """A neuron model's compiled forms, by address, and its numbers, those of the network's precision as such."""

    tick: int
    post: int
    fields: int
    constants: Array
    decay: Any
    kappa: Any
    update: Any  # 1 - κ
    ticks: int
    loops: Kernels


class Rule(NamedTuple):
    """A learning rule's compiled forms, by address, and its numbers; see :class:`lfcs.config.RuleConfig`."""

    judge: int  # of the head
    weight: int
    error: int
    constants: Array
    rho_bar: float
    c_bar: float
    tau_f: int
    tail: int
    gamma: float
    lam: float
    normalise: bool
    entropy: float
    value: float
    homeostasis: float
    target_rate: float
    rate_decay: float  # of the rate estimate, per tick
    max_norm: float


class Learned(NamedTuple):
    """What learning changes: weights, the two moments of each, the rate estimate, the number of updates."""

    hidden: Array
    readout: Array
    first_hidden: Array
    first_readout: Array
    second_hidden: Array
    second_readout: Array
    firing_rate: Array  # [N] r̄
    feedback: Array  # [K + 1, N] fixed feedback weights, or [0, N] where it is the readout
    shares: Array  # [K + 1] of each output in the hidden learning signal
    rates: Array  # [2] learning rates of hidden and readout
    steps: Array  # [1] int64


class Seen(NamedTuple):
    """What the latest pass saw, all but the last two [T, B]; values and ratios go into the next pass's credit."""

    value: Array
    bootstrap: Array
    rho: Array
    entropy: Array
    advantage: Array
    raw: Array
    target: Array
    rate: Array  # [S, N] firing rates by chunk
    norm: Array  # [S] of the gradients before clipping
    readout: Array  # [K + 1, N + 1] weights before the pass


class Room(NamedTuple):
    """Memory that is kept from call to call, with room for L ticks."""

    rows: Array  # [L, B, ...] states, the neurons' fields and y
    fired: Array  # [L, B, N] spikes as lists
    counts: Array  # [L, B]
    credit: Array  # [..., B, N] a block of ticks
    hidden: Array  # gradient
    readout: Array  # gradient
    out: Array  # [tau_f, B, K + 1] of a chunk
    error: Array  # [tau_f, B, K + 1] what it should change by


class Parts(NamedTuple):
    """The parts of a pass by address, compiled one by one."""

    credit: Any
    look_at: Any
    judge: Any
    gradient: Any
    ascend: Any


@compiled
def learn(passes, update, start, window, neurons, rule, learned, seen, room, parts):
    """Go ``passes`` times over a window from the states ``start`` [B, ...]; return the largest KL(reference || new).

    Without ``update`` the policy only looks: what it sees is its own view of the window.
    """
    largest = 0.0
    for _ in range(passes):
        scale = parts.credit(window, rule, seen)
        copy(learned.readout.reshape(-1), seen.readout.reshape(-1))
        one_pass(update, scale, start, window, neurons, rule, learned, seen, room, parts)
        latest = kl(seen.rho)
        largest = latest if latest > largest or math.isnan(latest) else largest
    return largest


@inner
def kl(rho):
    """Return the mean of (ρ - 1) - log ρ."""
    total = 0.0
    for ratio in rho.reshape(-1):
        total += (float(ratio) - 1.0) - math.log(ratio)
    return total / rho.size


@part
def credit(window, rule, seen):
    """Write advantages and the critic's targets by V-trace, with ρ̄ = c̄ = 1 and ρ = 1 generalised advantage estimation.

    Returns one unit of the advantage, normalised over the window if the rule says so, in units of the return.
    """
    steps, batch = window.reward.shape
    bounded = rule.rho_bar > 0.0
    for b in range(batch):
        later = 0.0
        for t in range(steps - 1, -1, -1):
            ends = window.terminated[t, b] or window.truncated[t, b]
            following = float(seen.bootstrap[t, b] if ends or t == steps - 1 else seen.value[t + 1, b])
            if window.terminated[t, b]:
                following = 0.0
            delta = float(window.reward[t, b]) + rule.gamma * following - float(seen.value[t, b])
            rho = float(seen.rho[t, b])
            keep = 0.0 if ends else rule.gamma * rule.lam
            seen.raw[t, b] = delta + keep * later
            if bounded:
                later = min(rule.rho_bar, rho) * delta + min(rule.c_bar, rho) * keep * later
            else:
                later = delta + keep * later
            seen.target[t, b] = float(seen.value[t, b]) + later
    return normalised(rule.normalise, seen.raw, seen.advantage)


@inner
def normalised(wanted, raw, advantage):
    """Write advantages with mean 0 and standard deviation 1 where ``wanted``; return one unit of them in raw ones."""
    every, out, mean, square = raw.reshape(-1), advantage.reshape(-1), 0.0, 0.0
    if not wanted:
        copy(every, out)
        return 1.0
    for item in every:
        mean += item
    mean /= len(every)
    for item in every:
        square += (item - mean) ** 2
    scale = math.sqrt(square / len(every)) + 1e-8
    for i in range(len(every)):
        out[i] = (every[i] - mean) / scale
    return scale


@inner
def one_pass(update, scale, start, window, neurons, rule, learned, seen, room, parts):
    """One pass in order of time, with an update from each chunk of tau_f steps."""
    ticks, width = neurons.ticks, room.rows.shape[2]
    steps, batch = window.reward.shape
    trace, at = start[:, width:].copy(), -1  # x̄ after tick ``at``
    for b in range(batch):
        copy(start[b], room.rows[0, b])
    filled = 1  # rows of states
    for chunk in range(-(-steps // rule.tau_f)):
        begin = chunk * rule.tau_f
        end = min(begin + rule.tau_f, steps)
        first = max(0, begin * ticks - rule.tail)  # tick from which eligibility counts
        before = filled - begin * ticks  # row of tick t's state: t + before
        while update and at < first:
            at += 1
            follow_trace(trace, room.rows[at + before - 1], window.x[at // ticks], window.by_tick[at], neurons.decay)
        filled = make_room(filled, filled - max(1, begin * ticks - first), (end - begin) * ticks, room)
        parts.look_at(begin, end, filled, window, neurons, learned, seen, room)
        parts.judge(begin, end, scale, window, rule, learned, seen, room)
        if update:
            follow_rate(chunk, filled, (end - begin) * ticks, rule, learned, seen, room)
            parts.gradient(first, begin, end, filled, trace, window, neurons, rule, learned, room)
            seen.norm[chunk] = parts.ascend(neurons, rule, learned, room)
        filled += (end - begin) * ticks


@inner
def make_room(filled, kept, ticks, room):
    """Return where the next ``ticks`` rows go, having moved those from ``kept`` on to the front if there is need."""
    if filled + ticks <= len(room.rows):
        return filled
    for i in range(filled - kept):
        copy(room.counts[kept + i], room.counts[i])
        copy(room.rows[kept + i].reshape(-1), room.rows[i].reshape(-1))
        for b in range(room.counts.shape[1]):
            copy(room.fired[kept + i, b], room.fired[i, b, : room.counts[i, b]])
    return filled - kept


@part
def look_at(begin, end, filled, window, neurons, learned, seen, room):
    """Run a chunk of steps; write outputs, values and bootstraps."""
    batch, outputs, out = window.reward.shape[1], len(learned.readout), room.out[: end - begin]
    rows = slice(filled, filled + (end - begin) * neurons.ticks)
    like = learned.hidden
    advance_at(neurons.loops.advance, like)(
        window.x[begin:end], window.reset[begin:end], neurons.ticks, like, learned.readout, tick_at(neurons.tick, like),
        neurons.fields, neurons.constants, neurons.update, room.rows[filled - 1], room.rows[rows], out,
        room.fired[rows], room.counts[rows],
    )  # fmt: skip
    for t in range(begin, end):
        for b in range(batch):
            seen.value[t, b] = out[t - begin, b, outputs - 1]
        if window.final_at[t] >= 0:
            state = room.rows[filled + (t - begin + 1) * neurons.ticks - 1]
            for b in range(batch):
                if window.truncated[t, b] or t == len(window.reward) - 1:
                    bootstrap(t, b, state, window, neurons, learned, seen)


@inner
def bootstrap(t, b, state, window, neurons, learned, seen):
    """Write V of the next observation before any reset, in environment b after the ``state`` of a step."""
    n, kind = learned.hidden.shape[1], learned.readout.dtype
    out, beyond = np.empty((1, 1, len(learned.readout)), kind), np.empty((neurons.ticks, 1, state.shape[1]), kind)
    fired, counts, no_reset = np.empty((1, 1, n), np.int32), np.empty((1, 1), np.int64), np.zeros((1, 1), np.bool_)
    x = window.final[window.final_at[t], b]
    like = learned.hidden
    advance_at(neurons.loops.advance, like)(
        x.reshape(1, 1, len(x)), no_reset, neurons.ticks, like, learned.readout, tick_at(neurons.tick, like),
        neurons.fields, neurons.constants, neurons.update, state[b : b + 1], beyond, out, fired, counts,
    )  # fmt: skip
    seen.bootstrap[t, b] = out[0, 0, -1]


@part
def judge(begin, end, scale, window, rule, learned, seen, room):
    """Write ratios and entropies of a chunk and what its outputs should change by, as a mean over its steps."""
    out, error, batch, size = room.out, room.error, window.reward.shape[1], room.out.shape[2] - 1
    mean = 1.0 / ((end - begin) * batch)
    params, score, entropy_score, wanted = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    params_ref, found, entropy, kind = np.empty(size), np.empty(2), np.empty(4), out.dtype.type
    judged, weigh, correct = judge_at(rule.judge, score), weight_at(rule.weight, score), error_at(rule.error, score)
    for t in range(begin, end):
        for b in range(batch):
            for k in range(size):
                params[k], params_ref[k] = out[t - begin, b, k], window.params[t, b, k]
            judged(params, window.action[t, b], score, entropy_score, found)
            rho = math.exp(float(kind(found[0])) - float(window.logp_ref[t, b]))
            seen.rho[t, b], seen.entropy[t, b] = rho, found[1]
            advantage, raw = float(seen.advantage[t, b]), float(seen.raw[t, b])
            stale = float(window.stale[t, b]) if len(window.stale) else -1.0
            weight = weigh(rho, advantage, stale, rule.constants)
            for k in range(size):
                wanted[k] = weight * score[k]
            entropy[0], entropy[1], entropy[2], entropy[3] = rho, advantage, raw, scale
            correct(params, params_ref, window.action[t, b], score, entropy, rule.constants, wanted)
            for k in range(size):
                error[t - begin, b, k] = mean * (wanted[k] + rule.entropy * entropy_score[k])
            missed = float(seen.target[t, b]) - float(seen.value[t, b])
            error[t - begin, b, size] = mean * rule.value * missed


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


@part
def gradient(first, begin, end, filled, trace, window, neurons, rule, learned, room):
    """Write the gradients of a chunk: Σ_t G_t x̄_t = H_a x̄_a + Σ_{t>a} H_t pre_t, from x̄ after its first tick a."""
    ticks, last, (batch, sources) = neurons.ticks, end * neurons.ticks, trace.shape
    n, error = learned.hidden.shape[1], room.error[: end - begin]
    inputs, kind = sources - n, learned.hidden.dtype.type
    rows = slice(filled - (begin * ticks - first), filled + (end - begin) * ticks)
    fill(room.hidden.reshape(-1), 0.0)
    fill(room.readout.reshape(-1), 0.0)
    feedback, drive = signals(error, rule, learned)
    reset, data = window.by_tick[first:last], room.rows[rows]
    fired, counts = room.fired[rows], room.counts[rows]
    filtered, carry, later = np.zeros((batch, n), kind), np.zeros((batch, n), kind), np.zeros((batch, n), kind)
    length = len(room.credit)
    for stop in range(last - first, 0, -length):
        block = max(0, stop - length)
        credit = room.credit[: stop - block]
        backward_at(neurons.loops.backward, drive)(
            block, data, reset, error, feedback, drive, ticks, neurons.kappa, post_at(neurons.post, drive),
            neurons.fields, neurons.constants, filtered, carry, credit, room.readout,
        )  # fmt: skip
        accumulate(block, reset, neurons.decay, credit, later)
        own = 1 if block == 0 else 0  # tick a itself counts through x̄_a
        add_inputs(first + block + own, credit[own:], neurons, window.columns, room.hidden[: inputs - 1])
        add_bias(credit[own:], room.hidden[inputs - 1])
        add_credit_at(neurons.loops.add_credit, drive)(block, fired, counts, reset, credit, room.hidden[inputs:])
    add_product_at(neurons.loops.add_product, drive)(room.hidden, trace.T, later)
    for i in range(n):
        room.hidden[inputs + i, i] = 0.0  # no self-connections


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


@part
def ascend(neurons, rule, learned, room):
    """Take one step of Adam along the gradients, clipped to a global norm; return that norm."""
    kind = learned.hidden.dtype.type
    hidden, readout = room.hidden.reshape(-1), room.readout.reshape(-1)
    norm = math.sqrt(float(squared_norm(hidden)) + float(squared_norm(readout)))
    learned.steps[0] += 1
    debias_1, debias_2 = 1.0 - BETA_1 ** learned.steps[0], (1.0 - BETA_2 ** learned.steps[0]) ** -0.5
    scale = kind(min(1.0, rule.max_norm / (norm + 1e-6)))
    one, two, debias, eps = kind(BETA_1), kind(BETA_2), kind(debias_2), kind(EPS)
    rate = kind(learned.rates[0] / debias_1)
    first, second = learned.first_hidden.reshape(-1), learned.second_hidden.reshape(-1)
    adam_at(neurons.loops.adam, hidden)(
        learned.hidden.reshape(-1), hidden, first, second, scale, rate, one, two, debias, eps
    )
    rate = kind(learned.rates[1] / debias_1)
    first, second = learned.first_readout.reshape(-1), learned.second_readout.reshape(-1)
    adam_at(neurons.loops.adam, hidden)(
        learned.readout.reshape(-1), readout, first, second, scale, rate, one, two, debias, eps
    )
    return norm


def parts_of(window: Experience, neurons: Neurons, rule: Rule, learned: Learned, seen: Seen, room: Room) -> Parts:
    """Return the parts of a pass, compiled for arguments of the types of these."""
    return Parts(
        credit.like(types.float64, window, rule, seen),
        look_at.like(types.void, 0, 0, 0, window, neurons, learned, seen, room),
        judge.like(types.void, 0, 0, 0.0, window, rule, learned, seen, room),
        gradient.like(types.void, 0, 0, 0, 0, room.rows[0], window, neurons, rule, learned, room),
        ascend.like(types.float64, neurons, rule, learned, room),
    )
