"""How fast a device learns: environment steps per second of CartPole, learning included, for thousands at a time.

    lfcs bench --device cuda [--quick] [--out FILE]

A figure is the median over the repeats of a window each, with the smallest and the largest beside it. Environments are
tensors on the device. On a GPU their number grows until the memory is full.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from lfcs.configure import build_config
from lfcs.run import make_trainer
from lfcs.study.benchmark import spread, table
from lfcs.study.measure import seconds
from lfcs.trainer import set_device

ENV = "CartPole-v1"
COUNTS = 256, 1024, 4096
MORE = 16384, 65536, 262144  # where there is a GPU, as far as its memory goes


def learning(device: str, envs: int, neurons: int, window: int, repeats: int, threads: int) -> dict[str, float]:
    """Return environment steps per second of whole learning, the shares of acting and learning, and MiB of a GPU."""
    settings = {
        "train.env_kind": "device", "train.num_envs": envs, "train.threads": threads, "network.neurons": neurons,
        "rule.window": window, "rule.tau_s": window, "rule.tau_f": 4,
    }  # fmt: skip
    config = build_config(ENV, steps=10**12, device=device, overrides=settings)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with closing(make_trainer(config)) as trainer:
        trainer.rollout.refresh(0)
        trainer.window()  # a window ends when its metrics have come: nothing is left to be done on the device
        rates = [envs * window / seconds(trainer.window) for _ in range(repeats)]
        acting = seconds(lambda: (trainer.rollout.collect(window), trainer.rollout.metrics()))
    found = spread("steps_per_s", rates) | {"acting_alone_steps_per_s": envs * window / acting}
    return found | ({"peak_MiB": torch.cuda.max_memory_allocated() / 2**20} if device == "cuda" else {})


def rows(device: str, quick: bool, threads: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield a row for each number of environments, until memory ends."""
    counts = (8, 32) if quick else COUNTS + (MORE if device == "cuda" else ())
    sizes = (16, 4, 2) if quick else (256, 64, 5)
    for envs in counts:
        try:
            yield f"{envs} environments", learning(device, envs, *sizes, threads)
        except torch.cuda.OutOfMemoryError:
            print(f"\n{envs} environments do not fit in the memory")
            return


def run(device: str, quick: bool, threads: int, out: Path | None) -> dict[str, Any]:
    """Measure; print a table; write JSON to ``out``. Raises UserError where there is no such device."""
    set_device(device, threads)
    name = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU, {threads} thread(s)"
    title = f"{ENV} on {name}, N={16 if quick else 256}, learning included: environment steps per second"
    found = dict(rows(device, quick, threads))
    print(table(title, found))
    result = {"device": name, title: found}
    if out:
        out.write_text(json.dumps(result, indent=2) + "\n")
        print(f"\nwritten to {out}")
    return result
