"""The slow component of the eligibility, a number for every synapse and environment.

See :class:`lfcs.neurons.base.Slow`.

    ε_{t+1} = ρ ε_t + ψ_t (x̄_t - b ε_t) = (ρ - b ψ_t) ε_t + ψ_t x̄_t

Some ticks are noted and then gone through at once, so that ε is read once for all of them.
"""

from __future__ import annotations

import numpy as np

from lfcs.kernels import copy, fill, inner, post_at
from lfcs.pointers import borrowed


@inner
def note_slow(at, states, reset, neurons, room, share):
    """Note at ``at`` what a tick with the ``states`` [B, ...] after it, and x̄ as it is, does to ε.

    Where the tick after is a ``reset`` [B], nothing is left of it. ψ is the postsynaptic factor of a signal of 1.
    """
    low, high = share.low, share.high
    keep, psi = room.kept[0, at], room.kept[1, at]
    shape, strength, rho = psi[low:high].shape, neurons.slow[0], neurons.slow[1]
    one, no_carry, cut = np.ones(shape, psi.dtype), np.zeros(shape, psi.dtype), np.ones(shape[0], np.bool_)
    post_at(neurons.post, psi)(one, states, cut, neurons.constants, no_carry, psi[low:high])
    for b in range(low, high):
        copy(room.trace[b], room.seen[at, b])
        if reset[b]:
            fill(psi[b], 0)
            fill(keep[b], 0)
        else:
            for i in range(len(psi[b])):
                keep[b, i] = rho - strength * psi[b, i]


@inner
def follow_slow(noted, neurons, room, share):
    """Move ε on over the ticks that are ``noted``, each neuron's with the x̄ of its own group."""
    groups, sources = len(neurons.decays), room.slow.shape[1]
    eps, kept, seen = borrowed(room.slow), borrowed(room.kept), borrowed(room.seen)
    for b in range(share.low, share.high):
        for j in range(sources):
            for t in range(noted):
                if groups == 1:
                    move(eps[b, j], kept[0, t, b], kept[1, t, b], seen[t, b, j])
                else:
                    for g in range(groups):
                        xbar = seen[t, b, g * sources + j]
                        for i in range(g, eps.shape[2], groups):
                            eps[b, j, i] = kept[0, t, b, i] * eps[b, j, i] + kept[1, t, b, i] * xbar


@inner
def move(eps, keep, psi, xbar):
    """ε_i ← keep_i ε_i + ψ_i x̄."""
    for i in range(len(eps)):
        eps[i] = keep[i] * eps[i] + psi[i] * xbar
