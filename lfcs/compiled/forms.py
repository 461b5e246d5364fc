"""What the compiled loops of learning are handed: a window, the networks' numbers, what changes, and memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lfcs.kernels import Kernels
from lfcs.pointers import Pointer

Array = np.ndarray


def part(function: Any) -> Pointer:
    """Declare a part of a pass, called by address, whose signature follows from what it is given."""
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
    reset: Array  # [T, B] bool, where a state is cleared before a step
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
    decays: Array  # [G] of x̄
    decay: Array  # [N] of the x̄ that a neuron sees
    slow: Array  # [2] strength and decay of the slow eligibility, or [0] where there is none
    kappa: Any
    update: Any  # 1 - κ
    ticks: int
    forgets: bool  # whether every step begins at rest
    loops: Kernels
    present: Array  # [N, N] which recurrent synapses there are, or [0, 0] for all


class Rule(NamedTuple):
    """A learning rule's compiled forms, by address, and its numbers; see :class:`lfcs.config.RuleConfig`."""

    judge: int  # of the head
    head: Array  # its constants
    weight: int
    error: int
    constants: Array
    rho_bar: float
    c_bar: float
    tau_f: int
    tail: int
    gamma: float
    lam: float
    lam_critic: float
    normalise: bool
    entropy: float
    value: float
    homeostasis: float
    target_rate: float
    rate_decay: float  # of the rate estimate, per tick
    max_norm: float
    apart: bool  # whether hidden, policy and critic are clipped each for itself
    outputs: int  # rows of the readout that are the policy's


class Learned(NamedTuple):
    """What learning changes: weights, the two moments of each, the rate estimate, the number of updates."""

    hidden: Array
    readout: Array
    path: Array  # [D] of the critic, or [0] where it has none
    first_hidden: Array
    first_readout: Array
    first_path: Array
    second_hidden: Array
    second_readout: Array
    second_path: Array
    firing_rate: Array  # [N] r̄
    feedback: Array  # [K + 1, N] fixed feedback weights, or [0, N] where it is the readout
    shares: Array  # [K + 1] of each output in the hidden learning signal
    rates: Array  # [3] learning rates of hidden, readout and path
    steps: Array  # [1] int64


class Seen(NamedTuple):
    """What the latest pass saw, all but the last four [T, B]; values and ratios go into the next pass's credit."""

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
    passes: Array  # [2, R, T, B] ratios and advantages of every pass, or [2, 0, T, B] where nobody looks on


class Room(NamedTuple):
    """Memory that is kept from call to call, with room for L ticks."""

    rows: Array  # [L, B, ...] states, the neurons' fields and y
    fired: Array  # [L, B, N] spikes as lists
    counts: Array  # [L, B]
    credit: Array  # [..., B, N] a block of ticks
    hidden: Array  # gradient
    readout: Array  # gradient
    path: Array  # gradient
    out: Array  # [tau_f, B, K + 1] of a chunk
    error: Array  # [tau_f, B, K + 1] what it should change by
    trace: Array  # [B, G·(D + 1 + N)] x̄
    carried: Array  # [3, B, N] the filtered signal, what ``post`` carries, H
    slow: Array  # [B, D + 1 + N, N] slow eligibility ε, or [0, 0, 0]
    kept: Array  # [2, some ticks, B, N] what ε keeps, and ψ, by tick
    seen: Array  # [some ticks, B, G·(D + 1 + N)] x̄ by tick
    squares: Array  # [D + 1 + N] of the gradient's norm, by row
    scale: Array  # [1] one unit of the advantage
    scratch: Array  # [B + 1, 7, ...] float64, what a head and a rule are given of a step, by a thread's environment


class Parts(NamedTuple):
    """The parts of a pass by address, compiled one by one."""

    credit: Any
    look_at: Any
    judge: Any
    gradient: Any
    ascend: Any
