"""A run's policy is seen: on film frame by frame, in a window, or one line says why not."""

from __future__ import annotations

import re

import numpy as np
import pytest

import lfcs
from lfcs import cli, watching
from lfcs.envs import drawing
from lfcs.pictures import film

SMALL = {"network.neurons": 8, "train.num_envs": 2, "rule.window": 10, "rule.tau_s": 10, "train.final_episodes": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("pygame")
    pytest.importorskip("imageio")
    path = tmp_path_factory.mktemp("run") / "it"
    return lfcs.train("CartPole-v1", steps=100, settings=SMALL, tuned=False, run_dir=path)


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    for key in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):
        monkeypatch.setenv(key, "dummy")
    for key in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(key, raising=False)


def returns_of(out):
    return [(float(r), int(n)) for r, n in re.findall(r"return (\S+) in (\d+) steps", out)]


def failing(capsys, *argv):
    assert cli.main(["play", *map(str, argv)]) == 1
    err = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("error: XDG")]
    assert len(err) == 1, err
    return err[0]


@pytest.mark.parametrize("flags", [[], ["--spikes"], ["--sampled", "--seed", "5"]])
def test_a_film_has_a_frame_for_every_step_and_the_start(run, tmp_path, capsys, flags):
    import imageio

    path = tmp_path / "deep" / "it.gif"
    assert cli.main(["play", str(run.path), "--video", str(path), "--episodes", "2", *flags]) == 0
    out = capsys.readouterr().out
    seed, greedy = (5, False) if "--sampled" in flags else (0, True)
    recording = run.policy.record("CartPole-v1", 2, seed=seed, greedy=greedy)
    assert returns_of(out) == [(len(e["reward"]), len(e["reward"])) for e in recording]
    assert f"video: {path}" in out and out.splitlines()[-1].startswith("next:  lfcs pl")
    frames = imageio.mimread(path, memtest=False)
    assert len(frames) == sum(len(e["reward"]) + 1 for e in recording)
    assert frames[0].shape[:2] == (400 + film.LINE, 1000 if flags == ["--spikes"] else 600)
    assert not np.array_equal(frames[1], frames[5]) and list(path.parent.iterdir()) == [path]


def test_frames_are_those_of_the_recorded_episode(run, tmp_path):
    """The cart's place on film follows the recorded position."""
    import imageio

    recording = watching.on_film(run.path, tmp_path / "it.gif", seed=3)
    frames = imageio.mimread(tmp_path / "it.gif", memtest=False)
    cart = [np.flatnonzero((frame[290, :, :3] < 30).all(-1)).mean() for frame in frames[:-1]]
    position = recording[0]["observation"][:, 0]
    np.testing.assert_allclose(cart, 300 + position * 600 / 4.8, atol=2)


def test_a_video_without_its_package_is_one_line(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(film.importlib.util, "find_spec", lambda name: None if name == "imageio_ffmpeg" else name)
    said = "videos need the extra 'video': pip install 'lfcs[video]' (imageio_ffmpeg is missing)"
    assert said in failing(capsys, run.path) and said in failing(capsys, run.path, "--spikes")
    assert cli.main(["play", str(run.path), "--video", str(tmp_path / "it.gif")]) == 0  # which needs none of it


def test_a_video_is_mp4_where_nothing_is_said(run, capsys):
    pytest.importorskip("imageio_ffmpeg")
    assert cli.main(["play", str(run.path), "--spikes"]) == 0
    assert (run.path / "play.mp4").read_bytes()[4:8] == b"ftyp"


def test_a_window_opens_where_there_is_a_display(run, monkeypatch, capsys):
    monkeypatch.setattr(drawing, "has_display", lambda: True)
    seen, shown = [], watching.rendering
    monkeypatch.setattr(watching, "rendering", lambda env, mode, kwargs: seen.append(mode) or shown(env, mode, kwargs))
    before = set(run.path.iterdir())
    assert cli.main(["play", str(run.path)]) == 0
    out = capsys.readouterr().out
    assert seen == ["human"] and returns_of(out) and "video" not in out and set(run.path.iterdir()) == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--video", "it.avi"], "it.avi: a video ends in .mp4 or .gif"),
        (["--episodes", "0", "--video", "it.gif"], "--episodes must be at least 1"),
        (["--seed", "-1", "--video", "it.gif"], "--seed must be at least 0"),
    ],
)
def test_bad_wishes_are_one_line(run, capsys, flags, message):
    assert message in failing(capsys, run.path, *flags)


def test_what_cannot_be_seen_is_one_line(tmp_path, capsys):
    pytest.importorskip("imageio")
    lfcs.train("toys:Guess-v0", steps=100, settings=SMALL, run_dir=tmp_path / "it")
    said = failing(capsys, tmp_path / "it", "--video", tmp_path / "it.gif")
    assert "toys:Guess-v0 cannot be seen: it has no render mode rgb_array (it has: none)" in said
    assert "holds no run" in failing(capsys, tmp_path, "--video", tmp_path / "it.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_what_fails_to_draw_is_one_line(tmp_path, capsys):
    pytest.importorskip("imageio")
    lfcs.train("toys:Unseen-v0", steps=100, settings=SMALL, run_dir=tmp_path / "it")
    said = failing(capsys, tmp_path / "it", "--video", tmp_path / "it.gif")
    assert said.endswith("environment 0, in reset after seed 0: it cannot be drawn: RuntimeError: no screen, look 1")
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_a_film_that_fails_leaves_nothing_behind(tmp_path):
    pytest.importorskip("imageio")

    def frames():
        yield np.zeros((40, 40, 3), np.uint8)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        film.write(tmp_path / "it.gif", frames(), 30)
    assert not list(tmp_path.iterdir())
