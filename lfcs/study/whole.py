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
from lfcs.run import begin, complete, make_trainer
from lfcs.study.measure import seconds
from lfcs.trainer import Trainer

LEVELS = "scalars", "auto", "full"


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


def cost_of_watching(env: str, steps: int, settings: dict[str, Any], repeats: int) -> dict[str, dict[str, float]]:
    """Run ``env`` unwatched and at every level of ``train.watch``, alternating.

    Returns for each level the processor's seconds in all threads, evaluations and what is drawn included, the median of
    its ratio to the run before that was not watched, with the smallest and the largest, and how many pictures it drew.
    """
    import matplotlib.figure  # noqa: F401  where it is imported for the first time does not matter

    spent: dict[str, list[float]] = {level: [] for level in ("none", *LEVELS)}
    drawn = dict.fromkeys(LEVELS, 0)
    for number in range(repeats + 1):  # the first compiles
        for level in spent:
            with tempfile.TemporaryDirectory() as folder:
                config = build_config(env, steps=steps, overrides=settings | {"train.watch": level})
                trainer = begin(config, Path(folder) / "run", progress=False)
                before = time.process_time()  # what else the machine does is not counted
                complete(trainer)
                took = time.process_time() - before
                if level in drawn:
                    drawn[level] = pictures_in(Path(folder) / "run")
            if number:
                spent[level].append(took)
    ratios = {level: [a / b for a, b in zip(spent[level], spent["none"], strict=True)] for level in LEVELS}
    return {
        level: {"cpu_seconds": statistics.median(spent[level]), "ratio": statistics.median(found), "low": min(found)}
        | {"high": max(found), "pictures": float(drawn[level])}
        for level, found in ratios.items()
    }


def pictures_in(run_dir: Path) -> int:
    """Return how many pictures and videos TensorBoard is shown of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run_dir), {"images": 0}).Reload()
    return sum(len(found.Images(key)) for key in found.Tags()["images"])


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
