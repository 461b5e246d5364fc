"""Compiled loops for CPUs that neuron models, engines and the optimiser share: the same equations as rules.py.

Work follows the spikes: a recurrent synapse costs something only when its presynaptic neuron has fired. Every
environment is computed alone and in a fixed order of summation, so that results do not depend on how many environments
or steps share a call. Arrays are C-contiguous and of one dtype, except resets, bool; shapes are the caller's to check.

S steps of ``ticks`` ticks each, T = S·ticks; otherwise the symbols of rules.py. States are rows that begin with
[z | u | … | y] of :class:`lfcs.network.NetState`, its fields F of N numbers and then y, weights the packed ``hidden``
[D + 1 + N, N] and ``readout`` [K + 1, N + 1] of :class:`lfcs.network.SpikingNetwork`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from lfcs.pointers import FLAGS, INT, Pointer, any_strides, batch, borrowed, function_at
from lfcs.tiles import (
    ACROSS,
    BYTES,
    MASK,
    ROWS,
    SHORT,
    STRIP,
    add_listed,
    add_short,
    add_tile,
    add_vector,
    lowest,
    nonzero_mask,
)

compiled = numba.njit(cache=True, error_model="numpy")  # division as in numpy, so that loops with it vectorise
alone: Any = numba.njit(cache=True, error_model="numpy", nogil=True)  # while other threads go on
# of functions that Python does not call: half the time to compile
inner: Any = numba.njit(cache=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@inner
def add_along(path, x, out, low, high):
    """V_t += s · x_t for steps of ``x`` [S, B, D] in environments from ``low`` to ``high``; s [0] adds nothing."""
    for t in range(len(x) if len(path) else 0):
        for b in range(low, high):
            total, row = path[0] * x[t, b, 0], x[t, b]
            for d in range(1, len(path)):
                total += path[d] * row[d]
            out[t, b, -1] += total


@inner
def copy(source, target):
    """target_i = source_i. (An assignment of arrays compiles its error messages too.)"""
    for i in range(len(target)):
        target[i] = source[i]


@inner
def fill(target, number):
    """target_i = number."""
    for i in range(len(target)):
        target[i] = number


@inner
def add_rows(total, rows, count, weights):
    """total_i += Σ_r weights[rows_r, i] over the first ``count`` rows, in order."""
    n = len(total)
    r = 0
    while r + 8 <= count:  # eight rows for one pass over the total
        w0, w1, w2, w3 = weights[rows[r]], weights[rows[r + 1]], weights[rows[r + 2]], weights[rows[r + 3]]
        w4, w5, w6, w7 = weights[rows[r + 4]], weights[rows[r + 5]], weights[rows[r + 6]], weights[rows[r + 7]]
        for i in range(n):
            total[i] = total[i] + w0[i] + w1[i] + w2[i] + w3[i] + w4[i] + w5[i] + w6[i] + w7[i]
        r += 8
    if r + 4 <= count:
        w0, w1, w2, w3 = weights[rows[r]], weights[rows[r + 1]], weights[rows[r + 2]], weights[rows[r + 3]]
        for i in range(n):
            total[i] = total[i] + w0[i] + w1[i] + w2[i] + w3[i]
        r += 4
    while r < count:
        w0 = weights[rows[r]]
        for i in range(n):
            total[i] = total[i] + w0[i]
        r += 1


@compiled
def add_product(total, a, rows):
    """total_m += Σ_k a_mk rows_k for ``total`` [M, N], ``a`` [M, K] of any strides and ``rows`` [K, N].

    Every element is summed over k in order, whatever M is.
    """
    m, n = 0, total.shape[1]
    total, a, rows = borrowed(total), borrowed(a), borrowed(rows)
    short, narrow = SHORT // total.itemsize, BYTES // total.itemsize
    wide = ACROSS * narrow
    while m + ROWS <= len(total):
        i = 0
        while i + wide <= n:
            add_tile(total, a, rows, m, i)
            i += wide
        while i + narrow <= n:
            add_vector(total, a, rows, m, i)
            i += narrow
        while i + short <= n:
            add_short(total, a, rows, m, i)
            i += short
        if i < n:
            for r in range(m, m + ROWS):
                add_one(total[r, i:], a[r], rows[:, i:])
        m += ROWS
    while m < len(total):
        add_one(total[m], a[m], rows)
        m += 1


@inner
def add_one(total, a, rows):
    """total_i += Σ_k a_k rows_ki, one row of a product."""
    for k in range(len(rows)):
        row, factor = rows[k], a[k]
        for i in range(len(total)):
            total[i] = total[i] + factor * row[i]


@inner
def input_current(x, hidden, current):
    """I_bi = b_i + Σ_d W_in,id x_bd for x [B, D] into ``current`` [B, N]."""
    batch, d = x.shape
    bias = hidden[d]
    for b in range(batch):
        for i in range(len(bias)):
            current[b, i] = bias[i]
    add_product(current, x, hidden[:d])


@numba.njit(cache=True, fastmath={"reassoc"})  # so that the sum over neurons runs in vector registers
def read_out(y, readout, out):
    """out_k = b_k + Σ_i W_ki y_i for y [N]."""
    n = len(y)
    for k in range(len(out)):
        weights = readout[k]
        total = weights[n]
        for i in range(n):
            total += weights[i] * y[i]
        out[k] = total


@inner
def spikes_of(z, fired):
    """Write the indices of the neurons that spike in ``z`` [N] into ``fired`` [N]; return how many."""
    count, i = 0, 0
    while i + MASK <= len(z):
        mask = nonzero_mask(z, i)
        while mask:
            fired[count] = i + lowest(mask)
            count += 1
            mask &= mask - 1
        i += MASK
    while i < len(z):
        if z[i] != 0:
            fired[count] = i
            count += 1
        i += 1
    return count


@compiled
def list_spikes(z, fired, counts):
    """Write the lists of spikes of ``z`` [T, B, N] into ``fired`` [T, B, N] and ``counts`` [T, B]."""
    for t in range(len(z)):
        for b in range(z.shape[1]):
            counts[t, b] = spikes_of(z[t, b], fired[t, b])


@compiled
def follow_trace(trace, before, x, reset, decays):
    """x̄^g ← decays_g · x̄^g + [x, 1, z_{t-1}] in place, for x̄ [B, G·(D + 1 + N)]; a reset clears x̄ and z first."""
    (batch, d), size = x.shape, trace.shape[1] // len(decays)
    for b in range(batch):
        x_t, spk = x[b], before[b, : size - d - 1]
        for g in range(len(decays)):
            decay, xbar = decays[g], trace[b, g * size : (g + 1) * size]
            zero, one = decay - decay, decay / decay
            keep = zero if reset[b] else one
            for k in range(d):
                xbar[k] = keep * decay * xbar[k] + x_t[k]
            xbar[d] = keep * decay * xbar[d] + one
            from_spikes = xbar[d + 1 :]
            for i in range(len(spk)):
                from_spikes[i] = keep * decay * from_spikes[i] + keep * spk[i]


@compiled
def advance(
    x, reset, ticks, hidden, readout, tick, fields, constants, update, start, data, out, fired, counts, low, high
):
    """Run B environments for S steps; write the states after every tick and the outputs after every step.

        I_t = b + W_in x_t + W_rec z_{t-1} ,  (z_t, …) = tick(I_t, …)
        y_t = y_{t-1} + (1 - κ)(z_t - y_{t-1}) ,  out_t = W_out y_t + b_out

    ``x`` [S, B, D]; ``reset`` [S, B] clears a state before the step; ``tick`` of a neuron model with so many ``fields``
    and its ``constants``; ``update`` is 1 - κ; states ``start`` [B, ...] and ``data`` [T, B, ...], whose rows may have
    room for more; ``out`` [S, B, K + 1]. The neurons that spike at tick t are listed in ``fired`` [L, B, N],
    ``counts`` [L, B] at t mod L. Environments from ``low`` to ``high`` alone are run.
    """
    (steps, _, d), n, batch = x.shape, hidden.shape[1], high - low
    x, reset, hidden, readout, start = (
        borrowed(x),
        borrowed(reset),
        borrowed(hidden),
        borrowed(readout),
        borrowed(start),
    )
    data, out, fired, counts = borrowed(data), borrowed(out), borrowed(fired), borrowed(counts)
    current, total = np.empty((steps, batch, n), hidden.dtype), np.empty((batch, n), hidden.dtype)
    cleared, spiked, number = np.empty(batch, np.bool_), np.empty((batch, n), np.int32), np.empty(batch, np.int64)
    for b in range(batch):
        number[b] = spikes_of(start[low + b, :n], spiked[b])
    for s in range(steps):
        input_current(x[s, low:high], hidden, current[s])
    for t in range(steps * ticks):
        s, first = t // ticks, t % ticks == 0
        for b in range(batch):
            cleared[b] = first and reset[s, low + b]
        before, after = start[low:high] if t == 0 else data[t - 1, low:high], data[t, low:high]
        recurrent_current(current[s], cleared, spiked, number, hidden[d + 1 :], total)
        tick(before, total, cleared, constants, after)
        spiked, number = fired[t % len(fired), low:high], counts[t % len(fired), low:high]
        follow_spikes(before, after, cleared, update, fields * n, spiked, number)
        if t % ticks == ticks - 1:
            read_out_all(after, fields * n, readout, out[s, low:high])


@inner
def recurrent_current(current, cleared, spiked, number, recurrent, total):
    """total_b = current_b + Σ_{j spiked} W_rec,j, nothing from spikes of a state that begins afresh."""
    current, spiked, recurrent, total = borrowed(current), borrowed(spiked), borrowed(recurrent), borrowed(total)
    for b in range(len(total)):
        copy(current[b], total[b])
        if not cleared[b]:
            add_rows(total[b], spiked[b], number[b], recurrent)


@inner
def follow_spikes(before, after, cleared, update, at, spiked, number):
    """y_t = y_{t-1} + (1 - κ)(z_t - y_{t-1}) in the rows ``after``, y from ``at`` on; list the spikes of z_t."""
    before, after, spiked = borrowed(before), borrowed(after), borrowed(spiked)
    n = spiked.shape[1]
    for b in range(len(spiked)):
        y_tm1, z, y = before[b, at : at + n], after[b, :n], after[b, at : at + n]
        keep = update - update if cleared[b] else update / update
        for i in range(n):
            kept = keep * y_tm1[i]
            y[i] = kept + update * (z[i] - kept)
        number[b] = spikes_of(z, spiked[b])


@inner
def read_out_all(after, at, readout, out):
    """out_bk = b_k + Σ_i W_ki y_bi for y from ``at`` on in the rows ``after``."""
    after, readout, out = borrowed(after), borrowed(readout), borrowed(out)
    n = readout.shape[1] - 1
    for b in range(len(out)):
        read_out(after[b, at : at + n], readout, out[b])


@compiled
def follow_traces(x, reset, ticks, decays, at, start, data):
    """x̄^g_t = decays_g · x̄^g_{t-1} + [x_t, 1, z_{t-1}] after every tick, from ``at`` on in rows ``data`` of advance."""
    batch, never = x.shape[1], np.zeros(x.shape[1], np.bool_)
    for t in range(len(data)):
        before, after = start if t == 0 else data[t - 1], data[t]
        for b in range(batch):
            copy(before[b, at:], after[b, at:])
        follow_trace(after[:, at:], before, x[t // ticks], reset[t // ticks] if t % ticks == 0 else never, decays)


@inner
def mix(total, start, share, rows):
    """total_i = start_i + Σ_k share_k rows_ki."""
    n = len(total)
    copy(start, total)
    for k in range(len(share)):
        s_k, row = share[k], rows[k]
        for i in range(n):
            total[i] = total[i] + s_k * row[i]


@compiled
def add_readout(error, data, ticks, at, gradient, low, high):
    """gradient_ki += Σ_t s_k,t [y_t, 1]_i for the columns from ``low`` to ``high`` of ``gradient`` [K + 1, N + 1].

    The errors s [S, B, K + 1] act at each step's last tick, the last at the end of ``data`` [T', B, ...], in whose rows
    y begins at ``at``.
    """
    error, data, gradient = borrowed(error), borrowed(data), borrowed(gradient)
    n, tail = gradient.shape[1] - 1, len(data) - len(error) * ticks
    for s in range(len(error)):
        for b in range(error.shape[1]):
            y, s_t = data[tail + (s + 1) * ticks - 1, b, at + low : at + min(high, n)], error[s, b]
            for k in range(len(s_t)):
                s_k, line = s_t[k], gradient[k, low : low + len(y)]
                for i in range(len(y)):
                    line[i] = line[i] + s_k * y[i]
                if high > n:
                    gradient[k, n] += s_k


@compiled
def backward(
    begin, data, reset, error, feedback, drive, ticks, kappa, post, fields, constants, filtered, carry, gate, low, high
):
    """Filter the learning signal backwards in time over a block of ticks and gate it by the postsynaptic factor.

        L_t = Σ_k B_k s_k,t + c ,  L̂_t = (1 - κ) L_t + κ L̂_{t+1} ,  G_t = post(L̂_t, …)

    ``data`` and ``reset`` [T', B] are the ticks up to the last of the errors s [S, B, K + 1], which act at each step's
    last tick; ``feedback`` B [K + 1, N], ``drive`` c [N]. The block begins at tick ``begin`` and is as long as ``gate``
    G [..., B, N], the result. ``filtered`` and ``carry`` [B, N] hold L̂ and what ``post`` carries of the tick after the
    block, and are left with those of its first tick. No credit crosses a reset. Environments from ``low`` to ``high``.
    """
    batch, n = high - low, filtered.shape[1]
    data, error, feedback, filtered = borrowed(data), borrowed(error), borrowed(feedback), borrowed(filtered)
    carry, gate = borrowed(carry), borrowed(gate)
    tail, zero, one = len(data) - len(error) * ticks, kappa - kappa, kappa / kappa
    wanted, cut = np.empty(n, filtered.dtype), np.empty(batch, np.bool_)
    for t in range(begin + len(gate) - 1, begin - 1, -1):
        at = t - tail
        acts = at >= 0 and at % ticks == ticks - 1
        for b in range(batch):
            carried = filtered[low + b]
            cut[b] = t + 1 == len(data) or reset[t + 1, low + b]
            keep = zero if cut[b] else kappa
            if acts:
                mix(wanted, drive, error[at // ticks, low + b], feedback)
                for i in range(n):
                    carried[i] = (one - kappa) * wanted[i] + keep * carried[i]
            else:
                for i in range(n):
                    carried[i] = keep * carried[i]
        post(filtered[low:high], data[t, low:high], cut, constants, carry[low:high], gate[t - begin, low:high])


@compiled
def accumulate(begin, reset, decay, credit, later, low, high):
    """H_t = G_t + decay · H_{t+1} in place over a block of G [..., B, N], backwards; nothing crosses a reset.

    Then Σ_t G_t x̄_t = H_a x̄_a + Σ_{t>a} H_t pre_t from any tick a on, for each neuron with the x̄ of its own ``decay``
    [N]: put x̄_t = decay^{t-a} x̄_a + Σ_{a<s≤t} decay^{t-s} pre_s into the left side and sum over t first. Only x̄_a is
    a matter of decays. The block begins at tick ``begin`` of ``reset`` [T', B]; ``later`` [B, N] holds H of the tick
    after the block and is left with that of its first. Environments from ``low`` to ``high``.
    """
    credit, later, decay = borrowed(credit), borrowed(later), borrowed(decay)
    for t in range(len(credit) - 1, -1, -1):
        for b in range(low, high):
            h, after = credit[t, b], later[b]
            at = begin + t + 1
            if at == len(reset) or reset[at, b]:
                fill(after, 0)
            for i in range(len(h)):
                h[i] = h[i] + decay[i] * after[i]
                after[i] = h[i]


@compiled
def add_credit(begin, fired, counts, reset, credit, gradient, low, high):
    """gradient_ji += Σ_{t,b} H_i,tb z_j,t-1,b over a block of ticks: one addition of a row for each spike.

    The block begins at tick ``begin`` of ``reset`` [T', B] and of the lists of spikes ``fired`` [T', B, N] and
    ``counts`` [T', B], and is as long as ``credit`` H [..., B, N]; of tick 0 there is no z_{t-1}. The rows from ``low``
    to ``high`` of ``gradient`` [N, N] are written.
    """
    ticks, batch, n = credit.shape
    fired, counts, gradient = borrowed(fired), borrowed(counts), borrowed(gradient)
    rows = borrowed(credit).reshape(ticks * batch, n)
    end = np.zeros(n + 1, np.int64)
    for t in range(max(begin, 1), begin + ticks):
        for b in range(batch):
            if not reset[t, b]:
                for e in range(counts[t - 1, b]):
                    end[fired[t - 1, b, e] + 1] += 1
    end[: low + 1] = 0
    for j in range(low, high):
        end[j + 1] += end[j]
    by_neuron = np.empty(end[high], np.int64)
    for t in range(max(begin, 1), begin + ticks):
        for b in range(batch):
            if not reset[t, b]:
                for e in range(counts[t - 1, b]):
                    j = fired[t - 1, b, e]
                    if low <= j < high:
                        by_neuron[end[j]] = (t - begin) * batch + b
                        end[j] += 1
    width = min(n, STRIP // rows.itemsize)
    strips = np.empty(len(rows) * width, rows.dtype)
    for i in range(0, n, width):
        across = min(width, n - i)
        strip = strips[: len(rows) * across].reshape(len(rows), across)
        for r in range(len(rows)):
            copy(rows[r, i : i + across], strip[r])
        first = 0
        for j in range(low, high):
            total, count = gradient[j, i : i + across], end[j] - first
            if across * rows.itemsize == STRIP:
                add_listed(total, strip, by_neuron, first, count)
            else:
                add_rows(total, by_neuron[first:], count, strip)
            first = end[j]


@numba.njit(cache=True, fastmath={"reassoc"})
def squared_norm(values):
    """Return Σ values² of a flat array."""
    total = values.dtype.type(0)
    for i in range(len(values)):
        total += values[i] * values[i]
    return total


@compiled
def adam(weights, gradient, first, second, c, rate, beta_1, beta_2, debias, eps):
    """One pass of Adam uphill over flat arrays: w += rate · m / (√v · debias + ε), with the gradient times c."""
    one = beta_1 / beta_1
    for i in range(len(weights)):
        g = gradient[i] * c
        m = beta_1 * first[i] + (one - beta_1) * g
        v = beta_2 * second[i] + (one - beta_2) * g * g
        first[i] = m
        second[i] = v
        weights[i] += rate * m / (np.sqrt(v) * debias + eps)


def TICK(f: Any) -> Any:
    """Return the signature of a neuron model's tick; see :class:`lfcs.neurons.base.Loops`."""
    return types.void(batch(f), batch(f), FLAGS, f[::1], batch(f))


def POST(f: Any) -> Any:
    """Return the signature of a neuron model's postsynaptic factor."""
    return types.void(batch(f), batch(f), FLAGS, f[::1], batch(f), batch(f))


def _advance(f: Any) -> Any:
    cube, lists, counts = batch(f, 3), batch(types.int32, 3), batch(types.int64)
    neuron = types.FunctionType(TICK(f)), INT, f[::1], f
    network = batch(f), batch(f), *neuron
    return types.void(cube, batch(types.boolean), INT, *network, batch(f), cube, cube, lists, counts, INT, INT)


def _backward(f: Any) -> Any:
    cube = batch(f, 3)
    given = INT, cube, batch(types.boolean), cube, batch(f), f[::1], INT, f
    return types.void(*given, types.FunctionType(POST(f)), INT, f[::1], batch(f), batch(f), cube, INT, INT)


def _add_credit(f: Any) -> Any:
    lists, counts = batch(types.int32, 3), batch(types.int64)
    return types.void(INT, lists, counts, batch(types.boolean), batch(f, 3), batch(f), INT, INT)


class Kernels(NamedTuple):
    """The larger loops by address, so that what calls them compiles in a fraction of the time."""

    advance: int
    backward: int
    add_product: int
    add_credit: int
    adam: int


def _add_product(f: Any) -> Any:
    return types.void(batch(f), any_strides(f), batch(f))


def _adam(f: Any) -> Any:
    return types.void(f[::1], f[::1], f[::1], f[::1], f, f, f, f, f, f)


POINTERS = (
    Pointer(_advance, advance.py_func),
    Pointer(_backward, backward.py_func),
    Pointer(_add_product, add_product.py_func),
    Pointer(_add_credit, add_credit.py_func),
    Pointer(_adam, adam.py_func),
)
advance_at, backward_at, add_product_at = function_at(_advance), function_at(_backward), function_at(_add_product)
add_credit_at, adam_at, tick_at, post_at = (
    function_at(_add_credit),
    function_at(_adam),
    function_at(TICK),
    function_at(POST),
)


def kernels_of(dtype: Any) -> Kernels:
    """Return the larger loops for a precision."""
    return Kernels(*(each.address(dtype) for each in POINTERS))


@compiled
def run(
    loops, tick, x, reset, ticks, hidden, readout, fields, constants, update, decays, start, data, out, fired, counts
):
    """Run every environment, with x̄ in the states after every tick; see :func:`advance`. ``tick`` is an address."""
    advance_at(loops.advance, hidden)(
        x, reset, ticks, hidden, readout, tick_at(tick, hidden), fields, constants, update, start, data, out, fired,
        counts, 0, len(start),
    )  # fmt: skip
    follow_traces(x, reset, ticks, decays, (fields + 1) * hidden.shape[1], start, data)
