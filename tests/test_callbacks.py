"""What looks on sees what happens, changes nothing, and goes on where it was after a cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_trainer import begin, comparable, proceed, run, same_state, without_times

import lfcs
from lfcs import checkpoint
from lfcs import run as runs
from lfcs.callbacks import Callback
from lfcs.errors import Interrupted, UserError
from lfcs.monitor import read_metrics
from lfcs.recorder import Recorder


class Note(Callback):
    """Writes down every event, counts windows in a metric of its own, and cuts the run where asked."""

    metrics = ("note/windows",)

    def __init__(self, cut=None):
        self.events, self.windows, self.cut = [], 0, cut

    def begin(self, trainer):
        self.events.append("begin")

    def evaluation(self, trainer, metrics):
        self.events.append(("evaluation", trainer.env_steps, metrics["eval/mean_reward"]))

    def window(self, trainer, metrics):
        self.windows += 1
        metrics["note/windows"] = float(self.windows)
        self.events.append(("window", trainer.env_steps))
        if self.windows == self.cut:
            trainer.interrupt()

    def end(self, trainer, summary):
        self.events.append("end")
        summary["windows"] = self.windows

    def state_dict(self):
        return {"windows": self.windows}

    def load_state_dict(self, saved):
        self.windows = saved["windows"]


def test_a_callback_is_told_of_everything_in_order(tmp_path):
    note = Note()
    _, summary = run(tmp_path / "a", callbacks=[note])
    windows = [e[1] for e in note.events if e[0] == "window"]
    assert note.events[0] == "begin" and note.events[-1] == "end" and windows == [*range(24, 1000, 24), 1002]
    evaluations = [e[1] for e in note.events if e[0] == "evaluation"]
    assert evaluations == [216, 408, 600, 816, 1002]
    rows = read_metrics(tmp_path / "a")
    assert [row["note/windows"] for row in rows] == [*range(1, 43)] and summary["windows"] == 42
    assert note.events.index(("evaluation", 216, rows[8]["eval/mean_reward"])) < note.events.index(("window", 216))


def test_looking_on_changes_nothing(tmp_path):
    plain, expected = run(tmp_path / "plain")
    watched, got = run(tmp_path / "watched", callbacks=[Recorder("training"), Recorder("sampled")])
    assert comparable(got) == comparable(expected)
    assert without_times(tmp_path / "watched") == without_times(tmp_path / "plain")
    states = [{k: v for k, v in t.state_dict().items() if k != "callbacks"} for t in (plain, watched)]
    assert same_state(*states) == (True, [])


@pytest.mark.parametrize("cut", [3, 17])
def test_a_cut_run_goes_on_bit_by_bit_with_its_callbacks(tmp_path, cut):
    def all_of(cut=None):
        return [Note(cut), Recorder("training", keep=3), Recorder("greedy"), lfcs.StopAt(11.0)]

    whole, expected = run(tmp_path / "whole", callbacks=all_of())
    first = begin(tmp_path / "cut", callbacks=all_of(cut))
    with pytest.raises(Interrupted, match=f"stopped at step {24 * cut}; continue with: lfcs resume"):
        runs.complete(first)
    continued = proceed(tmp_path / "cut", all_of())
    got = runs.complete(continued)
    assert comparable(got) == comparable(expected) and got["windows"] == 42
    assert without_times(tmp_path / "cut") == without_times(tmp_path / "whole")
    assert same_state(continued.state_dict(), whole.state_dict()) == (True, [])
    for name in ("whole", "cut"):
        with np.load(tmp_path / name / "recording.npz") as file:
            assert len({key.split("/")[0] for key in file}) == 4 and (file["0/spikes"] > 0).any()


def test_a_run_with_callbacks_is_not_resumed_without_them(tmp_path):
    with pytest.raises(Interrupted):
        runs.complete(begin(tmp_path, callbacks=[Note(2)]))
    with pytest.raises(UserError, match=r"callbacks of yours, Note: continue it with lfcs.resume\(path, callbacks="):
        proceed(tmp_path)


def test_metrics_without_a_column_are_said(tmp_path):
    class Undeclared(Note):
        metrics = ()

    with pytest.raises(UserError, match=r"without a column: \['note/windows'\]"):
        runs.complete(begin(tmp_path, callbacks=[Undeclared()]))


def test_a_run_stops_early_and_says_so(tmp_path):
    found = lfcs.train(
        "toys:Guess-v0", steps=20_000, callbacks=[lfcs.StopAt(6.0)], run_dir=tmp_path / "it",
        settings={"network.neurons": 64, "train.eval_every": 1000, "train.final_episodes": 20},
    )  # fmt: skip
    at = found.summary["env_steps"]
    assert at < 20_000 and found.summary["stopped"].endswith(f"step {at}")
    rows = read_metrics(found.path)
    reached = [row["eval/mean_reward"] >= 6.0 for row in rows if np.isfinite(row["eval/mean_reward"])]
    assert reached[-1] and not any(reached[:-1]) and rows[-1]["step"] == at
    again = lfcs.resume(found.path)
    assert again.summary == found.summary


def test_the_recorder_keeps_what_the_network_did(tmp_path):
    """A recorded episode, run again through snntorch from its inputs, gives its spikes, membranes and traces."""
    recorder = Recorder("greedy", keep=2, steps=7)
    trainer = begin(tmp_path, callbacks=[recorder], **{"network.ticks": 2, "network.input_gain": 5.0})
    runs.complete(trainer)
    assert len(recorder.episodes) == 2 and int(recorder.episodes[-1]["env_steps"]) == 1002
    episode = recorder.episodes[-1]
    assert {len(v) for k, v in episode.items() if k != "env_steps"} == {7}  # of 10
    network = trainer.final.network
    state = network.initial_state(1)
    for t in range(7):
        x = torch.from_numpy(episode["input"][t : t + 1])
        for _ in range(2):
            state = network.tick(x, state)
        for name, part in (("spikes", state.spk), ("membrane", state.mem), ("trace", state.trace)):
            np.testing.assert_allclose(episode[name][t], part[0].detach(), atol=1e-5)
        params, value = network.read(state, x)
        np.testing.assert_allclose(episode["params"][t], params[0].detach(), atol=1e-5)
        np.testing.assert_allclose(episode["value"][t], value[0].detach(), atol=1e-5)
        assert episode["action"][t] - 5 == params.argmax()
        assert episode["reward"][t] == (episode["action"][t] - 5 == episode["observation"][t].argmax())
    assert episode["spikes"].sum() > 0
    with np.load(tmp_path / "recording.npz") as file:
        assert np.array_equal(file["1/spikes"], episode["spikes"])


def test_a_recorder_of_training_takes_whole_episodes(tmp_path):
    recorder = Recorder("training", keep=100, environment=1)
    runs.complete(begin(tmp_path, callbacks=[recorder]))
    lengths = [len(e["reward"]) for e in recorder.episodes]
    assert len(lengths) > 20 and lengths.count(10) > 20 and max(lengths) == 10
    assert len(lengths) - lengths.count(10) <= 4  # cut where the environments start afresh, at four checkpoints
    with pytest.raises(UserError, match="there is no environment 3"):
        runs.complete(begin(tmp_path / "b", callbacks=[Recorder("training", environment=3)]))
    with pytest.raises(ValueError, match="where must be one of"):
        Recorder("everywhere")


class Late(Callback):
    """Makes its state when the run begins."""

    metrics = ("late/windows",)

    def __init__(self, cut=None):
        self.cut = cut

    def begin(self, trainer):
        self.windows = 0

    def window(self, trainer, metrics):
        self.windows += 1
        metrics["late/windows"] = self.windows
        if self.windows == self.cut:
            trainer.interrupt()

    def end(self, trainer, summary):
        summary["windows"] = np.int64(self.windows)

    def state_dict(self):
        return {"windows": np.int64(self.windows)}

    def load_state_dict(self, saved):
        self.windows = saved["windows"]


def test_state_that_is_made_at_the_begin_goes_on_too(tmp_path):
    with pytest.raises(Interrupted):
        runs.complete(begin(tmp_path, callbacks=[Late(2)]))
    summary = runs.complete(proceed(tmp_path, [Late()]))
    assert [row["late/windows"] for row in read_metrics(tmp_path)] == [*range(1, 43)] and summary["windows"] == 42


def test_a_recorder_starts_every_run_with_nothing(tmp_path):
    recorder = Recorder()
    for name, neurons in (("a", 8), ("b", 12)):
        trainer = begin(tmp_path / name, steps=100, callbacks=[recorder], **{"network.neurons": neurons})
        runs.complete(trainer)
        assert [e["spikes"].shape[1] for e in recorder.episodes] == [neurons]


@pytest.mark.parametrize("state", [{("a", 1): 2}, {"x": np.array([None])}, {"x": object()}])
def test_state_that_cannot_be_read_back_is_not_written(tmp_path, state):
    with pytest.raises(TypeError, match="a checkpoint cannot hold"):
        checkpoint.save(tmp_path / "a.npz", state)
    assert not list(tmp_path.iterdir())
