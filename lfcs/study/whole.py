"""What the benchmark measures of a whole command, and how much of the time the work itself would need."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from lfcs import experiments
from lfcs.config import Config
from lfcs.configure import build_config
from lfcs.errors import UserError
from lfcs.run import make_trainer
from lfcs.study.measure import seconds
from lfcs.trainer import Trainer


def whole_command(repeats: int, *flags: str) -> dict[str, float]:
    """Run ``lfcs train cartpole`` as a process; return medians of its seconds, whole and in parts.

    The rest is the interpreter, the imports, and what is read from the cache of compiled code.
    """
    command = shutil.which("lfcs", path=Path(sys.executable).parent)
    if command is None:
        raise UserError("the benchmark times the command lfcs, which is not beside this Python: install the package")
    parts: dict[str, list[float]] = {"whole_s": [], "learning_s": [], "evaluation_s": []}
    for number in range(repeats + 1):  # the first fills the cache
        with tempfile.TemporaryDirectory() as folder:
            run_dir = Path(folder) / "run"
            argv = [command, "train", "cartpole", "--run-dir", str(run_dir), *flags]
            begun = time.perf_counter()
            subprocess.run(argv, check=True, capture_output=True)
            whole = time.perf_counter() - begun
            found = json.loads((run_dir / "summary.json").read_text())
        if number:
            for name, value in zip(parts, (whole, found["seconds"], found["evaluation_seconds"]), strict=True):
                parts[name].append(value)
    out = {name: statistics.median(values) for name, values in parts.items()}
    out["rest_s"] = out["whole_s"] - out["learning_s"] - out["evaluation_s"]
    return out | {"evaluation_share": out["evaluation_s"] / out["whole_s"]}


def necessary(config: Config, trainer: Trainer, rate: float) -> float:
    """Return the multiplications and additions of learning from an environment step: acting once and R passes.

    A step of the network is D·N products for the inputs and N²·rate additions for the spikes; the gradient as many, and
    those of the tail's ticks again; Adam some ten operations a weight. ``rate`` is that of spikes per tick.
    """
    inputs, n, rule = trainer.policy.encoder.size, config.network.neurons, config.rule
    ticks = config.network.ticks
    dense, sparse = 2.0 * inputs * n, ticks * n * n * rate
    again = 1.0 + min(rule.tail, rule.window) / (rule.tau_f * ticks)
    adam = 10.0 * (inputs + 1 + n) * n / (rule.tau_f * config.train.num_envs)
    past = 2.0 * (inputs + 1 + n) * n / rule.tau_f  # H_a x̄_a, once in a chunk
    one_pass = dense + sparse + again * (dense + sparse) + past + adam
    return dense + sparse + rule.replays * one_pass


def share_of_work(env: str, settings: dict[str, Any], script: bool, repeats: int) -> dict[str, float]:
    """Return how long the necessary work of an environment step takes at the rate of a large matrix product."""
    found = experiments.find(env) if script else None
    config = build_config(env, steps=10**9, overrides=settings | {"train.env_workers": "0"}, experiment=found)
    with closing(make_trainer(config)) as trainer:
        trainer.rollout.refresh(0)
        metrics = [trainer.window() for _ in range(3)][-1]
        steps = config.rule.window * config.train.num_envs
        spent = statistics.median(seconds(trainer.window) for _ in range(repeats)) / steps
        work = necessary(config, trainer, metrics["spikes/rate_mean"])
    big = torch.rand(1024, 1024)
    rate = 2 * 1024**3 / statistics.median(seconds(lambda: big @ big) for _ in range(repeats))
    ideal = work / rate
    return {"kflop": work / 1e3, "at_gemm_rate_us": 1e6 * ideal, "measured_us": 1e6 * spent, "share": ideal / spent}
