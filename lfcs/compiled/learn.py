"""Learning a window as one compiled call: all passes over it, and in each all chunks.

The equations are those of rules.py, update.py and learner.py, which define them and are the witness of this form; what
a neuron model, a head and a learning rule do is called by address. Head and rule compute in double precision, on
numbers that are rounded to the network's where it rounds them too: so the ratio is exactly 1 where two policies agree.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from lfcs.agent import error_at, weight_at
from lfcs.compiled.team import Share, meet
from lfcs.heads.base import judge_at
from lfcs.kernels import (
    Kernels,
    accumulate,
    adam_at,
    add_credit_at,
    add_product_at,
    add_readout,
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
from lfcs.pointers import Pointer, borrowed

Array = np.ndarray


# a thread that learns does not keep others from running Python
alone: Any = numba.njit(cache=True, error_model="numpy", nogil=True)


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
    trace: Array  # [B, D + 1 + N] x̄
    carried: Array  # [3, B, N] the filtered signal, what ``post`` carries, H
    squares: Array  # [D + 1 + N] of the gradient's norm, by row
    scale: Array  # [1] one unit of the advantage


class Parts(NamedTuple):
    """The parts of a pass by address, compiled one by one."""

    credit: Any
    look_at: Any
    judge: Any
    gradient: Any
    ascend: Any


@alone
def learn(passes, update, start, window, neurons, rule, learned, seen, room, parts, share):
    """Go ``passes`` times over a window from the states ``start`` [B, ...]; return the largest KL(reference || new).

    Without ``update`` the policy only looks: what it sees is its own view of the window. Every thread of a team calls
    it with its share.
    """
    largest, done = 0.0, learned.steps[0]
    for _ in range(passes):
        if share.thread == 0:
            room.scale[0] = parts.credit(window, rule, seen)
            copy(learned.readout.reshape(-1), seen.readout.reshape(-1))
        meet(share)
        done = one_pass(update, done, start, window, neurons, rule, learned, seen, room, parts, share)
        latest = kl(seen.rho)
        largest = latest if latest > largest or math.isnan(latest) else largest
        meet(share)
    if share.thread == 0:
        learned.steps[0] = done
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
def one_pass(update, done, start, window, neurons, rule, learned, seen, room, parts, share):
    """One pass in order of time, with an update from each chunk of tau_f steps; return the number of all updates."""
    ticks, width, at = neurons.ticks, room.rows.shape[2], -1  # ``at``: the tick after which x̄ is
    steps = len(window.reward)
    for b in range(share.low, share.high):
        copy(start[b], room.rows[0, b])
        copy(start[b, width:], room.trace[b])
    filled = 1  # rows of states
    for chunk in range(-(-steps // rule.tau_f)):
        begin = chunk * rule.tau_f
        end = min(begin + rule.tau_f, steps)
        first = max(0, begin * ticks - rule.tail)  # tick from which eligibility counts
        if update:
            follow(at, first, filled - begin * ticks, window, neurons, room, share)
            at = first
        filled = make_room(filled, filled - max(1, begin * ticks - first), (end - begin) * ticks, room, share)
        parts.look_at(begin, end, filled, window, neurons, learned, seen, room, share)
        parts.judge(begin, end, window, rule, learned, seen, room, share)
        meet(share)
        if update:
            done += 1
            parts.gradient(chunk, first, begin, end, filled, window, neurons, rule, learned, seen, room, share)
            seen.norm[chunk] = parts.ascend(done, neurons, rule, learned, room, share)
            meet(share)
        filled += (end - begin) * ticks
    return done


@inner
def follow(at, until, before, window, neurons, room, share):
    """Move x̄ on from after tick ``at`` to after ``until``; tick t's states are in row t + ``before``."""
    low, high = share.low, share.high
    for t in range(at + 1, until + 1):
        states, x = room.rows[t + before - 1, low:high], window.x[t // neurons.ticks, low:high]
        follow_trace(room.trace[low:high], states, x, window.by_tick[t, low:high], neurons.decay)


@inner
def make_room(filled, kept, ticks, room, share):
    """Return where the next ``ticks`` rows go, having moved those from ``kept`` on to the front if there is need."""
    if filled + ticks <= len(room.rows):
        return filled
    for i in range(filled - kept):
        for b in range(share.low, share.high):
            room.counts[i, b] = room.counts[kept + i, b]
            copy(room.rows[kept + i, b], room.rows[i, b])
            copy(room.fired[kept + i, b], room.fired[i, b, : room.counts[i, b]])
    return filled - kept


@part
def look_at(begin, end, filled, window, neurons, learned, seen, room, share):
    """Run a chunk of steps; write outputs, values and bootstraps."""
    outputs, out = len(learned.readout), room.out[: end - begin]
    rows = slice(filled, filled + (end - begin) * neurons.ticks)
    like = learned.hidden
    advance_at(neurons.loops.advance, like)(
        window.x[begin:end], window.reset[begin:end], neurons.ticks, like, learned.readout, tick_at(neurons.tick, like),
        neurons.fields, neurons.constants, neurons.update, room.rows[filled - 1], room.rows[rows], out,
        room.fired[rows], room.counts[rows], share.low, share.high,
    )  # fmt: skip
    for t in range(begin, end):
        for b in range(share.low, share.high):
            seen.value[t, b] = out[t - begin, b, outputs - 1]
        if window.final_at[t] >= 0:
            state = room.rows[filled + (t - begin + 1) * neurons.ticks - 1]
            for b in range(share.low, share.high):
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
        neurons.fields, neurons.constants, neurons.update, state[b : b + 1], beyond, out, fired, counts, 0, 1,
    )  # fmt: skip
    seen.bootstrap[t, b] = out[0, 0, -1]


