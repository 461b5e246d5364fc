"""Acting for a window as one compiled call, where the environments are compiled too; else a call a step.

    encode -> one step of the network -> draw an action -> one step of the environment

What an encoder, a neuron model, a head and an environment do is called by address.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lfcs.compiled.tasks import step_one
from lfcs.heads.base import draw_at, judge_at
from lfcs.kernels import add_along, advance_at, alone, compiled, copy, fill, follow_trace, inner, tick_at
from lfcs.pointers import borrowed
from lfcs.policy import encode_at

Array = np.ndarray
FAR = 100.0  # standard deviations: ordinary tasks stay below
MANY = 1000.0  # observations that make a standard deviation worth that
ABSURD = 1e9  # standard deviations of fewer: at first they may be those of a start's noise
LARGEST = 1e100  # its square is finite


class Senses(NamedTuple):
    """An encoder; see :class:`lfcs.policy.EncoderLoops`."""

    encode: int
    constants: Array
    observed: Array
    mean: Array
    m2: Array
    learns: bool  # whether the moments follow what is observed


class Mind(NamedTuple):
    """A network and its head: addresses and numbers, those of the network's precision as such."""

    advance: int
    tick: int
    fields: int
    constants: Array
    decays: Array  # [G] of x̄
    update: float
    ticks: int
    hidden: Array
    readout: Array
    path: Array  # [D] of the critic, or [0]
    forgets: bool  # whether every step begins at rest
    judge: int  # of the head
    choose: int  # draw or greedy
    head: Array  # its constants


class Memory(NamedTuple):
    """The states of B environments, and what a step of theirs gave."""

    rows: Array  # [ticks, B, ...] the neurons' fields and y by tick; the last is the state
    trace: Array  # [B, G·(D + 1 + N)] x̄, or [0, 0] where nothing will be learned
    out: Array  # [1, B, K + 1]
    reset: Array  # [1, B] bool, whether the coming step begins an episode
    fired: Array  # [2, B, N]
    counts: Array  # [2, B]
    scratch: Array  # [4, ...] float64, what a head is given of a step

    def of(self, which: Array) -> Memory:
        """Return that of some of the environments, where nothing is learned: ``which`` [B] bool."""
        rows, out, reset, fired, counts = (
            np.ascontiguousarray(part[:, which]) for part in (self.rows, self.out, self.reset, self.fired, self.counts)
        )
        return Memory(rows, self.trace, out, reset, fired, counts, np.empty_like(self.scratch))


class Lived(NamedTuple):
    """What a window of T steps gave, as in :class:`lfcs.trajectory.Trajectory`."""

    x: Array  # [T, B, D]
    action: Array  # [T, B, A] float64
    params: Array  # [T, B, K]
    logp: Array  # [T, B]
    value: Array  # [T, B]
    bootstrap: Array  # [T, B]
    reward: Array  # [T, B] float64
    terminated: Array  # [T, B] bool
    truncated: Array  # [T, B] bool
    reset: Array  # [T, B] bool
    final: Array  # [T, B, D] the first so many are used
    final_at: Array  # [T] which of them belongs to a step, -1 for none


@inner
def deviation_of(count, m2):
    """Return the standard deviation of a number, 1 where there is none."""
    deviation = math.sqrt(m2 / count)
    return deviation if deviation > 1e-8 else 1.0


@inner
def near(x, middle, deviation, far):
    """Return a number as it counts in moments; see follow_moments. ``deviation`` is 0 where there are none yet."""
    if deviation == 0.0:
        return min(max(x, -LARGEST), LARGEST)
    if abs(x - middle) <= far * deviation:
        return x
    return middle + FAR * deviation if x > middle else middle - FAR * deviation


@compiled
def follow_moments(batch, count, mean, m2):
    """Include a batch [B, d] in running moments: count [1], mean and m2 = Σ (x - mean)² [d].

    A number further than FAR standard deviations from the mean of MANY observations or more counts as FAR of them, so
    that none is the end of what was learned; of fewer, one further than ABSURD. Returns the first row with such a
    number, -1 where there is none. The very first batch is taken as it is, up to LARGEST.

    Source: Chan, Golub & LeVeque (1979), the parallel update.
    """
    more, total, first = float(len(batch)), count[0] + len(batch), -1
    far = FAR if count[0] >= MANY else ABSURD
    for i in range(len(mean)):
        middle, deviation = mean[i], 0.0
        if count[0] > 0.0:
            deviation = deviation_of(count[0], m2[i])
        own, square = 0.0, 0.0
        for b in range(len(batch)):
            x = near(batch[b, i], middle, deviation, far)
            if x != batch[b, i] and (first < 0 or b < first):
                first = b
            own += x
        own /= more
        for b in range(len(batch)):
            square += (near(batch[b, i], middle, deviation, far) - own) ** 2
        delta = own - mean[i]
        m2[i] += square + delta * delta * count[0] * more / total
        mean[i] += delta * more / total
    count[0] = total
    return first


