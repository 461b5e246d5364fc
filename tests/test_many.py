"""Many seeds at once: each as if alone, kept when finished, continued when cut; one that fails loses no other."""

from __future__ import annotations

import csv
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import lfcs
from lfcs import cli
from lfcs.configure import build_config
from lfcs.errors import UserError
from lfcs.study import many, values
from lfcs.trainer import stream_seed

QUICK = ["--steps", "300", "--set", "network.neurons=8", "train.num_envs=2", "rule.window=10", "rule.tau_s=10"]
QUICK += ["train.final_episodes=3", "train.eval_every=100"]
MAIN = [sys.executable, "-c", "import sys, lfcs.cli; sys.exit(lfcs.cli.main(sys.argv[1:]))"]


def failing(capsys, *argv):
    """Run the command line, which must fail; return its one line of error and what it printed before."""
    code = cli.main([str(a) for a in argv])
    out, err = capsys.readouterr()
    assert code == 1 and err.count("\n") == 1 and err.startswith("lfcs: error: "), err
    return err, out


def outcome(run_dir):
    """Return what a run leaves that does not depend on the clock: its metrics and its final policy."""
    with open(run_dir / "metrics.csv", newline="") as file:
        rows = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in csv.DictReader(file)]
    policy = lfcs.load(run_dir)
    return rows, {name: value.tolist() for name, value in policy.network.state_dict().items()}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["0..3"], [0, 1, 2, 3]),
        (["0,3,7"], [0, 3, 7]),
        (["0..3,8"], [0, 1, 2, 3, 8]),
        (["8, 2..3"], [8, 2, 3]),
        (["4", "6..7"], [4, 6, 7]),
        (["5..5"], [5]),
        (["0..9999"], list(range(10_000))),
    ],
)
def test_seeds_are_ranges_and_lists(given, expected):
    assert values.seeds("--seeds", given) == expected


