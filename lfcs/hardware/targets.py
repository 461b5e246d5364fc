"""What a chip would refuse of a policy, limit by limit, each with where it is published.

A limit is checked on what would be loaded: the graph of :mod:`lfcs.hardware.graph`, whose recurrent weights have the
self-weights that turn lfcs's reset into the chip's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lfcs.errors import UserError, nearest
from lfcs.policy import Policy

XYLO = "Overview of the Xylo family, rockpool.ai/devices/xylo-overview.html, with Rockpool 3.1.0, read November 2026"
XYLO_SIM = "XyloSim 0.1.3, which Rockpool's docs call bit-accurate: src/v2/cpp, read November 2026"
LOIHI = "Intel, Taking Neuromorphic Computing to the Next Level with Loihi 2, technology brief, 2021"
LAVA = "Lava 0.9, processes Dense and LIF in fixed point, github.com/lava-nc/lava, read November 2026"
HERE = "what every digital spiking chip asks for"
PROBES = 256  # observations that an encoder is tried on
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Finding:
    """One limit, what a policy has there, and whether the chip would take it."""

    name: str
    found: str
    limit: str
    fits: bool
    source: str

    def __str__(self) -> str:
        return f"{'ok     ' if self.fits else 'REFUSED'} {self.name}: {self.found} (limit: {self.limit})"


@dataclass(frozen=True)
class Chip:
    """The limits of a chip; None where it has none. ``notes`` are what it does otherwise without refusing."""

    source: str
    inputs: int | None = None
    neurons: int | None = None
    outputs: int | None = None
    fan_out: int | None = None  # synapses of a neuron onto neurons
    synapses: int | None = None  # among neurons
    bits: int = 8  # of a weight, with its sign
    events: int | None = None  # the largest number of events that an input takes in a tick; None: any number of 24 bits
    decay: str = ""  # "shift": 1 - 2^-k; "12 bits": a multiple of 1/4096
    more: str = ""  # the source of events and decay
    notes: tuple[str, ...] = ()


CHIPS = {
    "xylo": Chip(  # the smaller number of XyloAudio 2 and 3 each: what passes, passes on both
        XYLO, inputs=16, neurons=992, outputs=8, fan_out=64, synapses=992 * 32, events=15, decay="shift", more=XYLO_SIM,
        notes=(
            "synapses: a current of Xylo keeps at least half of itself a tick (dash_syn >= 1) and comes in after that "
            "decay, lfcs's lasts one tick: half of a spike comes later than in lfcs",
            "spikes: a neuron of Xylo sends up to 31 a tick, from two thresholds on more than one, lfcs's sends one",
            "readout: its outputs are to be read as membrane potentials (output_mode='Vmem'), a tick later",
            "XyloAudio 3 takes input on 128 of its neurons and reads out from 128",
        ),
    ),
    "loihi2": Chip(
        LOIHI, neurons=1_000_000, synapses=120_000_000, decay="12 bits", more=LAVA,
        notes=("reset: Lava's LIF is set to 0 after a spike; by subtraction it needs microcode of one's own",),
    ),
    "generic": Chip(HERE, events=15, more=HERE),
}  # fmt: skip


def check(policy: Policy, target: str) -> list[Finding]:
    """Return what each limit of a chip says of a policy. Raises UserError on an unknown target, or on no LIF."""
    if target not in CHIPS:
        raise UserError(f"unknown target {target!r}{nearest(target, CHIPS)}; known: {', '.join(CHIPS)}")
    chip, network = CHIPS[target], policy.network
    if network.config.neuron != "lif":
        raise UserError(f"network.neuron={network.config.neuron} is on none of these chips: only lif is")
    w_in, w_rec, action = weights_of(policy)
    counts = {
        "input channels": (w_in.shape[1], chip.inputs),
        "hidden neurons": (len(w_in), chip.neurons),
        "output channels": (len(action), chip.outputs),
        "fan-out": (int((w_rec != 0.0).sum(0).max()), chip.fan_out),
        "recurrent synapses": (int((w_rec != 0.0).sum()), chip.synapses),
    }
    found = [
        Finding(name, f"{number:,}", f"{limit:,}", number <= limit, chip.source)
        for name, (number, limit) in counts.items()
        if limit is not None
    ]
    events = None if chip.events is None else events_of(probed(policy), chip.events)
    if chip.events is None:  # layers of weights have exponents of their own
        found += [_bits(chip, "weights from inputs", w_in), _bits(chip, "weights among neurons", w_rec)]
    else:  # an input's weight is that of one event
        found.append(_bits(chip, "weights of the neurons", np.concatenate((w_in / (events or 1), w_rec), axis=1)))
    found.append(_bits(chip, "weights of the readout", action))
    if chip.decay:
        found += [
            _decay(chip, name, decay)
            for name, decay in (("membrane", network.config.betas), ("readout", (network.config.kappa,)))
        ]
    if chip.events is not None:
        found.append(_events(chip, events))
    return found


def weights_of(policy: Policy) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the weights from inputs [N, D] and among neurons [N, N], with self-weights, and of the readout [K, N]."""
    network = policy.network
    w_in, w_rec, action = (
        weight.detach().cpu().double().numpy().copy()
        for weight in (network.input.weight, network.recurrent, network.policy_readout.weight)
    )
    np.fill_diagonal(w_rec, np.resize(np.array(network.config.betas), len(w_rec)) - 1.0)
    return w_in, w_rec, action