@inner
def deviations(count, m2):
    """Return standard deviations [d], 1 where there is none."""
    std = np.empty(len(m2))
    for i in range(len(m2)):
        std[i] = deviation_of(max(count[0], 1.0), m2[i])
    return std


@compiled
def encode_rows(encode, constants, count, mean, m2, obs, x):
    """Encode observations [B, d] in double precision into ``x`` [B, D] as they are in single precision."""
    std, row = deviations(count, m2), np.empty(x.shape[1])
    function = encode_at(encode, row)
    for b in range(len(obs)):
        function(obs[b], mean, std, constants, row)
        for k in range(len(row)):
            x[b, k] = np.float32(row[k])


@compiled
def decide(x, uniform, mind, memory, judges, action, params, logp, value):
    """One step of B environments: from inputs ``x`` [1, B, D] to actions [B, A], drawn from ``uniform`` [B, U].

    The states of ``memory`` move on. With ``judges``, ``params`` [B, K], ``logp`` [B] and ``value`` [B] are written.
    """
    rows, last, like = memory.rows, mind.ticks - 1, mind.hidden
    batch, size = rows.shape[1], memory.out.shape[2] - 1
    if mind.forgets:
        fill(memory.reset[0], True)
    if len(memory.trace):
        follow_trace(memory.trace, rows[last], x[0], memory.reset[0], mind.decays)
    advance_at(mind.advance, like)(
        x, memory.reset, mind.ticks, like, mind.readout, tick_at(mind.tick, like), mind.fields, mind.constants,
        mind.update, rows[last], rows, memory.out, memory.fired, memory.counts, 0, batch,
    )  # fmt: skip
    add_along(mind.path, x, memory.out, 0, batch)
    if len(memory.trace) and last:
        never = np.zeros(batch, np.bool_)
        for t in range(last):
            follow_trace(memory.trace, rows[t], x[0], never, mind.decays)
    own, constants, drawn, chosen = borrowed(memory.scratch), borrowed(mind.head), borrowed(uniform), borrowed(action)
    row, score, entropy_score, found = own[0, :size], own[1, :size], own[2, :size], own[3, :2]
    choose, judge = draw_at(mind.choose, row), judge_at(mind.judge, row)
    for b in range(batch):
        for k in range(size):
            row[k] = memory.out[0, b, k]
        choose(row, drawn[b], constants, chosen[b])
        if judges:
            copy(memory.out[0, b], params[b])
            judge(row, chosen[b], constants, score, entropy_score, found)
            logp[b], value[b] = found[0], memory.out[0, b, size]


@compiled
def beyond(t, b, x, mind, memory, lived):
    """Write V of one more input ``x`` [D] in environment b, whose state stays as it is."""
    like, n, width = mind.hidden, mind.hidden.shape[1], memory.rows.shape[2]
    out, rows = np.empty((1, 1, memory.out.shape[2]), like.dtype), np.empty((mind.ticks, 1, width), like.dtype)
    fired, counts, reset = np.empty((2, 1, n), np.int32), np.empty((2, 1), np.int64), np.full((1, 1), mind.forgets)
    advance_at(mind.advance, like)(
        x.reshape(1, 1, len(x)), reset, mind.ticks, like, mind.readout, tick_at(mind.tick, like), mind.fields,
        mind.constants, mind.update, memory.rows[mind.ticks - 1, b : b + 1], rows, out, fired, counts, 0, 1,
    )  # fmt: skip
    add_along(mind.path, x.reshape(1, 1, len(x)), out, 0, 1)
    lived.bootstrap[t, b] = out[0, 0, -1]


@inner
def sense(t, senses, obs, x):
    """Encode observations [B, d] into ``x`` [T, B, D] at t, having followed their moments where that is wanted."""
    if senses.learns and len(senses.mean):
        follow_moments(obs, senses.observed, senses.mean, senses.m2)
    encode_rows(senses.encode, senses.constants, senses.observed, senses.mean, senses.m2, obs, x[t])


