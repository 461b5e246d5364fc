"""lf-cs in whole numbers: acting and learning by additions, shifts, small products, two divisions and one table.

    u ← leak(u) + I - θ z ,  z = [u > θ] ,  y ← leak(y) + g z         a network with weights of 16 bits, θ = 2^12
    ψ = max(0, θ - |u - θ|) ,  x̄ ← leak(x̄) + pre                     surrogate, presynaptic trace
    e_k = m ρ A (1[a = k] - π_k)                                      π by a table, ρ = π_new/π_ref, m the sided mask
    L̂ = backward leak of Σ_k W_k e_k ,  ΔW_ji = round(Σ_t L̂_i ψ_i x̄_j / 2^s)

The rates 2^-s are plain gradient ascent: no optimiser has a state. ``round`` adds random bits below the shift, so that
a change smaller than a weight's unit is made as often as it should be (stochastic rounding; Gupta et al.,
arXiv:1502.02551). The critic is linear in inputs and y and no part of the hidden signal. Leaks are as in
:mod:`lfcs.engines.fixed`. Everything is int64 but weights, int32 within 16 bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

THETA = 12  # bits of the threshold, of a weight of 1 and of a logit of 1
INPUT = 8  # bits of an input of 1, and of a spike in a presynaptic trace
TRACE = 10  # bits of y = 1
VALUE = 9  # bits of a reward of 1
PROB = 12  # bits of a probability of 1
SCORE = 4  # bits of a score of 1
NORMAL = 6  # bits of an advantage of mean size
MOST = 2**15 - 1  # of weights and membranes
LEAK_U, LEAK_Y = 2, 1  # decays 1 - 2^-k
EXP = np.rint(np.exp(-np.arange(1024) / 64) * 2**16).astype(np.int64)  # of logits in 64ths below the largest

compiled: Any = numba.njit(cache=True)
Array = np.ndarray


class Net(NamedTuple):
    """Weights of D inputs, N neurons and K actions."""

    hidden: Array  # [D + 1 + N, N] from inputs, bias and neurons
    readout: Array  # [K + 1, N + 1] the critic's last, biases last
    path: Array  # [D] of the critic


class State(NamedTuple):
    """Of B environments."""

    z: Array  # [B, N]
    u: Array  # [B, N]
    y: Array  # [B, N]
    xbar: Array  # [B, D + 1 + N]


class Window(NamedTuple):
    """T steps of B environments, all [T, B] but inputs and resets, which have one step more."""

    x: Array  # [T + 1, B, D]
    reset: Array  # [T + 1, B] whether a step begins an episode
    action: Array
    pi: Array  # of the action taken, as it was acted
    reward: Array
    terminated: Array
    truncated: Array


class Rates(NamedTuple):
    """What may be turned: learning rates as right shifts of summed changes, the rest as it says."""

    hidden: int = 24
    policy: int = 17
    critic: int = 20
    path: int = 18
    gamma: int = 253  # of 256
    lam: int = 243  # of 256
    eps: int = 1638  # of 4096: half-width of the mask
    chunk: int = 8  # steps between updates
    replays: int = 4
    stochastic: int = 1  # 0: changes are rounded to the nearest


class Seen(NamedTuple):
    """What a chunk of S steps left for the updates."""

    xbar: Array  # [S, B, D + 1 + N]
    psi: Array  # [S, B, N] 2^8 at the threshold
    y: Array  # [S, B, N + 1] the last is 1, for biases
    error: Array  # [S, B, K + 1]


@compiled
def random_bits(generator: Array) -> Any:
    """Return 32 random bits of a xorshift generator [1], which moves on. Source: Marsaglia (2003)."""
    x = generator[0]
    x ^= x << np.uint64(13)
    x ^= x >> np.uint64(7)
    x ^= x << np.uint64(17)
    generator[0] = x
    return np.int64(x >> np.uint64(32))


@compiled
def rounded(n: Any, shift: int, generator: Array, stochastic: int) -> Any:
    """Return n / 2^shift as a whole number: one of the two around it by chance, or the nearest."""
    below = (np.int64(1) << shift) - 1
    return (n + (random_bits(generator) & below if stochastic else (below + 1) >> 1)) >> shift


@compiled
def leak(n: int, k: int) -> int:
    """Return n - n / 2^k, what is taken away rounded to the nearest."""
    return n - ((n + ((1 << k) >> 1)) >> k)


@compiled
def clear(state: State, e: int) -> None:
    """Bring an environment's state to rest."""
    state.z[e, :], state.u[e, :], state.y[e, :], state.xbar[e, :] = 0, 0, 0, 0


