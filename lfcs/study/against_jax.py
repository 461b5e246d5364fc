"""What the benchmark measures beside JAX, where the extra ``peers-jax`` is installed: the same work, alternately.

Whole learning on CartPole, with environments in JAX too, against ours with gymnasium's; and one update of a window.
Compiling is not in the times but in a column of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import torch

from lfcs import experiments
from lfcs.config import Config
from lfcs.configure import build_config
from lfcs.run import make_trainer
from lfcs.study import jax as peers_jax
from lfcs.study.measure import PLAIN, compare, learner_of, policy_of, seconds, window_of

if TYPE_CHECKING:
    from lfcs.study.jax.program import Program

Rows = dict[str, dict[str, Any]]
ENV = "CartPole-v1"
BLOCK = 16_384
MISSING = "JAX is measured where the extra 'peers-jax' is installed"


def makers(config: Config) -> dict[str, Callable[[int], Program]]:
    """Return what makes each peer on CartPole from a seed; the rule has the settings of ``config``."""
    from lfcs.study.jax.cartpole_rule import make_rule
    from lfcs.study.jax.ppo import make_ppo_gru, make_ppo_mlp

    return {
        "JAX lf-cs": lambda seed: make_rule(config, seed),
        "JAX PPO, MLP": make_ppo_mlp,
        "JAX PPO, GRU, 16 environments": lambda seed: make_ppo_gru(16, seed),
        "JAX PPO, GRU, 256 environments": lambda seed: make_ppo_gru(256, seed),
    }


def beside(config: Config, program: Program, repeats: int) -> dict[str, float]:
    """Learn alternately with ours, for as many environment steps; return microseconds a step and theirs / ours.

    At least ``BLOCK`` steps at a time: the first window after the other's finds the caches full of what is not its own.
    """
    window = config.rule.window * config.train.num_envs
    steps = math.lcm(window, program.steps)
    steps *= -(-BLOCK // steps)
    with closing(make_trainer(config)) as trainer:
        trainer.rollout.refresh(0)
        ours = lambda: [trainer.window() for _ in range(steps // window)]  # noqa: E731
        found = compare(ours, lambda: [program.step() for _ in range(steps // program.steps)], repeats)
    out = {"ours_us_per_step": 1e6 * found["ours_s"] / steps, "theirs_us_per_step": 1e6 * found["theirs_s"] / steps}
    return out | {key: found[key] for key in ("ratio", "low", "high")} | {"compile_s": program.compile_s}


def of_update(steps: int, neurons: int, batch: int, repeats: int) -> Rows:
    """One update of a window: ours against the same rule and against backpropagation through time, both in JAX."""
    from lfcs.study.jax.updates import bptt_update, rule_update

    mine = policy_of(neurons)
    traj, learner = window_of(mine, steps, batch), learner_of(mine, steps)
    peers = {
        "JAX lf-cs": rule_update(learner_of(policy_of(neurons), steps), traj),
        "JAX BPTT": bptt_update(policy_of(neurons), traj),
    }
    rows: Rows = {}
    for name, theirs in peers.items():
        first = seconds(theirs)
        found = compare(lambda: learner.learn(traj, 1.0), theirs, repeats)
        rows[f"{name}, T={steps}"] = found | {"first_call_s": first}
    return rows


def sections(quick: bool, repeats: int) -> Iterator[tuple[str, Rows]]:
    """Yield the tables, or print a line where there is no JAX."""
    if not peers_jax.INSTALLED:
        print(f"\n{MISSING}")
        return
    peers_jax.set_threads(torch.get_num_threads())
    alone: dict[str, Any] = PLAIN | {"train.env_workers": "0"}
    script = build_config(ENV, steps=10**9, overrides=alone, experiment=experiments.find(ENV))
    plain = build_config(ENV, steps=10**9, overrides=alone | {"network.neurons": 16 if quick else 128})
    rows = {f"JAX lf-cs, N={plain.network.neurons}": beside(plain, makers(plain)["JAX lf-cs"](0), repeats)}
    if not quick:
        n = script.network.neurons
        for name, make in makers(script).items():
            rows[f"{name}, beside ours of N={n}"] = beside(script, make(0), repeats)
    yield f"JAX, alternating with ours, {ENV}: microseconds per environment step, and theirs / ours", rows
    steps, neurons, batch = (20, 64, 4) if quick else (400, 512, 16)
    yield (
        f"JAX: one update of a window, N={neurons}, B={batch}: theirs / ours",
        of_update(steps, neurons, batch, repeats),
    )
