"""Environment steps and seconds until a greedy mean of 475 on CartPole, of ours and of the peers in JAX.

    lfcs bench --to-threshold [--seeds N] [--out FILE]

The score is the mean return of 20 greedy episodes, looked at after every 2,048 environment steps or, where an update
takes more, after every update; looking is not in the seconds, and compiling has a column of its own. A run that has not
got there counts as infinitely long.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from lfcs import experiments
from lfcs.config import Config
from lfcs.configure import build_config
from lfcs.run import make_trainer
from lfcs.study import jax as peers_jax
from lfcs.study.against_jax import ENV, MISSING, makers
from lfcs.study.benchmark import table
from lfcs.study.measure import PLAIN
from lfcs.trainer import stream_seed

SCORE, EPISODES, EVERY = 475.0, 20, 2048
SPIKING_STEPS, PPO_STEPS = 50_000, 3_000_000  # the spiking runs' schedule ends there


class Learns(Protocol):
    """What is run until it can do it."""

    compile_s: float

    def step(self) -> int:
        """Run one update; return the environment steps that it took."""

    def greedy(self, episodes: int, seed: int = 0) -> float:
        """Return the mean return of greedy episodes."""


class Ours:
    """A run of ours with the settings of the experiment's script."""

    def __init__(self, config: Config) -> None:
        begun = time.perf_counter()
        with closing(make_trainer(config)) as first:  # whatever compiles, compiles here
            first.rollout.refresh(0)
            first.window()
        self.compile_s = time.perf_counter() - begun
        self.trainer = make_trainer(config)
        self.trainer.refresh()

    def step(self) -> int:
        """See :class:`Learns`."""
        before = self.trainer.env_steps
        self.trainer.window()
        return self.trainer.env_steps - before

    def greedy(self, episodes: int, seed: int = 0) -> float:
        """See :class:`Learns`."""
        return float(
            self.trainer.play(episodes, stream_seed(seed, "evaluation", self.trainer.env_steps), True)[0].mean()
        )


def until(run: Learns, most: int) -> tuple[float, float]:
    """Return environment steps and seconds until the score; both infinite if it takes more than ``most`` steps."""
    steps, spent, looked = 0, 0.0, 0
    while steps < most:
        begun = time.perf_counter()
        steps += run.step()
        spent += time.perf_counter() - begun
        if steps // EVERY > looked:
            looked = steps // EVERY
            if run.greedy(EPISODES, seed=looked) >= SCORE:
                return float(steps), spent
    return math.inf, math.inf


def contestants(seed: int) -> dict[str, tuple[Callable[[], Learns], int]]:
    """Return what makes each run, and the environment steps that it gets at most."""
    alone = {"train.env_workers": "0"}
    config = build_config(ENV, steps=SPIKING_STEPS, seed=seed, overrides=alone, experiment=experiments.find(ENV))
    out: dict[str, tuple[Callable[[], Learns], int]] = {"ours": (lambda: Ours(config), SPIKING_STEPS)}
    if peers_jax.INSTALLED:
        plain = build_config(
            ENV, steps=SPIKING_STEPS, seed=seed, overrides=alone | PLAIN, experiment=experiments.find(ENV)
        )
        for name, make in makers(plain).items():
            most = SPIKING_STEPS if name.endswith("lf-cs") else PPO_STEPS
            out[name] = partial(make, seed), most
    return out


def run(seeds: int, threads: int, out: Path | None) -> dict[str, Any]:
    """Run everything; print a table of medians with the smallest and the largest; write JSON to ``out``."""
    torch.set_num_threads(threads)
    if peers_jax.INSTALLED:
        peers_jax.set_threads(threads)
    else:
        print(MISSING)
    found: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(seeds):
        for name, (make, most) in contestants(seed).items():
            learner = make()
            found.setdefault(name, []).append((*until(learner, most), learner.compile_s))
            print(f"seed {seed}, {name}: {found[name][-1][0]:g} steps, {found[name][-1][1]:.3g} s", flush=True)
    rows: dict[str, dict[str, Any]] = {}
    for name, runs in found.items():
        steps, spent, compiling = ([run[column] for run in runs] for column in range(3))
        rows[name] = {
            "steps": f"{statistics.median(steps):g}",
            "steps, from to": f"{min(steps):g} to {max(steps):g}",
            "seconds": statistics.median(spent),
            "seconds, from to": f"{min(spent):.3g} to {max(spent):.3g}",
            "compile_s": statistics.median(compiling),
        }
    title = f"Until a greedy mean of {SCORE:g} on {ENV}: medians of {seeds} seed(s)"
    print(table(title, rows))
    result = {"threads": threads, "seeds": seeds, title: rows}
    if out:
        out.write_text(json.dumps(result, indent=2) + "\n")
        print(f"\nwritten to {out}")
    return result