@inner
def give(outward, action, given):
    """Write what an environment is given [A] of an action [A]; see :func:`lfcs.heads.base.outward`."""
    for i in range(len(given)):
        number = min(max(outward[1, i] + outward[0, i] * action[i], outward[2, i]), outward[3, i])
        given[i] = np.float32(number) if outward[4, i] != 0.0 else number


@compiled
def act(outward, senses, mind, memory, tasks, uniform, lived):
    """Act for a window of T steps in B environments of a compiled task; ``uniform`` [T, B, U].

    ``outward`` [5, A] is as in :func:`lfcs.heads.base.outward`. Returns how many rows of ``lived.final`` are used.
    """
    steps, batch = lived.reward.shape
    obs, finals = np.empty((batch, tasks.obs.shape[1])), 0
    for t in range(steps):
        copy(tasks.obs.reshape(-1), obs.reshape(-1))
        sense(t, senses, obs, lived.x)
        copy(memory.reset[0], lived.reset[t])
        given = lived.x[t : t + 1]
        decide(given, uniform[t], mind, memory, True, lived.action[t], lived.params[t], lived.logp[t], lived.value[t])
        lived.final_at[t] = -1
        wanted = t == steps - 1
        for b in range(batch):
            give(outward, lived.action[t, b], tasks.action[b])
            memory.reset[0, b] = step_one(tasks, b)
            row = tasks.outcome[b]
            lived.reward[t, b], lived.terminated[t, b], lived.truncated[t, b] = row[0], row[1] != 0.0, row[2] != 0.0
            wanted = wanted or lived.truncated[t, b]
        if wanted:
            lived.final_at[t] = finals
            look_beyond(t, t == steps - 1, finals, senses, mind, memory, tasks, lived)
            finals += 1
    return finals


@compiled
def count_episodes(lived, total, length):
    """Go on with the return [B] and length [B] of running episodes; return those of the ones that ended, in order."""
    steps, batch = lived.reward.shape
    out, ended = np.empty((steps * batch, 2)), 0
    for t in range(steps):
        for b in range(batch):
            total[b] += lived.reward[t, b]
            length[b] += 1
            if lived.terminated[t, b] or lived.truncated[t, b]:
                out[ended, 0], out[ended, 1] = total[b], length[b]
                total[b], length[b] = 0.0, 0
                ended += 1
    return out[:ended]


@inner
def look_beyond(t, every, at, senses, mind, memory, tasks, lived):
    """Write the next input and its value where an episode was truncated at t, or of ``every`` environment."""
    row, d = np.empty((1, tasks.obs.shape[1])), lived.final.shape[2]
    fill(lived.final[at].reshape(-1), 0)
    for b in range(len(tasks.obs)):
        if every or lived.truncated[t, b]:
            copy(tasks.final_obs[b] if memory.reset[0, b] else tasks.obs[b], row[0])
            x = lived.final[at, b : b + 1].reshape(1, d)
            encode_rows(senses.encode, senses.constants, senses.observed, senses.mean, senses.m2, row, x)
            beyond(t, b, x[0], mind, memory, lived)


@alone
def play(outward, senses, mind, memory, tasks, uniform, running, total, length):
    """Act for T steps without learning; ``uniform`` [T, B, U]. See :func:`act`.

    An environment is ``running`` [B] until its episode ends; its return [B] and length [B] go on until then.
    """
    batch, (sources, n) = len(running), mind.hidden.shape
    obs, x = np.empty((batch, tasks.obs.shape[1])), np.empty((1, batch, sources - 1 - n), mind.hidden.dtype)
    action, nothing, none = np.empty((batch, tasks.action.shape[1])), np.empty((0, 0), x.dtype), np.empty(0, x.dtype)
    for t in range(len(uniform)):
        copy(tasks.obs.reshape(-1), obs.reshape(-1))
        sense(0, senses, obs, x)
        decide(x, uniform[t], mind, memory, False, action, nothing, none, none)
        for b in range(batch):
            give(outward, action[b], tasks.action[b])
            memory.reset[0, b] = step_one(tasks, b)
            if running[b]:
                total[b] += tasks.outcome[b, 0]
                length[b] += 1
                running[b] = not memory.reset[0, b]
