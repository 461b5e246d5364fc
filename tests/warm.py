"""A server of tiny runs for tests/test_kills.py: its children are born with everything imported and compiled.

It reads a directory and a form by the line, and answers with the number of the child and, when that has ended, with
how it did.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory

import toys  # noqa: F401

from lfcs import run
from lfcs.configure import build_config

BASE = {
    "network.neurons": 8, "train.num_envs": 2, "rule.window": 10, "rule.tau_s": 10, "rule.replays": 3,
    "train.final_episodes": 3, "train.eval_every": 100, "train.eval_episodes": 2, "train.checkpoint_every": 60,
    "train.watch": "scalars",
}  # fmt: skip
FORMS = {
    "window": {},
    "online": {"rule.form": "online", "rule.replays": 1, "rule.tau_f": 10, "rule.normalise": False},
    "replay": {"replay.capacity": 3, "replay.burn_in": 2},
    "workers": {"train.env_workers": 1},
}


def go(run_dir, form, steps=600):
    """Begin a run, or go on with it; with workers on environments that are not compiled."""
    run_dir = Path(run_dir)
    if (run_dir / "summary.json").exists():
        return
    if (run_dir / "config.json").exists():
        trainer = run.proceed(run_dir, progress=False)
    else:
        extra = {"agent.mask": "two-sided"} if form == "online" else {}
        config = build_config("toys:Guess-v0", steps=steps, overrides=BASE | FORMS[form] | extra)
        trainer = run.begin(config, run_dir, progress=False)
    run.complete(trainer)


def serve():
    """Serve until nobody asks any more."""
    for line in sys.stdin:
        run_dir, form = line.split()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                go(run_dir, form)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        for name in ("window", "online", "replay"):
            go(Path(folder) / name, name, 40)
    serve()
