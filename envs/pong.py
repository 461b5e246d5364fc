"""Pong from four bytes of RAM, and the 100-decision task "pong-100" of Capone & Muratore (arXiv:2402.10069).

The observation is RAM bytes 49, 50, 51 and 54 divided by 255: ball x, the opponent's paddle, the own paddle, ball y
(as annotated by Anand et al. 2019, arXiv:1906.08226). Actions are NOOP, RIGHT and LEFT; each lasts four frames, with
sticky actions (probability 0.25, Machado et al. 2018) at difficulty 0. An episode begins with 21 NOOP decisions.
"""

from __future__ import annotations

from typing import Any

import ale_py
import gymnasium
import numpy as np

BYTES = (49, 50, 51, 54)
ACTIONS = (ale_py.Action.NOOP, ale_py.Action.RIGHT, ale_py.Action.LEFT)
FRAME_SKIP = 4
WARM_UP = 21  # NOOP decisions after a reset

gymnasium.register_envs(ale_py)
ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)


class PongRAM(gymnasium.Env[np.ndarray, np.int64]):
    """Pong on the emulator itself: no wrapper, no pixels.

    With NOOP alone sticky actions change nothing, so what follows a reset up to the end of the warm-up is one fixed
    state of the emulator. It is computed once and restored at each reset; the emulator's random generator, which
    decides on sticky actions, is not part of it and runs on.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        atari: Any = gymnasium.make(
            "ALE/Pong-v5",
            obs_type="ram",
            frameskip=FRAME_SKIP,
            repeat_action_probability=0.25,
            difficulty=0,
            disable_env_checker=True,
        )
        self._atari = atari.unwrapped
        self._ale = self._atari.ale
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (len(BYTES),), np.float32)
        self.action_space = gymnasium.spaces.Discrete(len(ACTIONS))
        self._start = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode after the warm-up. A seed also seeds the emulator's sticky actions."""
        super().reset(seed=seed)
        if seed is not None or self._start is None:
            self._atari.reset(seed=int(self.np_random.integers(2**31)))
            for _ in range(WARM_UP * FRAME_SKIP):
                self._ale.act(ACTIONS[0])
            self._start = self._ale.cloneState()
        self._ale.restoreState(self._start)
        return self._observation(), {}

    def _observation(self) -> np.ndarray:
        return self._ale.getRAM()[list(BYTES)].astype(np.float32) / np.float32(255.0)

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold an action for four frames; the reward is the points won minus the points lost in them."""
        pressed = ACTIONS[action]
        reward = float(sum(self._ale.act(pressed) for _ in range(FRAME_SKIP)))
        over = self._ale.game_over(with_truncation=False)
        return self._observation(), reward, over, self._ale.game_truncated(), {}

    def render(self) -> np.ndarray:
        """Return the screen, [210, 160, 3] of bytes."""
        return self._ale.getScreenRGB()