@compiled
def tick(x: Array, net: Net, z: Array, u: Array, y: Array, xbar: Array) -> None:
    """Advance one environment with inputs ``x`` [D]."""
    d, n = len(x), len(u)
    current, one = np.zeros(n, np.int64), 1 << INPUT
    for j in range(d + 1 + n):
        pre = x[j] if j < d else one if j == d else z[j - d - 1] << INPUT
        xbar[j] = leak(xbar[j], LEAK_U) + pre
        if pre:
            for i in range(n):
                current[i] += np.int64(net.hidden[j, i]) * pre
    for i in range(n):
        now = leak(u[i], LEAK_U) + ((current[i] + (one >> 1)) >> INPUT) - (z[i] << THETA)
        u[i] = min(max(now, -MOST), MOST)
    for i in range(n):
        z[i] = 1 if u[i] > (1 << THETA) else 0
        y[i] = leak(y[i], LEAK_Y) + (z[i] << (TRACE - LEAK_Y))


@compiled
def read(x: Array, net: Net, y: Array, out: Array) -> None:
    """Write logits and value [K + 1] after inputs ``x`` [D]."""
    n = len(y)
    for k in range(len(out)):
        total = np.int64(net.readout[k, n]) << TRACE
        for i in range(n):
            total += np.int64(net.readout[k, i]) * y[i]
        out[k] = total >> TRACE
    total = np.int64(0)
    for j in range(len(x)):
        total += np.int64(net.path[j]) * x[j]
    out[-1] += total >> INPUT


