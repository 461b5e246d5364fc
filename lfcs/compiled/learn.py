"""Learning a window as one compiled call: all passes over it, and in each all chunks.

The equations are those of rules.py, update.py and learner.py, which define them and are the witness of this form; what
a neuron model, a head and a learning rule do is called by address. Head and rule compute in double precision, on
numbers that are rounded to the network's where it rounds them too: so the ratio is exactly 1 where two policies agree.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types

from lfcs.agent import error_at, weight_at
from lfcs.compiled.forms import Experience, Learned, Neurons, Parts, Room, Rule, Seen, part
from lfcs.compiled.gradient import ascend, gradient
from lfcs.compiled.slow import follow_slow, note_slow
from lfcs.compiled.team import Share, meet
from lfcs.heads.base import judge_at
from lfcs.kernels import add_along, advance_at, alone, compiled, copy, fill, follow_trace, inner, tick_at
from lfcs.measured import k3
from lfcs.pointers import borrowed


@alone
def learn(passes, update, start, window, neurons, rule, learned, seen, room, parts, share):
    """Go ``passes`` times over a window from the states ``start`` [B, ...]; return the largest KL(reference || new).

    Without ``update`` the policy only looks: what it sees is its own view of the window. Every thread of a team calls
    it with its share.
    """
    largest, done = 0.0, learned.steps[0]
    for number in range(passes):
        if share.thread == 0:
            room.scale[0] = parts.credit(window, rule, seen)
            copy(learned.readout.reshape(-1), seen.readout.reshape(-1))
        meet(share)
        done = one_pass(update, done, start, window, neurons, rule, learned, seen, room, parts, share)
        latest = kl(seen.rho)
        largest = latest if latest > largest or math.isnan(latest) else largest
        meet(share)
        if share.thread == 0 and number < seen.passes.shape[1]:
            copy(seen.rho.reshape(-1), seen.passes[0, number].reshape(-1))
            copy(seen.advantage.reshape(-1), seen.passes[1, number].reshape(-1))
    if share.thread == 0:
        learned.steps[0] = done
    return largest


@inner
def kl(rho):
    """Return the estimate of KL(reference || new)."""
    total = 0.0
    for ratio in rho.reshape(-1):
        total += k3(ratio)
    return total / rho.size


@compiled
def distance(a, b):
    """Return the norm of a - b of two matrices."""
    total = 0.0
    for k in range(len(a)):
        for i in range(a.shape[1]):
            total += (float(a[k, i]) - float(b[k, i])) ** 2
    return math.sqrt(total)


@part
def credit(window, rule, seen):
    """Write advantages and the critic's targets by V-trace, with ρ̄ = c̄ = 1 and ρ = 1 generalised advantage estimation.

    Returns one unit of the advantage, normalised over the window if the rule says so, in units of the return.
    """
    steps, batch = window.reward.shape
    bounded = rule.rho_bar > 0.0
    for b in range(batch):
        later, far = 0.0, 0.0
        for t in range(steps - 1, -1, -1):
            ends = window.terminated[t, b] or window.truncated[t, b]
            following = float(seen.bootstrap[t, b] if ends or t == steps - 1 else seen.value[t + 1, b])
            if window.terminated[t, b]:
                following = 0.0
            delta = float(window.reward[t, b]) + rule.gamma * following - float(seen.value[t, b])
            rho = float(seen.rho[t, b])
            keep, long = 0.0 if ends else rule.gamma * rule.lam, 0.0 if ends else rule.gamma * rule.lam_critic
            seen.raw[t, b] = delta + keep * later
            now, trace = (min(rule.rho_bar, rho), min(rule.c_bar, rho)) if bounded else (1.0, 1.0)
            later = now * delta + trace * keep * later
            far = now * delta + trace * long * far
            seen.target[t, b] = float(seen.value[t, b]) + far
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
        if len(room.slow):
            fill(room.slow[b].reshape(-1), 0)
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
    """Move x̄ on from after tick ``at`` to after ``until``; tick t's states are in row t + ``before``.

    A slow eligibility is moved on with it, as far as it enters tick ``until``.
    """
    low, high, noted = share.low, share.high, 0
    for t in range(at + 1, until + 1):
        states, x = room.rows[t + before - 1, low:high], window.x[t // neurons.ticks, low:high]
        if len(room.slow) and t:
            note_slow(noted, states, window.by_tick[t], neurons, room, share)
            noted += 1
            if noted == len(room.seen) or t == until:
                follow_slow(noted, neurons, room, share)
                noted = 0
        follow_trace(room.trace[low:high], states, x, window.by_tick[t, low:high], neurons.decays)


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
    add_along(learned.path, window.x[begin:end], out, share.low, share.high)
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
    fired, counts, reset = np.empty((1, 1, n), np.int32), np.empty((1, 1), np.int64), np.full((1, 1), neurons.forgets)
    x = window.final[window.final_at[t], b]
    like = learned.hidden
    advance_at(neurons.loops.advance, like)(
        x.reshape(1, 1, len(x)), reset, neurons.ticks, like, learned.readout, tick_at(neurons.tick, like),
        neurons.fields, neurons.constants, neurons.update, state[b : b + 1], beyond, out, fired, counts, 0, 1,
    )  # fmt: skip
    add_along(learned.path, x.reshape(1, 1, len(x)), out, 0, 1)
    seen.bootstrap[t, b] = out[0, 0, -1]


@part
def judge(begin, end, window, rule, learned, seen, room, share):
    """Write ratios and entropies of a chunk and what its outputs should change by, as a mean over its steps."""
    out, error, batch, size = borrowed(room.out), borrowed(room.error), window.reward.shape[1], room.out.shape[2] - 1
    mean = 1.0 / ((end - begin) * batch)
    own, kind = borrowed(room.scratch)[share.low], out.dtype.type
    params, params_ref, score, entropy_score = own[0, :size], own[1, :size], own[2, :size], own[3, :size]
    wanted, found, known = own[4, :size], own[5, :2], own[6, :4]
    constants, head = borrowed(rule.constants), borrowed(rule.head)
    judged, weigh, correct = judge_at(rule.judge, score), weight_at(rule.weight, score), error_at(rule.error, score)
    actions, refs, logp_ref = borrowed(window.action), borrowed(window.params), borrowed(window.logp_ref)
    for t in range(begin, end):
        for b in range(share.low, share.high):
            for k in range(size):
                params[k], params_ref[k] = out[t - begin, b, k], refs[t, b, k]
            judged(params, actions[t, b], head, score, entropy_score, found)
            rho = math.exp(float(kind(found[0])) - float(logp_ref[t, b]))
            seen.rho[t, b], seen.entropy[t, b] = rho, found[1]
            advantage, raw = float(seen.advantage[t, b]), float(seen.raw[t, b])
            stale = float(window.stale[t, b]) if len(window.stale) else -1.0
            weight = weigh(rho, advantage, stale, constants)
            for k in range(size):
                wanted[k] = weight * score[k]
            known[0], known[1], known[2], known[3] = rho, advantage, raw, room.scale[0]
            correct(params, params_ref, actions[t, b], score, known, constants, wanted)
            for k in range(size):
                error[t - begin, b, k] = mean * (wanted[k] + rule.entropy * entropy_score[k])
            missed = float(seen.target[t, b]) - float(seen.value[t, b])
            error[t - begin, b, size] = mean * rule.value * missed


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
