"""A learning rule whose gradient is not finite: ``wild:Wild`` works as an agent's name."""

from __future__ import annotations

import math

from lfcs.agents.naive_replay import NaiveReplay


class Wild(NaiveReplay):
    """Weight of d log π(a_t): infinite."""

    name = "wild"

    def weight(self, rho, advantage):
        """Return infinity."""
        return advantage * math.inf
