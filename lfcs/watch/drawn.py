"""Which pictures are drawn at an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lfcs.pictures.passes import Gone
from lfcs.trainer import Trainer
from lfcs.watch.signals import Signals

Seen = tuple[Sequence[Gone], Sequence[np.ndarray], np.ndarray, tuple[float, float]]


def pictures(
    episode: Mapping[str, np.ndarray], signals: Signals, seen: Seen, trainer: Trainer
) -> Iterator[tuple[str, Any]]:
    """Yield the pictures of an episode, and of the passes ``seen`` over the latest windows, each with its key."""
    from lfcs.pictures.eligibility import draw_eligibility
    from lfcs.pictures.passes import draw_passes
    from lfcs.pictures.style import figure

    made = figure(3.4, 3.4)
    draw_passes(made, *seen)
    yield "learning/fast_and_slow", made
    made = figure(3.4, 3.6)
    draw_eligibility(made, signals.synapses)
    yield "learning/eligibility", made
