"""Pictures of environments: as they are, without a display, and one line where there is none."""

from __future__ import annotations

import os

import gymnasium
import numpy as np
import pytest

import lfcs
from lfcs.envs import drawing


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    monkeypatch.setattr(drawing.sys, "platform", "linux")
    for key in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.setenv(key, "")  # so that what is set here is taken back
        monkeypatch.delenv(key)


class Drawn(gymnasium.Env):
    """Looks as it is told to."""

    def __init__(self, frame):
        self.frame = frame

    def render(self):
        return self.frame


def test_a_picture_has_three_colours_of_eight_bits():
    frame = np.arange(24.0).reshape(2, 3, 4)
    found = drawing.picture(Drawn(frame))
    assert found.dtype == np.uint8 and found.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(found, frame[:, :, :3])


@pytest.mark.parametrize(("frame", "kind"), [(None, "NoneType"), ([1], "list"), (np.zeros((3, 3)), "ndarray")])
def test_what_is_no_picture_is_refused(frame, kind):
    with pytest.raises(lfcs.UserError, match=f"^its rgb_array is not a picture: {kind}$"):
        drawing.picture(Drawn(frame))


def test_a_display_is_told_by_the_environment(monkeypatch):
    assert not drawing.has_display()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert drawing.has_display()
    monkeypatch.delenv("WAYLAND_DISPLAY")
    monkeypatch.setattr(drawing.sys, "platform", "darwin")
    assert drawing.has_display()


def test_mujoco_draws_by_egl_only_without_a_display_and_a_wish(monkeypatch):
    env = Drawn(np.zeros((2, 2, 3)))
    monkeypatch.setenv("DISPLAY", ":0")
    drawing.picture(env)
    assert "MUJOCO_GL" not in os.environ
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.delenv("DISPLAY")
    drawing.picture(env)
    assert os.environ["MUJOCO_GL"] == "osmesa"
    monkeypatch.delenv("MUJOCO_GL")
    drawing.picture(env)
    assert os.environ["MUJOCO_GL"] == "egl"
