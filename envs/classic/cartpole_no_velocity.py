"""CartPole of which only cart position and pole angle are seen; see :mod:`lfcs.envs.classic.cartpole`."""

from __future__ import annotations

import numpy as np

from lfcs.envs.classic import cartpole
from lfcs.envs.classic.base import Task, compiled, observe_pointer, step_pointer
from lfcs.envs.classic.cartpole import advance, draw
from lfcs.envs.memory import CartPoleNoVelocity, without


@compiled
def show(state: np.ndarray, obs: np.ndarray) -> None:
    """Write the observation of a state."""
    obs[0], obs[1] = state[0], state[2]


@step_pointer
def step(state: np.ndarray, action: np.ndarray, obs: np.ndarray, outcome: np.ndarray) -> None:
    """See :class:`Task`."""
    outcome[1] = 1.0 if advance(state, action) else 0.0
    outcome[0] = 1.0
    show(state, obs)


@observe_pointer
def observe(state: np.ndarray, obs: np.ndarray) -> None:
    """See :class:`Task`."""
    show(state, obs)


_ALL = cartpole.TASKS[0]
_SEEN = without(_ALL.observation_space, CartPoleNoVelocity.HIDDEN)

TASKS = (Task(("CartPoleNoVelocity-v0",), 4, _SEEN, _ALL.action_space, step, observe, draw),)
