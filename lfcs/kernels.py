"""The network's tick and its local gradient as compiled loops for CPUs: the same equations as network.py and rules.py.

Work follows the spikes: a synapse costs something only when its presynaptic neuron has fired. Every environment is
computed alone and in a fixed order of summation (no fast-math), so that results do not depend on how many
environments, steps or threads share a call. Each kernel takes C-contiguous numpy arrays of one dtype, except
``reset``, bool; shapes are the caller's to check. S steps of ``ticks`` ticks each, T = S·ticks, and the symbols of
rules.py; M = D + 1 + N sources [x, 1, z] as in the packed weights ``hidden`` [M, N].
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True)


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
def input_current(x, hidden, low, high, current):
    """I_bi = b_i + Σ_d x_bd W_in,id for x [B, D] into ``current`` [B, N], environments ``low`` ≤ b < ``high``."""
    d, n = x.shape[1], current.shape[1]
    for b in range(low, high):
        for i in range(n):
            current[b, i] = hidden[d, i]
    b = low
    while b + 4 <= high:  # four environments share each load of a weight
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
    while b < high:
        i0, x0 = current[b], x[b]
        for k in range(d):
            u, u0 = hidden[k], x0[k]
            for i in range(n):
                i0[i] = i0[i] + u0 * u[i]
        b += 1


@compiled
def advance(low, high, x, reset, ticks, hidden, beta, update, spk_0, mem_0, readout_0, trace_0, spk, mem, readout, trace):
    """Run environments ``low`` ≤ b < ``high`` for S steps from a state; write the states after every tick.

        u_t = β u_{t-1} + b + W_in x_t + W_rec z_{t-1} - z_{t-1} ,  z_t = H(u_t - 1)
        y_t = y_{t-1} + (1 - κ)(z_t - y_{t-1}) ,  x̄_t = β x̄_{t-1} + [x_t, 1, z_{t-1}]

    ``x`` [S, B, D]; ``reset`` [S, B] clears a state before the step; ``update`` = 1 - κ; the state ``spk_0``, ``mem_0``,
    ``readout_0`` [B, N] and ``trace_0`` [B, M]; the outputs [T, B, N] and [T, B, M].
    """
    steps, batch, d = x.shape
    n = hidden.shape[1]
    recurrent = hidden[d + 1 :]
    rows = np.empty(n, np.int64)
    current = np.empty((batch, n), hidden.dtype)
    zero, one = hidden.dtype.type(0), hidden.dtype.type(1)
    for t in range(steps * ticks):
        s = t // ticks
        first = t % ticks == 0
        if first:
            input_current(x[s], hidden, low, high, current)
        for b in range(low, high):
            if t == 0:
                z_tm1, u_tm1, y_tm1, trace_tm1 = spk_0[b], mem_0[b], readout_0[b], trace_0[b]
            else:
                z_tm1, u_tm1, y_tm1, trace_tm1 = spk[t - 1, b], mem[t - 1, b], readout[t - 1, b], trace[t - 1, b]
            z, u, y, xbar, x_t = spk[t, b], mem[t, b], readout[t, b], trace[t, b], x[s, b]
            keep = zero if first and reset[s, b] else one
            decay = beta * keep
            for k in range(d):
                xbar[k] = decay * trace_tm1[k] + x_t[k]
            xbar[d] = decay * trace_tm1[d] + one
            for i in range(n):
                before = keep * z_tm1[i]
                xbar[d + 1 + i] = decay * trace_tm1[d + 1 + i] + before
                u[i] = decay * u_tm1[i] + current[b, i] - before
            if keep == one:
                count = 0
                for i in range(n):
                    rows[count] = i
                    count += z_tm1[i] != zero
                add_rows(u, rows, count, recurrent)
            for i in range(n):
                spike = one if u[i] > one else zero
                before = keep * y_tm1[i]
                z[i] = spike
                y[i] = before + update * (spike - before)


@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})  # so that the sum over neurons runs in vector registers
def read_out(y, readout, out):
    """out_rk = b_k + Σ_i W_ki y_ri for readout traces ``y`` [R, N] and packed weights ``readout`` [K + 1, N + 1]."""
    for r in range(len(y)):
        for k in range(len(readout)):
            w, y_r = readout[k], y[r]
            total = w[len(y_r)]
            for i in range(len(y_r)):
                total += w[i] * y_r[i]
            out[r, k] = total


@compiled
def backward(low, high, mem, reset, signal, ticks, kappa, beta, dampening, post, credit):
    """Filter the learning signal backwards in time and gate it by ψ, for environments ``low`` ≤ b < ``high``.

        L̂_t = (1 - κ) L_t + κ L̂_{t+1} ,  G_t = L̂_t ψ_t ,  H_t = G_t + β H_{t+1}

    so that Σ_t G_t x̄_t = H_0 x̄_0 + Σ_{t>0} H_t pre_t. ``mem`` [T', B, N] and ``reset`` [T', B] by tick, the last T of
    T' ticks being those of the steps of ``signal`` L [S, B, N], which acts at each step's last tick; no credit crosses
    a reset. Writes ``post`` G and ``credit`` H [T', B, N].
    """
    total, _, n = mem.shape
    tail = total - len(signal) * ticks
    zero, one = mem.dtype.type(0), mem.dtype.type(1)
    filtered = np.empty(n, mem.dtype)
    nothing = np.zeros(n, mem.dtype)
    for b in range(low, high):
        filtered[:] = zero
        keep_signal, keep_credit, later = zero, zero, nothing
        for t in range(total - 1, -1, -1):
            u, g, h = mem[t, b], post[t, b], credit[t, b]
            at = t - tail
            if at >= 0 and at % ticks == ticks - 1:
                wanted = signal[at // ticks, b]
                for i in range(n):
                    filtered[i] = (one - kappa) * wanted[i] + keep_signal * filtered[i]
            else:
                for i in range(n):
                    filtered[i] = keep_signal * filtered[i]
            for i in range(n):
                psi = dampening * max(one - abs(u[i] - one), zero)
                g[i] = filtered[i] * psi
                h[i] = g[i] + keep_credit * later[i]
            later = h
            keep_signal, keep_credit = (zero, zero) if reset[t, b] else (kappa, beta)


@compiled
def add_credit(low, high, spk, reset, credit, gradient):
    """gradient_ji += Σ_{t>0,b} H_i,tb z_j,t-1,b for presynaptic neurons ``low`` ≤ j < ``high``: one row per spike.

    ``spk`` and ``credit`` H [T', B, N], ``reset`` [T', B] where z_{t-1} counts as 0; ``gradient`` [N, N].
    """
    total, batch, n = spk.shape
    z_tm1 = spk.reshape(total * batch, n)
    cleared = reset.reshape(total * batch)
    rows = credit.reshape(total * batch, n)
    block = 256  # rows of credit that stay in the cache while every neuron passes over them
    neuron, event = np.empty(block * (high - low) + 1, np.int64), np.empty(block * (high - low) + 1, np.int64)
    by_neuron = np.empty(block * (high - low), np.int64)
    end = np.empty(high - low + 1, np.int64)
    for first in range(0, (total - 1) * batch, block):
        count = 0
        for r in range(first, min(first + block, (total - 1) * batch)):
            if not cleared[r + batch]:
                for j in range(low, high):
                    neuron[count] = j - low
                    event[count] = r + batch
                    count += z_tm1[r, j] != 0
        end[:] = 0
        for e in range(count):
            end[neuron[e] + 1] += 1
        for j in range(high - low):
            end[j + 1] += end[j]
        for e in range(count):
            by_neuron[end[neuron[e]]] = event[e]
            end[neuron[e]] += 1
        begin = 0
        for j in range(high - low):
            add_rows(gradient[low + j], by_neuron[begin:], end[j] - begin, rows)
            begin = end[j]
