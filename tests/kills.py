"""Processes that are killed at some moment and go on: what tests of it share."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

MAIN = [sys.executable, "-c", "import sys; from lfcs.cli import console; console()"]
QUICK = ["network.neurons=8", "train.num_envs=2", "rule.window=10", "rule.tau_s=10", "train.final_episodes=3"]
QUICK += ["train.eval_every=100", "train.checkpoint_every=60"]


def start(argv, **environment):
    """Start the command line in a session of its own."""
    given = {"cwd": Path(__file__).parent, "env": os.environ | environment, "text": True, "start_new_session": True}
    return subprocess.Popen(MAIN + [str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **given)


def train(run_dir, *more, env="toys:Guess-v0", steps=400):
    """Return the command that trains a tiny run."""
    return ["train", env, "--run-dir", str(run_dir), "--steps", str(steps), "--set", *QUICK, *more]


def family(group):
    """Return the processes of a session that live; one that nobody has waited for does not."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(after[3]) == group and after[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def until(what, seconds=300.0):
    """Wait until something is so; return whether it came to be."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def rows(run_dir):
    """Return the rows of metrics.csv without what depends on the clock."""
    with open(run_dir / "metrics.csv", newline="") as file:
        return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in csv.DictReader(file)]


def steps(run_dir):
    """Return the steps of the rows that there are so far."""
    path = run_dir / "metrics.csv"
    return [line.split(",")[0] for line in path.read_text().splitlines()[1:]] if path.exists() else []


def arrays(run_dir):
    """Return every array of the newest checkpoint."""
    with np.load(max((run_dir / "checkpoints").glob("step_*.npz")), allow_pickle=False) as found:
        return {name: found[name].tobytes() for name in found.files if name not in ("tree", "seal")}


def points(run_dir):
    """Return the points of every curve that TensorBoard shows, without those of the clock."""
    found = EventAccumulator(str(run_dir), {"scalars": 0}).Reload()
    keys = [key for key in found.Tags()["scalars"] if not key.startswith("time/")]
    return {key: [(event.step, event.value) for event in found.Scalars(key)] for key in keys}


def outcome(run_dir):
    """Return all that a finished run leaves and that does not depend on the clock."""
    return rows(run_dir), arrays(run_dir), points(run_dir)
