"""Trackers: each is told the same, in its own words; what is missing or unknown is said before a run begins."""

from __future__ import annotations

import importlib.machinery
import io
import sys
import types

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_trainer import begin, new_config, run

from lfcs import trackers
from lfcs.errors import UserError
from lfcs.trackers.base import counted, gif, png

FRAMES = np.random.default_rng(0).integers(0, 255, (5, 20, 30, 3)).astype(np.uint8)


def tell(tracker):
    """Tell a tracker something of each kind, twice."""
    tracker.layout({"page": {"chart": ("a/b",)}})
    for step in (10, 20):
        tracker.scalars({"a/b": 0.1 * step, "c": 2.0}, step)
        tracker.histogram("h", np.arange(100.0), step)
        tracker.image("i", FRAMES[0], step)
        tracker.text("t", "| a |\n|---|\n| 1 |", step)
        tracker.video("v", FRAMES, step)
    tracker.hparams({"rule.replays": 4, "env": "x", "rule.normalise": True}, {"mean_return": 3.0})
    tracker.close()


def test_tensorboard_is_told_everything(tmp_path):
    tell(trackers.begin("tensorboard", tmp_path, 0))
    found = EventAccumulator(str(tmp_path), {"images": 0, "histograms": 0, "tensors": 0}).Reload()
    assert [(e.step, round(e.value, 6)) for e in found.Scalars("a/b")] == [(10, 1.0), (20, 2.0)]
    told = found.Histograms("h")[0].histogram_value
    assert told.num == 100 and sum(told.bucket) == 100 and (told.min, told.max, told.sum) == (0.0, 99.0, 4950.0)
    for key, kind in (("i", "PNG"), ("v", "GIF")):
        (shown, _) = found.Images(key)
        picture = Image.open(io.BytesIO(shown.encoded_image_string))
        assert picture.format == kind and picture.size == (30, 20) == (shown.width, shown.height)
        assert kind == "PNG" or picture.n_frames == 5
    assert {"t/text_summary", "custom_scalars__config__"} <= set(found.Tags()["tensors"])
    assert "mean_return" not in " ".join(found.Tags()["scalars"])  # one dot is no chart


class Fake(types.ModuleType):
    """A package with the calls that a tracker makes of W&B or Trackio; everything is kept in ``calls``."""

    def __init__(self, name):
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)
        self.calls, self.config, self.summary, self.id = [], self, {}, "id0"
        for kind in ("Image", "Histogram", "Video", "Html", "Markdown"):
            setattr(self, kind, lambda *given, _kind=kind, **named: (_kind, given, named))

    def init(self, **named):
        self.calls.append(("init", named))
        return self

    def log(self, values, step=None):
        self.calls.append((step, values))

    def update(self, values, allow_val_change):
        self.summary |= values

    def finish(self):
        self.calls.append(("finish", {}))


@pytest.fixture
def fake(request, monkeypatch):
    made = Fake(request.param)
    monkeypatch.setitem(sys.modules, request.param, made)
    return made


@pytest.mark.parametrize("fake", ["wandb", "trackio"], indirect=True)
def test_others_are_told_the_same(fake, tmp_path):
    run_dir = tmp_path / "my_run"
    run_dir.mkdir()
    tell(trackers.begin(fake.__name__, run_dir, 0))
    (_, opened), *logged, _ = fake.calls
    assert opened["name"] == "my_run" and fake.calls[-1][0] == "finish"
    at_10 = {key: value for step, values in logged if step == 10 for key, value in values.items()}
    assert at_10["a/b"] == pytest.approx(1.0) and {"h", "i", "t", "v"} <= at_10.keys()
    kind, _, named = at_10["h"]
    assert kind == "Histogram" and named["np_histogram"][0].sum() == 100
    assert at_10["i"][1][0].size == (30, 20)
    trackers.begin(fake.__name__, run_dir, 20).close()
    again = next(named for call, named in reversed(fake.calls) if call == "init")
    assert again["resume"] == "allow" and opened["resume"] in (None, "never")
    assert again.get("id") == ("id0" if fake.__name__ == "wandb" else None)


@pytest.mark.parametrize("fake", ["wandb"], indirect=True)
def test_a_run_goes_where_its_setting_says(fake, tmp_path):
    run(tmp_path / "a", **{"train.tracker": "wandb", "train.watch": "scalars"})
    steps = [step for step, values in fake.calls if "train/entropy" in values]
    assert (
        steps == [*range(24, 1000, 24), 1002]
        and fake.summary["agent"] == "lf-cs"
        and "final/mean_return" in fake.summary
    )
    assert not list((tmp_path / "a").glob("events*"))


def test_what_there_is_not_is_said_before_a_run_begins(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"unknown tracker 'tensorbord'.*did you mean tensorboard"):
        begin(tmp_path / "a", **{"train.tracker": "tensorbord"})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"train.tracker=wandb needs the extra 'wandb': pip install 'lfcs\[wandb\]'"):
        begin(tmp_path / "b", **{"train.tracker": "wandb"})
    with pytest.raises(UserError, match="'test_trackers:FRAMES' is not a tracker"):
        begin(tmp_path / "c", **{"train.tracker": "test_trackers:FRAMES"})
    assert not list(tmp_path.glob("*/config.json"))


class Kept:
    """A tracker of a user's own."""

    told: list = []

    def __init__(self, run_dir, start):
        self.told.append(("begin", start))

    def __getattr__(self, name):
        return lambda *given, **named: self.told.append((name, *given))


for _name in trackers.METHODS:  # which there must be
    setattr(Kept, _name, lambda self, *given, _name=_name, **named: self.told.append((_name, *given)))


def test_a_tracker_may_come_from_outside(tmp_path):
    run(tmp_path / "a", **{"train.tracker": "test_trackers:Kept", "train.watch": "scalars"})
    names = [name for name, *_ in Kept.told]
    assert names[0] == "begin" and names[-1] == "close" and names.count("scalars") == 42


def test_neither_watching_nor_the_tracker_is_part_of_what_a_run_is():
    one = new_config(**{"train.watch": "full", "train.tracker": "wandb"})
    other = new_config(**{"train.watch": "none"})
    assert one == other and one != new_config(**{"rule.replays": 3}) and one.to_dict() != other.to_dict()


def test_numbers_are_counted_in_parts_of_their_range():
    values = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    counts, bounds = counted(values, 30)
    expected, edges = np.histogram(values.astype(np.float64), 30)
    assert np.array_equal(counts, expected) and np.allclose(bounds, edges)
    for same in (np.zeros(4), np.full(4, 7.0), np.full(4, -1e9)):
        counts, bounds = counted(same)
        assert counts.sum() == 4 and bounds[0] < same[0] < bounds[-1]
    counts, _ = counted(np.array([1.0, np.nan, np.inf, 2.0]))
    assert counts.sum() == 2 and counted(np.array([]))[0].sum() == 0


def test_pictures_are_files():
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(FRAMES[0])))), FRAMES[0])
    film = Image.open(io.BytesIO(gif(FRAMES, 10)))
    assert film.n_frames == 5 and film.info["duration"] == 100 and film.info["loop"] == 0
