"""Something that learns in updates, each of them one compiled call."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax

Update = Callable[[Any], tuple[Any, dict[str, jax.Array]]]
Score = Callable[[Any, jax.Array, int], jax.Array]


class Program:
    """Owns the state of a run. Every update gives its memory to the next.

    ``update`` takes a state to the next and tells figures of it, in ``steps`` environment steps; ``score`` (state, key,
    episodes) is the mean return of greedy episodes. ``compile_s`` are the seconds to trace and compile the update.
    """

    def __init__(self, update: Update, state: Any, steps: int, score: Score) -> None:
        begun = time.perf_counter()
        self.update = jax.jit(update, donate_argnums=0).lower(state).compile()
        self.compile_s = time.perf_counter() - begun
        self.state, self.steps, self.env_steps = state, steps, 0
        self.score = jax.jit(score, static_argnums=2)
        self.figures: dict[str, jax.Array] = {}

    def step(self) -> int:
        """Run one update to its end; return the environment steps that it took."""
        self.state, self.figures = jax.block_until_ready(self.update(self.state))
        self.env_steps += self.steps
        return self.steps

    def greedy(self, episodes: int, seed: int = 0) -> float:
        """Return the mean return of greedy episodes."""
        return float(self.score(self.state, jax.random.key(seed), episodes))