BAD = [
    ("", "--seeds wants seeds like 0..15 or 0,3,7, got ''"),
    ("0,,1", "--seeds wants seeds like 0..15 or 0,3,7, got ''"),
    ("0-3", "got '0-3'"),
    ("1...3", "got '1...3'"),
    ("..3", "got '..3'"),
    ("²", "got '²'"),
    ("9" * 5000, "--seeds wants seeds like"),
    ("3..1", "--seeds: the range 3..1 is empty, its first seed comes last"),
    ("0,-1", "--seeds must be at least 0, got -1"),
    ("1..-3", "--seeds must be at least 0, got -3"),
    ("0..3,2", "--seeds has 2 twice"),
    ("1,1", "--seeds has 1 twice"),
    ("0..10000", "--seeds must be at most 10,000 seeds, got 10,001"),
    ("0..999999999999", "at most 10,000 seeds"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_bad_seeds_are_one_line(given, message):
    with pytest.raises(UserError) as raised:
        values.seeds("--seeds", [given])
    assert message in str(raised.value) and "\n" not in str(raised.value) and len(str(raised.value)) < 120


def test_bad_input_starts_nothing(capsys, tmp_path):
    root = tmp_path / "runs"
    for flags, message in (
        (["--seeds", "3..1"], "is empty"),
        (["--seeds", "-1"], "must be at least 0, got -1"),
        (["--seeds=-2..1"], "must be at least 0, got -2"),
        (["--seeds", "0..1", "--seed", "0"], "--seed and --seeds cannot be given together"),
        (["--seeds", "0..1", "--jobs", "0"], "--jobs must be at least 1, got 0"),
        (["--seed", "1", "--jobs", "2"], "--jobs is for several --seeds"),
        (["--seeds", "0..1", "--agent", "lfcs"], "did you mean lf-cs"),
        (["--seeds", "0..1", "--set", "rule.tauf=3"], "did you mean rule.tau_f"),
    ):
        err, out = failing(capsys, "train", "toys:Guess-v0", "--run-dir", root, *flags)
        assert message in err and out == ""
    assert not root.exists()


def test_the_number_side_by_side_is_that_of_the_cores_for_the_threads(monkeypatch):
    monkeypatch.setattr(many, "cores", lambda: 6)
    assert [many.fitting(None, threads) for threads in (1, 2, 4, 16)] == [6, 3, 1, 1] and many.fitting(3, 2) == 3


def test_a_seed_among_many_is_as_if_it_ran_alone_and_is_kept(capsys, tmp_path):
    root, alone = tmp_path / "many", tmp_path / "alone"
    command = ["train", "toys:Guess-v0", "--seeds", "1,3..4", "--jobs", "2", "--run-dir", str(root), *QUICK]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    for seed in (1, 3, 4):
        single = ["--seed", str(seed), "--run-dir", str(alone / str(seed))]
        assert cli.main(["train", "toys:Guess-v0", *single, *QUICK]) == 0
        assert outcome(root / f"lf-cs_seed{seed}") == outcome(alone / str(seed))
    lines = re.findall(r"^seed (\d+): greedy (-?[\d.]+) ± [\d.]+, sampled .*, (\d+) s  \[(\d)/3\]$", out, re.M)
    assert sorted(line[0] for line in lines) == ["1", "3", "4"] and [line[3] for line in lines] == ["1", "2", "3"]
    scores = np.array([lfcs.resume(root / f"lf-cs_seed{seed}").summary["mean_return"] for seed in (1, 3, 4)])
    assert f"3 seeds: final greedy return median {np.median(scores):.2f}, IQM {scores.mean():.2f} [" in out
    assert f"lfcs watch {root}" in out and "lfcs report" in out

    capsys.readouterr()
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*.*")}
    (root / "lf-cs_seed3/summary.json").unlink()  # as if cut after its last checkpoint
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert "2 of 3 runs are finished already" in out and re.findall(r"^seed (\d)", out, re.M) == ["3"]
    assert {p.parent for p in root.rglob("*.*") if before.get(p) != p.stat().st_mtime_ns} == {root / "lf-cs_seed3"}
    assert outcome(root / "lf-cs_seed3") == outcome(alone / "3")

    err, out = failing(capsys, *command, "rule.replays=2")
    assert "lf-cs_seed1 holds a run with other settings" in err and out == ""
    err, _ = failing(capsys, "train", "toys:Guess-v0", "--seeds", "0..1", "--run-dir", root / "lf-cs_seed1", *QUICK)
    assert "lf-cs_seed1 holds a run: choose another directory" in err


def breaking(**seeds):
    """Return the environment variable with which runs of these seeds break so."""
    return {"TOY_BREAKS": " ".join(f"{how}:{stream_seed(seed, 'environments')}" for how, seed in seeds.items())}


def test_a_seed_that_fails_is_named_and_loses_no_other(capsys, tmp_path, monkeypatch):
    argv = ["train", "toys:Fragile-v0", "--seeds", "1..3", "--jobs", "2", "--run-dir", tmp_path, *QUICK]
    with monkeypatch.context() as broken:
        for name, value in breaking(exits=1, raises=2).items():
            broken.setenv(name, value)
        err, out = failing(capsys, *argv)
    assert "2 of 3 runs failed: seeds 1, 2; the same command tries again what failed" in err
    assert "seed 1 failed: its process died with exit status 3" in out and "ValueError: ow; its traceback is in" in out
    assert "1 seed: final greedy return median" in out
    assert cli.main([str(a) for a in argv]) == 0
    assert "1 of 3 runs are finished already" in capsys.readouterr().out


def test_a_run_that_diverges_is_named_and_counted(capsys, tmp_path):
    argv = ["train", "toys:Guess-v0", "--agent", "wild:Wild", "--seeds", "3..3", "--run-dir", tmp_path, *QUICK]
    for _ in range(2):  # run, and then read
        err, out = failing(capsys, *argv)
        assert "1 of 1 runs diverged: seed 3" in err and "1 seed: final greedy return" in out


@pytest.fixture
def start():
    """Give what starts the command line as a group of processes of its own, which does not outlive the test."""
    groups = []

    def begin(argv, **environment):
        given = {"cwd": Path(__file__).parent, "env": os.environ | environment, "text": True, "start_new_session": True}
        process = subprocess.Popen(MAIN + argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **given)
        groups.append(process.pid)
        return process

    yield begin
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def wait_for(process, ready):
    """Wait until something is so, while a process goes on."""
    while not ready():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def gone(group, seconds=60):
    """Wait until no process of a group is left; return whether that came."""
    for _ in range(seconds * 10):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("way", ["the terminal's", "a signal to the first", "killed"])
def test_stopping_leaves_checkpoints_and_no_process_and_the_same_command_goes_on(capsys, tmp_path, start, way):
    longer = [
        "--steps",
        "2000",
        *QUICK[2:],
        "rule.replays=1500",
        "train.eval_every=100000",
        "train.checkpoint_every=100000",
    ]
    argv = ["train", "toys:Guess-v0", "--seeds", "0..2", "--jobs", "2", "--run-dir", str(tmp_path), *longer]
    files = [tmp_path / f"lf-cs_seed{seed}/metrics.csv" for seed in (0, 1)]
    process = start(argv)
    wait_for(process, lambda: all(file.exists() and len(file.read_text().splitlines()) > 4 for file in files))
    if way == "the terminal's":
        os.killpg(process.pid, signal.SIGINT)
    else:
        os.kill(process.pid, signal.SIGKILL if way == "killed" else signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert gone(process.pid) and "Traceback" not in err, err
    if way != "killed":
        assert process.returncode == 130
        assert err.splitlines()[-1] == "lfcs: stopped with 0 of 3 runs finished; the same command goes on"
    for file in files:
        newest = max((file.parent / "checkpoints").glob("step_*.npz"))
        assert 0 < int(newest.stem.removeprefix("step_")) < int(longer[1])
    assert not (tmp_path / "lf-cs_seed2").exists()  # had not begun

    if way == "the terminal's":
        assert cli.main(argv) == 0
        assert "3 to run, 2 of them from a checkpoint, 2 side by side" in capsys.readouterr().out
        assert cli.main(["train", "toys:Guess-v0", "--seed", "1", "--run-dir", str(tmp_path / "alone"), *longer]) == 0
        assert outcome(tmp_path / "lf-cs_seed1") == outcome(tmp_path / "alone")


def test_pressed_twice_it_stops_at_once(tmp_path, start):
    argv = ["train", "toys:Fragile-v0", "--seeds", "0,1", "--jobs", "2", "--run-dir", str(tmp_path), *QUICK]
    process = start(argv, **breaking(hangs=1))
    wait_for(process, lambda: (tmp_path / "lf-cs_seed0/summary.json").exists())
    time.sleep(2)  # the other hangs by now
    os.kill(process.pid, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert gone(process.pid) and process.returncode == 130 and "Traceback" not in err, err
    assert err.splitlines()[-1] == "lfcs: stopped with 1 of 2 runs finished; the same command goes on"


def test_whatever_fails_here_no_process_is_left(tmp_path):
    settings = {"network.neurons": 8, "train.num_envs": 2, "rule.window": 10, "rule.tau_s": 10}
    configs = [build_config("toys:Guess-v0", steps=steps, seed=steps, overrides=settings) for steps in (20, 100_000)]

    def told(index, found):
        raise BrokenPipeError("standard output is gone")

    with pytest.raises(BrokenPipeError):
        many.Processes(many.prepare(configs, tmp_path, 2), 2).finish([0, 1], told)
    assert not multiprocessing.active_children() and (tmp_path / "lf-cs_seed20/summary.json").exists()


def test_an_experiment_script_takes_seeds(tmp_path):
    script = Path(cli.__file__).parent.parent / "experiments/cartpole.py"
    argv = [sys.executable, str(script), "--seeds", "0..1", "--steps", "100", *QUICK[2:]]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(script.parent.parent), *sys.path])}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tuned settings of experiments/cartpole.py") == 1
    runs = sorted(path.name for path in (tmp_path / "runs/seeds/cartpole").iterdir())
    assert runs == ["lf-cs_seed0", "lf-cs_seed1"]  # where the table of all seeds has them too
