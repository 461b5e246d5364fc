"""Compiled loops for CPUs that neuron models, engines and the optimiser share: the same equations as rules.py.

Work follows the spikes: a synapse costs something only when its presynaptic neuron has fired. Every environment is
computed alone and in a fixed order of summation, so that results do not depend on how many environments or steps share
a call. Arrays are C-contiguous and of one dtype, except resets, bool; shapes are the caller's to check.

S steps of ``ticks`` ticks each, T = S·ticks; otherwise the symbols of rules.py. States are the packed rows
[z | u | y | x̄] of :class:`lfcs.network.NetState`, weights the packed ``hidden`` [D + 1 + N, N] and ``readout``
[K + 1, N + 1] of :class:`lfcs.network.SpikingNetwork`.
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(cache=True, error_model="numpy")  # division as in numpy, so that loops with it vectorise


@compiled
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
    while r < count:
        w0 = weights[rows[r]]
        for i in range(n):
            total[i] = total[i] + w0[i]
        r += 1


@compiled
def input_current(x, hidden, current):
    """I_bi = b_i + Σ_d W_in,id x_bd for x [B, D] into ``current`` [B, N]."""
    batch, d = x.shape
    n = current.shape[1]
    for b in range(batch):
        for i in range(n):
            current[b, i] = hidden[d, i]
    b = 0
    while b + 4 <= batch:  # four environments share each load of a weight
        i0, i1, i2, i3 = current[b], current[b + 1], current[b + 2], current[b + 3]
        x0, x1, x2, x3 = x[b], x[b + 1], x[b + 2], x[b + 3]
        k = 0
        while k + 2 <= d:
            u, v = hidden[k], hidden[k + 1]
            u0, u1, u2, u3 = x0[k], x1[k], x2[k], x3[k]
            v0, v1, v2, v3 = x0[k + 1], x1[k + 1], x2[k + 1], x3[k + 1]
            for i in range(n):
                i0[i] = i0[i] + u0 * u[i] + v0 * v[i]
                i1[i] = i1[i] + u1 * u[i] + v1 * v[i]
                i2[i] = i2[i] + u2 * u[i] + v2 * v[i]
                i3[i] = i3[i] + u3 * u[i] + v3 * v[i]
            k += 2
        if k < d:
            u = hidden[k]
            u0, u1, u2, u3 = x0[k], x1[k], x2[k], x3[k]
            for i in range(n):
                i0[i] = i0[i] + u0 * u[i]
                i1[i] = i1[i] + u1 * u[i]
                i2[i] = i2[i] + u2 * u[i]
                i3[i] = i3[i] + u3 * u[i]
        b += 4
    while b < batch:
        i0, x0 = current[b], x[b]
        for k in range(d):
            u, u0 = hidden[k], x0[k]
            for i in range(n):
                i0[i] = i0[i] + u0 * u[i]
        b += 1


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


@compiled
def mix(total, start, share, rows):
    """total_i = start_i + Σ_k share_k rows_ki."""
    n = len(total)
    for i in range(n):
        total[i] = start[i]
    for k in range(len(share)):
        s_k, row = share[k], rows[k]
        for i in range(n):
            total[i] = total[i] + s_k * row[i]


@compiled
def add_outer(gradient, share, row):
    """gradient_ki += share_k [row, 1]_i."""
    n = len(row)
    for k in range(len(share)):
        s_k, line = share[k], gradient[k]
        for i in range(n):
            line[i] = line[i] + s_k * row[i]
        line[n] += s_k


@compiled
def add_credit(begin, data, reset, credit, gradient):
    """gradient_ji += Σ_{t>0,b} H_i,tb z_j,t-1,b over a block of ticks: one addition of a row for each spike.

    The block begins at tick ``begin`` of ``data`` and ``reset`` [T', B], where z_{t-1} counts as 0, and is as long as
    ``credit`` H [..., B, N]; ``gradient`` [N, N].
    """
    ticks, batch, n = credit.shape
    rows = credit.reshape(ticks * batch, n)
    neuron, event = np.empty(len(rows) * n + 1, np.int32), np.empty(len(rows) * n + 1, np.int32)
    end = np.zeros(n + 1, np.int64)
    count = 0
    for t in range(1, ticks):
        for b in range(batch):
            if not reset[begin + t, b]:
                z_tm1 = data[begin + t - 1, b]
                for j in range(n):
                    neuron[count] = j
                    event[count] = t * batch + b
                    count += z_tm1[j] != 0
    for e in range(count):
        end[neuron[e] + 1] += 1
    for j in range(n):
        end[j + 1] += end[j]
    by_neuron = np.empty(count, np.int64)
    for e in range(count):
        by_neuron[end[neuron[e]]] = event[e]
        end[neuron[e]] += 1
    first = 0
    for j in range(n):
        add_rows(gradient[j], by_neuron[first:], end[j] - first, rows)
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