def bits_of(rows: np.ndarray, most: int) -> int | None:
    """Return how many bits, sign included and at most ``most``, hold every row as whole numbers times its own step.

    None where more are needed.
    """
    largest = np.abs(rows).max(1, keepdims=True)
    unit = rows / np.where(largest > 0.0, largest, 1.0)
    needed = np.full(len(rows), 1 << most)
    for steps in range((1 << (most - 1)) - 1, 0, -1):
        scaled = unit * steps
        needed[np.abs(scaled - scaled.round()).max(1) < TOLERANCE * steps] = steps
    largest_steps = int(needed.max())
    return None if largest_steps == 1 << most else largest_steps.bit_length() + 1


def _bits(chip: Chip, name: str, rows: np.ndarray) -> Finding:
    bits = bits_of(rows, chip.bits)
    found = f"more than {chip.bits} bits" if bits is None else f"{bits} bits"
    return Finding(name, found, f"{chip.bits} bits with a step for each neuron", bits is not None, chip.source)


def _decay(chip: Chip, name: str, decays: tuple[float, ...]) -> Finding:
    """Return whether decays per tick are ones that the chip has."""
    lost = 1.0 - np.array(decays)
    if chip.decay == "shift":
        exact, limit = np.log2(lost), "1 - 2^-k with k from 1 to 15"
        fits = bool(
            (np.abs(exact - exact.round()) < TOLERANCE).all() and (exact < -0.5).all() and (exact > -15.5).all()
        )
    else:
        exact, limit = lost * 4096, "multiples of 1/4096"
        fits = bool((np.abs(exact - exact.round()) < TOLERANCE * 10).all())
    return Finding(f"decay of the {name}", ", ".join(f"{d:.6g}" for d in decays), limit, fits, chip.more)


def _events(chip: Chip, counts: int | None) -> Finding:
    """Return whether the encoder makes whole numbers of events, as tried on observations of many sizes."""
    found = "analog currents" if counts is None else f"up to {counts} a tick"
    limit = f"whole numbers of events, at most {chip.events} a tick"
    return Finding("input events", found, limit, counts is not None, chip.more)


def events_of(x: np.ndarray, most: int) -> int | None:
    """Return how many events, at most ``most``, an input of 1 in [B, D] stands for; None where they are none."""
    if x.min() < 0.0 or x.max() > 1.0 + TOLERANCE:
        return None
    for steps in range(1, most + 1):
        if np.abs(x * steps - (x * steps).round()).max() < TOLERANCE:
            return steps
    return None


def probed(policy: Policy) -> np.ndarray:
    """Return what the encoder makes of observations of many sizes, within the bounds of their space."""
    space: Any = policy.observation_space
    if not hasattr(space, "low"):  # whatever is not a Box is 0 or 1 by nature
        return np.ones((1, 1))
    generator = np.random.default_rng(0)
    shape = (PROBES, *space.shape)
    wide = generator.normal(size=shape) * np.exp(generator.uniform(-4.0, 2.0, shape))
    return np.asarray(policy.encoder.encode(np.clip(wide, space.low, space.high).astype(space.dtype)))


def report(policy: Policy, target: str, tell: Callable[[str], None]) -> int:
    """Tell of every limit of a chip, then of what it does otherwise; return how many would be refused."""
    found = check(policy, target)
    for finding in found:
        tell(str(finding))
    for source in dict.fromkeys(finding.source for finding in found):
        tell(f"source: {source}")
    for note in CHIPS[target].notes:
        tell(f"note: {note}")
    return sum(not finding.fits for finding in found)
