"""What a run tells: on the disk before its checkpoint, whole on resuming, and once; runs side by side apart by name."""

from __future__ import annotations

import json
import os

import kills
import pytest
from test_jobs import TINY, Here, tiny
from test_trainer import begin, new_config, proceed, run, without_times

from lfcs import cli, monitor
from lfcs import run as runs
from lfcs.errors import UserError
from lfcs.study import compare as comparison
from lfcs.study import schedule, values


class Cut(Exception):
    """A process that is gone."""


def cut_at(run_dir, steps, **settings):
    """Begin a run whose process is gone, without a word, at so many steps."""
    trainer = begin(run_dir, **settings)
    inner = trainer.window

    def window():
        if trainer.env_steps >= steps:
            raise Cut
        return inner()

    trainer.window = window
    with pytest.raises(Cut):
        runs.complete(trainer)


@pytest.mark.parametrize("steps", [120, 600])  # before the first checkpoint after that of step 0, and after it
def test_tensorboard_shows_every_point_once(tmp_path, steps):
    scalars = {"train.watch": "scalars"}  # what else is shown depends on the clock
    run(tmp_path / "whole", **scalars)
    cut_at(tmp_path / "cut", steps, **scalars)
    runs.complete(proceed(tmp_path / "cut"))
    whole, cut = kills.points(tmp_path / "whole"), kills.points(tmp_path / "cut")
    assert len(whole["rollout/ep_rew_mean"]) == len(set(whole["rollout/ep_rew_mean"])) > 30
    assert cut == whole


@pytest.mark.parametrize(
    "end", [b"504,0.5", b"\n\r\n", b"\xff\x00\xfe\n\x00", b'504,"0.5\n', b"504,0.5\r\n", b"9" * 5000 + b",1\r\n"]
)
def test_whatever_stands_at_the_end_of_the_metrics_a_run_goes_on(tmp_path, capsys, end):
    run(tmp_path / "whole")
    cut_at(tmp_path / "cut", 600)
    with open(tmp_path / "cut/metrics.csv", "ab") as file:
        file.write(end)
    runs.complete(proceed(tmp_path / "cut"))
    assert without_times(tmp_path / "cut") == without_times(tmp_path / "whole")
    assert "no rows" not in capsys.readouterr().err


def test_rows_that_are_lost_are_named(tmp_path, capsys):
    cut_at(tmp_path, 600)
    path = tmp_path / "metrics.csv"
    lines = path.read_bytes().splitlines(keepends=True)  # a row is 24 steps; the checkpoint is at 504
    path.write_bytes(b"".join([*lines[:5], *lines[7:20], lines[20][:9]]))
    runs.complete(proceed(tmp_path))
    assert "metrics.csv has no rows of steps 97 to 167, 457 to 504: they were lost" in capsys.readouterr().err
    seen = [int(step) for step in kills.steps(tmp_path)]
    assert seen == sorted(set(seen)) and {120, 144, 480, 504}.isdisjoint(seen) and {96, 168, 456, 528} <= set(seen)
    path.unlink()
    (tmp_path / "summary.json").unlink()
    runs.complete(proceed(tmp_path))
    assert "has no rows of steps 1 to 1,002" in capsys.readouterr().err


def test_rows_are_on_the_disk_before_their_checkpoint(tmp_path, monkeypatch):
    order, fsync, replace = [], os.fsync, os.replace

    def name_of(fd):
        return os.readlink(f"/proc/self/fd/{fd}").rpartition("/")[2]

    monkeypatch.setattr(monitor.os, "fsync", lambda fd: (order.append(name_of(fd)), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append(str(b).rpartition("/")[2]), replace(a, b))[1])
    run(tmp_path)
    saved = [index for index, name in enumerate(order) if name.startswith("step_") and "step_000000000000" not in name]
    assert len(saved) == 4 and all("metrics.csv" in order[index - 3 : index] for index in saved)


def test_a_seed_that_no_file_can_hold_is_refused_at_once(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main([*kills.train(tmp_path / "run"), "--seed", "9" * 300])
    err = capsys.readouterr().err
    assert "argument --seed: must be at most 1e+15" in err and len(err) < 200
    assert not (tmp_path / "run").exists()
    assert new_config(seed=2**63 - 1).seed == 2**63 - 1
    with pytest.raises(UserError, match="seed must be at most"):
        new_config(seed=2**63)


def test_names_of_runs_differ_where_their_labels_do(tmp_path):
    labels = ["lf-cs", "lf:cs", "LF cs", "ü", "ß", "x" * 300, "x" * 299]
    names = values.file_names(labels)
    assert names["lf-cs"] == "lf-cs" and len({name.lower() for name in names.values()}) == len(labels)
    assert all(len(name) < 100 and name.isascii() for name in names.values())
    agents = {label: {"agent": "lf-cs"} for label in labels}
    plan = tiny(agents=agents, rates=[0.01, 0.010000001, 1e-5])
    jobs = schedule.grid(plan, tmp_path)
    assert len({str(job.run_dir).lower() for job in jobs}) == len(jobs) == 7 * 3
    assert {job.run_dir.name for job in jobs if job.label == "lf-cs"} == {
        "lf-cs_R1_lr0.01_seed5", "lf-cs_R1_lr0.010000001_seed5", "lf-cs_R1_lr1e-05_seed5",
    }  # fmt: skip


def test_where_a_comparison_cannot_be_kept_is_said_before_it(tmp_path, capsys, monkeypatch):
    plan = tmp_path / "tiny.json"
    plan.write_text(json.dumps(TINY))
    (tmp_path / "file").touch()
    (tmp_path / "held").mkdir()
    (tmp_path / "held/runs").touch()
    monkeypatch.setattr(comparison, "workers", None)  # would fail otherwise
    letters = "z" * (4030 - len(str(tmp_path)))  # of the 4096 that a path may have
    deep = tmp_path.joinpath(*[letters[at : at + 200] for at in range(0, len(letters), 201)])
    for out, message in (
        (tmp_path / "file", "is not a directory and cannot be one"),
        (tmp_path / "held", "File exists"),
        (tmp_path / ("y" * 300), "File name too long"),
        (deep, "cannot be the directory of a run: File name too long"),
    ):
        assert cli.main(["compare", str(plan), "--out", str(out)]) == 1
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1, err
    with pytest.raises(UserError, match="would share directories"):
        comparison.check_room([tmp_path / "a", tmp_path / "A"])


def test_an_interrupted_comparison_says_that_the_same_goes_on(tmp_path, monkeypatch, capsys):
    class Pressed(Here):
        def submit(self, call, /, *args, **kwargs):
            os.kill(os.getpid(), 15)
            return super().submit(call, *args, **kwargs)

    with pytest.raises(UserError, match="stopped with 0 of 2 runs finished; the same command goes on"):
        comparison.compare(tiny(rates=[], agents=["lf-cs"], replays=[1]), "tiny", tmp_path, executor=Pressed())
    assert "stopping: every run ends its window" in capsys.readouterr().err
