"""What an environment looks like, with or without a display."""

from __future__ import annotations

import os
import sys

import gymnasium
import numpy as np

from lfcs.envs.checked import in_one_line
from lfcs.errors import UserError


def has_display() -> bool:
    """Return whether a window can be opened."""
    return not sys.platform.startswith("linux") or any(os.environ.get(key) for key in ("DISPLAY", "WAYLAND_DISPLAY"))


def picture(env: gymnasium.Env) -> np.ndarray:
    """Return what an environment made for it (render_mode rgb_array) looks like: pixels [H, W, 3] of 8 bits.

    Without a display MuJoCo is told to draw by EGL: of itself it takes GLFW, which needs one. Raises UserError where
    nothing comes of it; it must not be asked again then, since MuJoCo's second try ends the process.
    """
    if not has_display():
        os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        frame = env.render()
    except gymnasium.error.DependencyNotInstalled as error:
        needed = " ".join(str(error).split())
        raise UserError(f"it cannot be drawn: {needed}; most need no more than the extra 'video'") from None
    except Exception as error:
        raise UserError(f"it cannot be drawn: {in_one_line(error)}") from error
    if not isinstance(frame, np.ndarray) or frame.ndim != 3:
        raise UserError(f"its rgb_array is not a picture: {type(frame).__name__}")
    return np.ascontiguousarray(frame[:, :, :3], np.uint8)
