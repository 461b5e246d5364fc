"""The first thing to run: train lf-cs and e-prop on one task and compare them with the untrained policy.

    python -m lfcs.study.first_run [ENV] [--seed S]

ENV is the name of an experiment (cartpole, acrobot, pong), a gymnasium id, or package.module:Id.
"""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import Any

from lfcs import experiments
from lfcs.config import Config
from lfcs.configure import build_config
from lfcs.errors import guarded
from lfcs.run import begin, complete, make_trainer


def untrained(config: Config) -> dict[str, float]:
    """Evaluate the policy before its first update."""
    with closing(make_trainer(config)) as trainer:
        found = trainer.evaluate("final evaluation", config.train.final_episodes)
    return {"mean_return": found["eval/mean_reward"], "std_return": found["eval/std_reward"]}


def compare(env: str, seed: int) -> None:
    """Train both agents for the same number of environment steps and print one table."""
    experiment = experiments.find(env)
    env = experiment["env"] if experiment else env
    rows: dict[str, dict[str, Any]] = {}
    for agent in ("e-prop", "lf-cs"):
        config = build_config(env, agent, seed=seed, experiment=experiment)
        if not rows:
            rows["untrained"] = untrained(config)
        print(f"{agent} on {config.env}, {config.steps:,} steps", flush=True)
        trainer = begin(config)
        rows[agent] = complete(trainer)
    episodes = config.train.final_episodes
    print(f"\n{config.env}: return of the greedy policy over {episodes} episodes, seed {seed}")
    print(f"{'policy':<10} {'steps':>8} {'updates':>8} {'mean':>8} {'std':>7} {'seconds':>8}")
    for name, row in rows.items():
        print(
            f"{name:<10} {row.get('env_steps', 0):>8,} {row.get('weight_updates', 0):>8,}"
            f" {row['mean_return']:>8.2f} {row['std_return']:>7.2f} {row.get('seconds', 0.0):>8.0f}"
        )
    print(f"\nrun directory: {trainer.run_dir}")
    print(f"next: .venv/bin/lfcs watch runs, or .venv/bin/lfcs report {trainer.run_dir}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("env", nargs="?", default="cartpole")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    raise SystemExit(guarded(compare, arguments.env, arguments.seed))
