"""How much time watching may take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

SHARE = 0.02  # of a run's time, by our clock; with the thread that writes events it is 3 % at most
FIRST = 3.0  # seconds that the first pictures take, matplotlib's import among them; later ones are measured


class Budget:
    """Lets more than curves be shown only while watching takes at most a share of the run's time.

    Drawing may come before the time that pays for it has passed, if the whole run is going to pay for it: so the first
    pictures of a long run come at its first evaluation. How long it will take is told by how far it is.
    """

    def __init__(self, share: float = SHARE) -> None:
        self.share, self.spent, self.cost, self.begun = share, 0.0, FIRST, 0.0

    def fits(self, elapsed: float) -> bool:
        """Return whether watching has taken no more than its share of ``elapsed`` seconds."""
        return self.spent <= self.share * elapsed

    def allows(self, elapsed: float, done: float) -> bool:
        """Return whether pictures may be drawn, ``elapsed`` seconds into a run of which a part ``done`` is over."""
        whole = elapsed / max(done, 1e-9)
        return self.fits(elapsed) and self.spent + self.cost <= self.share * whole

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the time that something takes."""
        begun = time.perf_counter()
        yield
        self.spent += time.perf_counter() - begun

    def exceeded(self, elapsed: float, done: float) -> bool:
        """Return whether what is being drawn has taken more than the whole run is going to pay for."""
        return self.spent + time.perf_counter() - self.begun > self.share * elapsed / max(done, 1e-9)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Count the time that pictures take, and expect the next to take as long."""
        self.begun = time.perf_counter()
        yield
        self.cost = time.perf_counter() - self.begun
        self.spent += self.cost
