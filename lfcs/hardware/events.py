"""A population code in whole events, as the inputs of Xylo take them: ``encoder.kind=lfcs.hardware.events:Events``."""

from __future__ import annotations

import numpy as np

from lfcs.envs.encoders import Population

EVENTS = 15  # that an input of Xylo takes in a tick


class Events(Population):
    """The Gaussian population code, each cell rounded to a whole number of fifteenths: so many events a tick."""

    def encode(self, obs: np.ndarray) -> np.ndarray:
        """Return [B, size], 0 to 1 in steps of 1/15."""
        return np.rint(super().encode(obs) * np.float32(EVENTS)) / np.float32(EVENTS)
