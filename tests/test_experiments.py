"""The scripts behind `make run` and the tables, on tiny settings."""

from __future__ import annotations

import argparse
import ast
import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lfcs import experiments
from lfcs.configure import build_config
from lfcs.errors import Interrupted, UserError, guarded
from lfcs.study import first_run, seeds
from lfcs.study.jobs import finish

TINY = {
    "name": "tiny", "env": "toys:Guess-v0", "agent": "lf-cs", "steps": 400,
    "settings": {
        "network.neurons": 8, "train.num_envs": 2, "rule.window": 10, "rule.tau_s": 10,
        "train.final_episodes": 3, "train.eval_every": 100, "train.eval_episodes": 2,
    },
    "agents": {},
}  # fmt: skip


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    monkeypatch.setattr(experiments, "find", lambda env: TINY if env == "tiny" else None)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.chdir(tmp_path)


def arguments(tmp_path, **changes):
    defaults = {"experiment": "tiny", "seeds": ["0..1"], "agents": ["lf-cs", "e-prop"], "jobs": 2, "engine": "fused"}
    return argparse.Namespace(**defaults | {"runs": tmp_path / "runs", "out": tmp_path / "out"} | changes)


def test_the_first_run_prints_the_comparison(tiny, capsys):
    first_run.compare("tiny", seed=0)
    out = capsys.readouterr().out
    steps = {m[1]: m[2] for m in re.finditer(r"^(untrained|e-prop|lf-cs) +(\d+) +\d+ +-?\d+\.\d+", out, re.M)}
    assert steps == {"untrained": "0", "e-prop": "400", "lf-cs": "400"}
    run_dir = re.search(r"run directory: (\S+)", out)[1]
    assert Path(run_dir, "summary.json").exists() and "lfcs watch" in out


def test_seeds_make_table_curves_and_picture_and_keep_finished_runs(tiny, capsys, tmp_path):
    seeds.main(arguments(tmp_path))
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 4 + 2
    with open(tmp_path / "out" / "tiny.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(r["agent"], r["seed"]) for r in rows} == {(a, s) for a in ("lf-cs", "e-prop") for s in "01"}
    assert (tmp_path / "out" / "tiny.png").stat().st_size > 5000
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("*.json")}
    (tmp_path / "runs/tiny/lf-cs_seed1/summary.json").unlink()  # as if cut after its last checkpoint
    seeds.main(arguments(tmp_path))
    again = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert again == table
    assert {p for p in before if p.stat().st_mtime_ns != before[p]} == {tmp_path / "runs/tiny/lf-cs_seed1/summary.json"}
    changed = build_config("toys:Guess-v0", overrides={"agent.eps": 0.3}, experiment=TINY)
    with pytest.raises(UserError, match="holds a run with other settings"):
        finish(changed, tmp_path / "runs/tiny/lf-cs_seed0")
    with pytest.raises(UserError, match="no experiment 'tniy'"):
        seeds.main(arguments(tmp_path, experiment="tniy"))
    with pytest.raises(UserError, match="--jobs must be at least 1, got 0"):
        seeds.main(arguments(tmp_path, jobs=0))


def test_a_run_that_stopped_early_is_drawn_with_its_last_return(tmp_path):
    curves = tmp_path / "curves.csv"
    rows = [f"lf-cs,{seed},{step},,,{step + seed}" for seed, steps in ((0, (10, 20, 30)), (1, (10,))) for step in steps]
    curves.write_text("\n".join([",".join(["agent", "seed", "step", *seeds.CURVES]), *rows]))
    seeds.draw(curves, tmp_path / "curves.png", "", tmp_path / "none")
    assert (tmp_path / "curves.png").stat().st_size > 5000


def test_ctrl_c_on_the_command_line_checkpoints_and_says_how_to_resume(tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-c", "import sys, lfcs.cli; sys.exit(lfcs.cli.main(sys.argv[1:]))"]
    argv = ["train", "toys:Guess-v0", "--steps", "1000000", "--run-dir", str(run)]
    argv += ["--set", "network.neurons=8", "train.num_envs=2", "rule.window=10", "rule.tau_s=10"]
    process = subprocess.Popen(
        command + argv, cwd=Path(__file__).parent, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    while not (run / "metrics.csv").exists() or len((run / "metrics.csv").read_text().splitlines()) < 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    message = err.splitlines()[-1]
    step = int(re.match(rf"lfcs: stopped at step (\d+); continue with: lfcs resume {run}$", message)[1])
    assert (run / "checkpoints" / f"step_{step:012d}.npz").exists() and "Traceback" not in err


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [
        (None, 0, ""),
        (UserError("no such thing"), 1, "lfcs: error: no such thing\n"),
        (OSError("disk full"), 1, "lfcs: error: disk full\n"),
        (Interrupted("stopped at step 3"), 130, "lfcs: stopped at step 3\n"),
        (KeyboardInterrupt(), 130, "lfcs: interrupted\n"),
    ],
)
def test_a_script_ends_with_one_line_and_a_status(raised, status, message, capsys):
    def main(args):
        if raised:
            raise raised

    assert guarded(main, argparse.Namespace()) == status
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("script", "argv"), [("seeds", ["tniy"]), ("figure1", ["--jobs", "0"]), ("first_run", ["x:Y"])]
)
def test_the_scripts_can_be_started(script, argv, tmp_path):
    command = [sys.executable, "-m", f"lfcs.study.{script}", *argv]
    root = str(Path(seeds.__file__).parents[2])
    ended = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True)
    assert ended.returncode == 1 and ended.stderr.startswith("lfcs: error: ") and ended.stderr.count("\n") == 1


def test_a_study_does_not_know_the_command_line():
    for path in Path(seeds.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", ()) if isinstance(alias, ast.alias)] + [
                getattr(node, "module", None)
            ]
            assert "cli" not in names and "lfcs.cli" not in names, path
