"""Worlds that change while a run goes: what was learned is no longer right, and learning goes on.

Each environment counts its own steps, over all its episodes, and is a function of that count: a run of B environments
has taken B times as many. The count is given with a reset, ``options={"steps": n}``, where a run goes on from a
checkpoint or is evaluated, with ``"frozen": True`` as it is at that moment; ``metadata["steps"]`` says that an
environment takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from lfcs.envs.memory import MemoryChain, Start, Step
from lfcs.errors import UserError


class World:
    """What changes: a number given by ``points`` (steps, number), from which on it is that or, ``drifts``, in between.

    Raises UserError on points that are not in order of steps, from 0 on.
    """

    def __init__(self, points: Sequence[tuple[int, float]], drifts: bool = False) -> None:
        self.at, self.numbers = ([point[k] for point in points] for k in (0, 1))
        if not points or self.at[0] != 0 or self.at != sorted(set(self.at)):
            raise UserError(f"a changing world wants points (steps, number) in order from 0 on, got {points!r}")
        self.drifts, self.steps, self.frozen = drifts, 0, False

    def begin(self, options: dict[str, Any] | None) -> None:
        """Take what a reset says of the steps so far; else the world goes on."""
        if options and "steps" in options:
            self.steps, self.frozen = int(options["steps"]), bool(options.get("frozen", False))

    def pass_step(self) -> None:
        """Count a step, unless frozen."""
        self.steps += not self.frozen

    @property
    def now(self) -> float:
        """The number of now."""
        if self.drifts:
            return float(np.interp(self.steps, self.at, self.numbers))
        return float(self.numbers[np.searchsorted(self.at, self.steps, side="right") - 1])


class ChangingCartPole(CartPoleEnv):
    """gymnasium's CartPole of which a ``quantity`` changes; see :class:`World`.

    It is ``length``, half of the pole in m (0.5 in gymnasium's), ``gravity`` in m/s² (9.8), or the ``force`` of action
    1 in N (10): with its sign the two actions are exchanged.
    """

    metadata = CartPoleEnv.metadata | {"steps": True}
    QUANTITIES = {"length": "length", "gravity": "gravity", "force": "force_mag"}  # their names in gymnasium's

    def __init__(
        self, points: Sequence[tuple[int, float]], quantity: str = "length", drifts: bool = False, **given: Any
    ) -> None:
        super().__init__(**given)
        if quantity not in self.QUANTITIES:
            raise UserError(f"what changes must be one of {', '.join(self.QUANTITIES)}, got {quantity!r}")
        self.world, self.quantity = World(points, drifts), quantity

    def _set(self) -> None:
        setattr(self, self.QUANTITIES[self.quantity], self.world.now)
        self.polemass_length = self.masspole * self.length

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """See gymnasium."""
        self.world.begin(options)
        return super().reset(seed=seed)

    def step(self, action: Any) -> Step:
        """See gymnasium; the step is taken in the world of now, and then counted."""
        self._set()
        outcome = super().step(action)
        self.world.pass_step()
        return outcome  # type: ignore[return-value]


class ReversingChain(MemoryChain):
    """:class:`lfcs.envs.memory.MemoryChain` whose answer is another from time to time: see World.

    The number of a point is 0 where the context's own answer is right and 1 where the other one is. It holds for whole
    episodes: that of an episode is of its start.
    """

    metadata = MemoryChain.metadata | {"steps": True}

    def __init__(self, points: Sequence[tuple[int, float]], length: int = 4) -> None:
        super().__init__(length)
        self.world = World(points)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """See gymnasium."""
        self.world.begin(options)
        return super().reset(seed=seed)

    def observe(self) -> np.ndarray:
        """See :class:`lfcs.envs.memory.Memory`."""
        if self.time == 0:
            self.answer = self.context ^ int(self.world.now)
        return super().observe()

    def step(self, action: np.int64) -> Step:
        """See gymnasium."""
        self.world.pass_step()
        self.context = self.answer  # what was shown has been seen
        return super().step(action)