@compiled
def softmax(logits: Array, pi: Array) -> None:
    """Write probabilities [K], of 2^PROB in all, none below 1."""
    largest, total = logits[0], np.int64(0)
    for k in range(1, len(pi)):
        largest = max(largest, logits[k])
    for k in range(len(pi)):
        pi[k] = EXP[min((largest - logits[k]) >> (THETA - 6), len(EXP) - 1)]
        total += pi[k]
    for k in range(len(pi)):
        pi[k] = max((pi[k] << PROB) // total, 1)


@compiled
def act(
    x: Array, reset: Array, net: Net, state: State, greedy: bool, generator: Array, out: Array, pi: Array, action: Array
) -> None:
    """Act on inputs ``x`` [B, D]: write outputs [B, K + 1], probabilities [B, K] and actions [B], drawn or best."""
    for e in range(len(x)):
        if reset[e]:
            clear(state, e)
        tick(x[e], net, state.z[e], state.u[e], state.y[e], state.xbar[e])
        read(x[e], net, state.y[e], out[e])
        softmax(out[e], pi[e])
        left, taken = random_bits(generator) & ((1 << PROB) - 1), 0
        for k in range(pi.shape[1] - 1):
            left -= pi[e, k]
            taken += left >= 0
        action[e] = np.argmax(out[e, :-1]) if greedy else taken


@compiled
def credit(window: Window, value: Array, following: Array, rates: Rates, advantage: Array, target: Array) -> None:
    """Write advantages and targets [T, B] in rewards from values [T, B] and those that follow the window [B].

    What follows a truncation is taken for as good as its last step.
    """
    steps, batch = value.shape
    for e in range(batch):
        later: Any = np.int64(0)
        for t in range(steps - 1, -1, -1):
            v_next = following[e] if t == steps - 1 else value[t + 1, e]
            if window.terminated[t, e] or window.truncated[t, e]:
                v_next, later = 0 if window.terminated[t, e] else value[t, e], 0
            delta = (window.reward[t, e] << VALUE) + ((rates.gamma * v_next) >> 8) - value[t, e]
            later = delta + ((rates.gamma * rates.lam * later) >> 16)
            advantage[t, e], target[t, e] = later, later + value[t, e]


@compiled
def normalise(advantage: Array) -> None:
    """Take the mean from advantages [T, B] and bring their mean size to 2^NORMAL, none beyond four times it."""
    mean, most = advantage.sum() // advantage.size, 4 << NORMAL
    size: Any = np.int64(0)
    for a in advantage.flat:
        size += abs(a - mean)
    size = max(size // advantage.size, 1)
    for t in range(len(advantage)):
        for e in range(advantage.shape[1]):
            advantage[t, e] = min(max(((advantage[t, e] - mean) << NORMAL) // size, -most), most)


@compiled
def policy_error(pi: Array, taken: int, pi_ref: int, weight: int, eps: int, error: Array) -> None:
    """Write m ρ A (1[a = k] - π_k) [K] for an advantage ``weight``."""
    rho = (pi[taken] << PROB) // pi_ref
    away = rho - (1 << PROB) if weight > 0 else (1 << PROB) - rho
    weight = (weight * rho) >> PROB if away < eps else 0
    for k in range(len(pi)):
        error[k] = (weight * ((1 << PROB if k == taken else 0) - pi[k])) >> (PROB - SCORE)


@compiled
def see(
    begin: int,
    window: Window,
    net: Net,
    state: State,
    advantage: Array,
    target: Array,
    value: Array,
    eps: int,
    seen: Seen,
) -> None:
    """Run the net over the steps of a chunk, which begins at ``begin``, and write what the updates need."""
    n, out = state.u.shape[1], np.empty(len(net.readout), np.int64)
    pi = np.empty(len(out) - 1, np.int64)
    for s in range(len(seen.y)):
        t = begin + s
        for e in range(value.shape[1]):
            if window.reset[t, e]:
                clear(state, e)
            tick(window.x[t, e], net, state.z[e], state.u[e], state.y[e], state.xbar[e])
            read(window.x[t, e], net, state.y[e], out)
            softmax(out, pi)
            value[t, e] = out[-1]
            seen.xbar[s, e] = state.xbar[e]
            seen.y[s, e, :n], seen.y[s, e, n] = state.y[e], 1 << TRACE
            for i in range(n):
                seen.psi[s, e, i] = max(0, (1 << THETA) - abs(state.u[e, i] - (1 << THETA))) >> (THETA - 8)
            error = seen.error[s, e]
            policy_error(pi, window.action[t, e], window.pi[t, e], advantage[t, e], eps, error[:-1])
            error[-1] = target[t, e] - value[t, e]


@compiled
def hidden_change(reset: Array, readout: Array, seen: Seen, total: Array) -> None:
    """Add Σ_t L̂_i ψ_i x̄_j to ``total`` [D + 1 + N, N]; no credit crosses where ``reset`` [S, B] begins an episode."""
    steps, batch, n = seen.psi.shape
    later, post = np.empty(n, np.int64), np.empty(n, np.int64)
    for e in range(batch):
        later[:] = 0
        for s in range(steps - 1, -1, -1):
            for i in range(n):
                signal = np.int64(0)
                for k in range(len(readout) - 1):
                    signal += np.int64(readout[k, i]) * seen.error[s, e, k]
                later[i] = leak(later[i], LEAK_Y) + (signal >> (NORMAL + SCORE + LEAK_Y))
                post[i] = (later[i] * seen.psi[s, e, i]) >> 8
            for j in range(len(total)):
                if seen.xbar[s, e, j]:
                    for i in range(n):
                        total[j, i] += seen.xbar[s, e, j] * post[i]
            if reset[s, e]:
                later[:] = 0


@compiled
def change(weights: Array, total: Array, shift: int, generator: Array, stochastic: int) -> None:
    """Add rounded changes to weights [n], which saturate."""
    for i in range(len(weights)):
        more = rounded(total[i], shift, generator, stochastic)
        weights[i] = min(max(weights[i] + more, -MOST), MOST)


@compiled
def update(x: Array, reset: Array, net: Net, seen: Seen, rates: Rates, generator: Array) -> None:
    """Change the weights from what a chunk of inputs ``x`` [S, B, D] left."""
    steps, batch, d = x.shape
    total = np.zeros_like(net.hidden).astype(np.int64)
    hidden_change(reset, net.readout, seen, total)
    for j in range(len(total)):
        if j > d:
            total[j, j - d - 1] = 0  # no self-connections; nought stays nought by chance too
        change(net.hidden[j], total[j], rates.hidden, generator, rates.stochastic)
    outputs, inputs = np.zeros(net.readout.shape, np.int64), np.zeros(d, np.int64)
    for s in range(steps):
        for e in range(batch):
            for k in range(len(outputs)):
                outputs[k] += seen.error[s, e, k] * seen.y[s, e]
            inputs += seen.error[s, e, -1] * x[s, e]
    for k in range(len(outputs)):
        shift = rates.critic if k == len(outputs) - 1 else rates.policy
        change(net.readout[k], outputs[k], shift, generator, rates.stochastic)
    change(net.path, inputs, rates.path, generator, rates.stochastic)


@compiled
def learn(
    window: Window, net: Net, start: State, value: Array, following: Array, rates: Rates, generator: Array
) -> None:
    """Pass over a window, from the state at its start, ``rates.replays`` times; the weights change in place.

    ``value`` [T, B] and ``following`` [B] are what was thought when it was acted, and are overwritten.
    """
    (steps, batch), (sources, n), outputs = value.shape, net.hidden.shape, len(net.readout)
    advantage, target = np.empty((2, steps, batch), np.int64)
    out = np.empty(outputs, np.int64)
    for _ in range(rates.replays):
        credit(window, value, following, rates, advantage, target)
        normalise(advantage)
        state = State(start.z.copy(), start.u.copy(), start.y.copy(), start.xbar.copy())
        for begin in range(0, steps, rates.chunk):
            end = min(begin + rates.chunk, steps)
            rows = end - begin, batch
            seen = Seen(
                np.empty((*rows, sources), np.int64),
                np.empty((*rows, n), np.int64),
                np.empty((*rows, n + 1), np.int64),
                np.empty((*rows, outputs), np.int64),
            )
            see(begin, window, net, state, advantage, target, value, rates.eps, seen)
            update(window.x[begin:end], window.reset[begin:end], net, seen, rates, generator)
        for e in range(batch):
            if window.reset[steps, e]:
                clear(state, e)
            tick(window.x[steps, e], net, state.z[e], state.u[e], state.y[e], state.xbar[e])
            read(window.x[steps, e], net, state.y[e], out)
            following[e] = out[-1]