@part
def judge(begin, end, window, rule, learned, seen, room, share):
    """Write ratios and entropies of a chunk and what its outputs should change by, as a mean over its steps."""
    out, error, batch, size = borrowed(room.out), borrowed(room.error), window.reward.shape[1], room.out.shape[2] - 1
    mean = 1.0 / ((end - begin) * batch)
    params, score, entropy_score, wanted = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    params_ref, found, entropy, kind = np.empty(size), np.empty(2), np.empty(4), out.dtype.type
    judged, weigh, correct = judge_at(rule.judge, score), weight_at(rule.weight, score), error_at(rule.error, score)
    actions, refs, logp_ref = borrowed(window.action), borrowed(window.params), borrowed(window.logp_ref)
    for t in range(begin, end):
        for b in range(share.low, share.high):
            for k in range(size):
                params[k], params_ref[k] = out[t - begin, b, k], refs[t, b, k]
            judged(params, actions[t, b], score, entropy_score, found)
            rho = math.exp(float(kind(found[0])) - float(logp_ref[t, b]))
            seen.rho[t, b], seen.entropy[t, b] = rho, found[1]
            advantage, raw = float(seen.advantage[t, b]), float(seen.raw[t, b])
            stale = float(window.stale[t, b]) if len(window.stale) else -1.0
            weight = weigh(rho, advantage, stale, rule.constants)
            for k in range(size):
                wanted[k] = weight * score[k]
            entropy[0], entropy[1], entropy[2], entropy[3] = rho, advantage, raw, room.scale[0]
            correct(params, params_ref, actions[t, b], score, entropy, rule.constants, wanted)
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
def clear(room, share):
    """Begin the sums of the gradients that are a thread's to write."""
    inputs = room.hidden.shape[0] - room.hidden.shape[1]
    fill(room.hidden[share.first_input : share.last_input].reshape(-1), 0.0)
    fill(room.hidden[inputs + share.first_neuron : inputs + share.last_neuron].reshape(-1), 0.0)
    to = share.last_neuron + (share.last_neuron == room.hidden.shape[1])
    for k in range(len(room.readout)):
        fill(room.readout[k, share.first_neuron : to], 0.0)


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
def add_past(later, neurons, room, share):
    """Add H_a x̄_a to the gradients that are a thread's to write, and leave none to self-connections; sum squares."""
    inputs, product = room.hidden.shape[0] - room.hidden.shape[1], add_product_at(neurons.loops.add_product, later)
    product(
        room.hidden[share.first_input : share.last_input], room.trace.T[share.first_input : share.last_input], later
    )
    low, high = inputs + share.first_neuron, inputs + share.last_neuron
    product(room.hidden[low:high], room.trace.T[low:high], later)
    for i in range(share.first_neuron, share.last_neuron):
        room.hidden[inputs + i, i] = 0.0
        room.squares[inputs + i] = squared_norm(room.hidden[inputs + i])
    for i in range(share.first_input, share.last_input):
        room.squares[i] = squared_norm(room.hidden[i])


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
def ascend(done, neurons, rule, learned, room, share):
    """Take a thread's part of a step of Adam along the gradients, clipped to a global norm; return that norm."""
    kind = learned.hidden.dtype.type
    meet(share)
    total = float(squared_norm(room.readout.reshape(-1)))
    for square in room.squares:
        total += square
    norm = math.sqrt(total)
    debias_1, debias_2 = 1.0 - BETA_1**done, (1.0 - BETA_2**done) ** -0.5
    scale = kind(min(1.0, rule.max_norm / (norm + 1e-6)))
    one, two, debias, eps = kind(BETA_1), kind(BETA_2), kind(debias_2), kind(EPS)
    rate, step = kind(learned.rates[0] / debias_1), adam_at(neurons.loops.adam, room.hidden)
    inputs = room.hidden.shape[0] - room.hidden.shape[1]
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
        weights, along = learned.readout.reshape(-1), room.readout.reshape(-1)
        step(weights, along, first.reshape(-1), second.reshape(-1), scale, rate, one, two, debias, eps)
    return norm


def parts_of(
    window: Experience, neurons: Neurons, rule: Rule, learned: Learned, seen: Seen, room: Room, share: Share
) -> Parts:
    """Return the parts of a pass, compiled for arguments of the types of these."""
    return Parts(
        credit.like(types.float64, window, rule, seen),
        look_at.like(types.void, 0, 0, 0, window, neurons, learned, seen, room, share),
        judge.like(types.void, 0, 0, window, rule, learned, seen, room, share),
        gradient.like(types.void, 0, 0, 0, 0, 0, window, neurons, rule, learned, seen, room, share),
        ascend.like(types.float64, 0, neurons, rule, learned, room, share),
    )


@compiled
def timed_look(parts, end, window, neurons, learned, seen, room, share):
    """Run the first chunk of a window."""
    parts.look_at(0, end, 1, window, neurons, learned, seen, room, share)


@compiled
def timed_judge(parts, end, window, rule, learned, seen, room, share):
    """Judge the first chunk of a window."""
    parts.judge(0, end, window, rule, learned, seen, room, share)


@compiled
def timed_gradient(parts, end, window, neurons, rule, learned, seen, room, share):
    """Write the gradients of the first chunk of a window."""
    parts.gradient(0, 0, 0, end, 1, window, neurons, rule, learned, seen, room, share)


@compiled
def timed_ascent(parts, neurons, rule, learned, room, share):
    """Take a step along the gradients that are there, as if it were the first."""
    parts.ascend(1, neurons, rule, learned, room, share)
