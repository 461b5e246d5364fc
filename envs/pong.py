"""Pong from four bytes of RAM, and the 100-decision task "pong-100" of Capone & Muratore (arXiv:2402.10069).

The observation is RAM bytes 49, 50, 51 and 54 divided by 255: ball x, the opponent's paddle, the own paddle, ball y
(as annotated by Anand et al. 2019, arXiv:1906.08226). Actions are NOOP, RIGHT and LEFT; each lasts four frames, with
sticky actions (probability 0.25, Machado et al. 2018) at difficulty 0. An episode begins with 21 NOOP decisions.
"""

from __future__ import annotations

from typing import Any

import ale_py
import ale_py.roms
import gymnasium
import numpy as np

BYTES = [49, 50, 51, 54]
ACTIONS = (ale_py.Action.NOOP, ale_py.Action.RIGHT, ale_py.Action.LEFT)
FRAME_SKIP = 4
STICKY = 0.25  # probability per frame that the emulator's previous action goes on
WARM_UP = 21  # NOOP decisions after a reset
MAX_FRAMES = 108_000  # half an hour, as gymnasium registers ALE/Pong-v5

ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)


class PongRAM(gymnasium.Env[np.ndarray, np.int64]):
    """Pong on the emulator itself: no wrapper, no pixels.

    Sticky actions are drawn here, frame by frame as the emulator would, from the environment's own generator: a seed
    then costs nothing, where the emulator would have to load the game again. NOOP is not changed by stickiness, so a
    reset and its warm-up always lead to the same state of the emulator: it is computed once and restored.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (len(BYTES),), np.float32)
        self.action_space = gymnasium.spaces.Discrete(len(ACTIONS))
        self._ale = ale_py.ALEInterface()
        self._ale.setFloat("repeat_action_probability", 0.0)
        self._ale.setInt("max_num_frames_per_episode", MAX_FRAMES)
        rom: Any = ale_py.roms.get_rom_path("pong")
        self._ale.loadROM(rom)
        self._ale.setDifficulty(0)
        self._ale.reset_game()
        for _ in range(WARM_UP * FRAME_SKIP):
            self._ale.act(ACTIONS[0])
        self._start = self._ale.cloneState()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode after the warm-up."""
        super().reset(seed=seed)
        self._ale.restoreState(self._start)
        self._pressed = ACTIONS[0]
        return self._observation(), {}

    def _observation(self) -> np.ndarray:
        return self._ale.getRAM()[BYTES].astype(np.float32) / np.float32(255.0)

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold an action for four frames; the reward is the points won minus the points lost in them."""
        reward = 0.0
        for sticks in self.np_random.random(FRAME_SKIP) < STICKY:
            if not sticks:
                self._pressed = ACTIONS[action]
            reward += self._ale.act(self._pressed)
        over = self._ale.game_over(with_truncation=False)
        return self._observation(), reward, over, self._ale.game_truncated(), {}

    def render(self) -> np.ndarray:
        """Return the screen, [210, 160, 3] of bytes."""
        return self._ale.getScreenRGB()
