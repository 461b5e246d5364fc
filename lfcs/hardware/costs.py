"""Operations and memory from sizes alone: of learning, of networks that do not spike, and energies per operation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from gymnasium import Space
from gymnasium.spaces import Box
from gymnasium.spaces.utils import flatdim

from lfcs.errors import UserError


class Sizes(NamedTuple):
    """What the cost of an update follows from."""

    inputs: int  # D
    neurons: int  # N
    outputs: int  # K of the policy, beside one value
    fields: int  # F, numbers that a neuron carries from tick to tick
    groups: int  # G, different decays of presynaptic traces
    path: bool  # whether the critic hears the inputs
    ticks: int  # of an environment step
    envs: int  # B


class Update(NamedTuple):
    """What one update of the weights costs: synaptic operations, dense, and numbers kept until it is done."""

    steps: int  # of each environment that it learns from
    experience: int  # environment steps of all of them
    forward: int
    signal: int  # errors to neurons, through the feedback weights
    backward: int  # credit through recurrent synapses and time
    gradient: int
    memory: int

    @property
    def operations(self) -> int:
        """All synaptic operations."""
        return self.forward + self.signal + self.backward + self.gradient


def _forward(sizes: Sizes, steps: int) -> int:
    d, n, k = sizes.inputs, sizes.neurons, sizes.outputs
    return sizes.envs * steps * (sizes.ticks * (d + n) * n + (k + 1) * n + d * sizes.path)


def _outer(sizes: Sizes, ticks: int, steps: int) -> int:
    """Return the products of post- and presynaptic factors, biases and the critic's path among them."""
    d, n, k = sizes.inputs, sizes.neurons, sizes.outputs
    return sizes.envs * (ticks * (d + 1 + n) * n + steps * ((k + 1) * (n + 1) + d * sizes.path))


def _weights(sizes: Sizes) -> int:
    d, n, k = sizes.inputs, sizes.neurons, sizes.outputs
    return (d + 1 + n) * n + (k + 1) * (n + 1) + d * sizes.path


def local_update(sizes: Sizes, steps: int, tail: int) -> Update:
    """Return the cost of an update by eligibilities over a chunk of ``steps`` and a ``tail`` of ticks before it.

        forward   B S (k (D + N) N + (K + 1) N + D)
        signal    B S (K + 1) N
        backward  0: no credit goes through synapses
        gradient  B ((S k + tail)(D + 1 + N) N + S ((K + 1)(N + 1) + D))
        memory    B (S k + tail)((F + 1) N + G (D + 1 + N)) + one number for each weight

    for S steps of k ticks in B environments; the terms D alone are the critic's path. As the presynaptic traces carry
    what came before, the chunk may be short however far back the credit reaches. What neurons do for themselves, some
    N operations a tick, is not counted, nor is the optimiser's step.
    """
    d, n, k = sizes.inputs, sizes.neurons, sizes.outputs
    ticks = steps * sizes.ticks + tail
    kept = sizes.envs * ticks * ((sizes.fields + 1) * n + sizes.groups * (d + 1 + n))
    signal = sizes.envs * steps * (k + 1) * n
    given = steps, steps * sizes.envs, _forward(sizes, steps), signal
    return Update(*given, 0, _outer(sizes, ticks, steps), kept + _weights(sizes))


def bptt_update(sizes: Sizes, steps: int) -> Update:
    """Return the cost of an update by backpropagation through ``steps`` steps, behind which no credit reaches.

        backward  B (S k - 1) N²
        memory    B S k ((F + 1) N + D) + one number for each weight

    All else is as in :func:`local_update` without a tail.
    """
    d, n, k = sizes.inputs, sizes.neurons, sizes.outputs
    ticks = steps * sizes.ticks
    kept = sizes.envs * ticks * ((sizes.fields + 1) * n + d)
    signal, backward = sizes.envs * steps * (k + 1) * n, sizes.envs * (ticks - 1) * n * n
    given = steps, steps * sizes.envs, _forward(sizes, steps), signal
    return Update(*given, backward, _outer(sizes, ticks, steps), kept + _weights(sizes))


class Peer(NamedTuple):
    """A network that does not spike: what a decision costs and what its weights are, from its shape."""

    name: str
    macs: int
    parameters: int
    source: str


def _dense(sizes: Sequence[int]) -> tuple[int, int]:
    """Return products and parameters, biases among them, of layers of these sizes one after the other."""
    pairs = list(itertools.pairwise(sizes))
    return sum(a * b for a, b in pairs), sum((a + 1) * b for a, b in pairs)


def peers(observations: Space, actions: Space) -> list[Peer]:
    """Return the default actors of Stable-Baselines3 and sb3-contrib for a task; no critic, which does not act.

        MLP    64 d + 64·64 + 64 K
        LSTM   4·256 (d + 256) + 3·256, then 256·64 + 64·64 + 64 K

    for d observed numbers and K outputs. An LSTM cell is counted as by NeuroBench: its gates, f c + i g, and o tanh c.
    """
    d, k = flatdim(observations), flatdim(actions)
    mlp, width = _dense((d, 64, 64, k)), 256
    after = _dense((width, 64, 64, k))
    gates, own = 4 * width * (d + width), 4 * width * (d + width + 2)
    spread = k if isinstance(actions, Box) else 0  # the logarithms of standard deviations are parameters too
    return [
        Peer("MLP", mlp[0], mlp[1] + spread, "Stable-Baselines3's MlpPolicy: two layers of 64"),
        Peer(
            "LSTM", gates + 3 * width + after[0], own + after[1] + spread,
            "sb3-contrib's MlpLstmPolicy: 256 cells, then two layers of 64",
        ),
    ]  # fmt: skip


class Energy(NamedTuple):
    """What one operation costs in pJ, as somebody has stated."""

    mac: float
    ac: float
    source: str


HOROWITZ = "M. Horowitz, Computing's energy problem, ISSCC 2014, 45 nm"
ENERGIES = {
    "float32": Energy(3.7 + 0.9, 0.9, f"{HOROWITZ}: 32-bit float multiply 3.7 pJ, add 0.9 pJ"),
    "int32": Energy(3.1 + 0.1, 0.1, f"{HOROWITZ}: 32-bit integer multiply 3.1 pJ, add 0.1 pJ"),
    "int8": Energy(0.2 + 0.03, 0.03, f"{HOROWITZ}: 8-bit integer multiply 0.2 pJ, add 0.03 pJ"),
}


def energy_of(name: str) -> Energy:
    """Return stated energies by the name of a number format. Raises UserError on an unknown one."""
    if name not in ENERGIES:
        raise UserError(f"energies are stated for {', '.join(ENERGIES)}, got {name!r}")
    return ENERGIES[name]
