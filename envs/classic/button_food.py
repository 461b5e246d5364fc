"""A button, then food; see :class:`lfcs.envs.memory.ButtonFood`.

State [agent x, y, button x, y, food x, y, whether the button has been reached, last cell of a row].
"""

from __future__ import annotations

import numpy as np

from lfcs.envs.classic.base import Task, compiled, observe_pointer, step_pointer
from lfcs.envs.memory import ButtonFood

RIGHT, UP, LEFT = 0.0, 1.0, 2.0


@compiled
def show(state: np.ndarray, obs: np.ndarray) -> None:
    """Write the observation of a state."""
    for k in range(4):
        obs[k] = (state[2 + k] - state[k % 2]) / state[7]


@step_pointer
def step(state: np.ndarray, action: np.ndarray, obs: np.ndarray, outcome: np.ndarray) -> None:
    """See :class:`Task`."""
    axis = 0 if action[0] == RIGHT or action[0] == LEFT else 1
    move = 1.0 if action[0] == RIGHT or action[0] == UP else -1.0
    state[axis] = min(max(state[axis] + move, 0.0), state[7])
    if state[0] == state[2] and state[1] == state[3]:
        state[6] = 1.0
    over = state[6] == 1.0 and state[0] == state[4] and state[1] == state[5]
    outcome[0] = outcome[1] = 1.0 if over else 0.0
    show(state, obs)


@observe_pointer
def observe(state: np.ndarray, obs: np.ndarray) -> None:
    """See :class:`Task`."""
    show(state, obs)


def make(**given: int) -> Task:
    """Return the task with the arguments of :class:`lfcs.envs.memory.ButtonFood`."""
    env = ButtonFood(**given)

    def draw(np_random: np.random.Generator, count: int) -> np.ndarray:
        starts, others = np.zeros((count, 8)), env.size**2 - 1
        button, food = np.floor(np_random.random((count, env.numbers)) * [others, others - 1]).T
        for at, cell in ((2, button), (4, food + (food >= button))):
            starts[:, at], starts[:, at + 1] = np.divmod(cell + (cell >= others // 2), env.size)
        starts[:, :2], starts[:, 7] = env.size // 2, env.size - 1
        return starts

    return Task((), 8, env.observation_space, env.action_space, step, observe, draw, given)
