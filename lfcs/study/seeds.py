"""One task, several seeds and agents: the table of all seeds, the curves as CSV and, with matplotlib, as a picture.

    python -m lfcs.study.seeds cartpole --seeds 0 1 2 3 4

Runs go side by side in processes. Started again, finished runs are kept and cut ones continue.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lfcs import experiments
from lfcs.cli import guarded
from lfcs.config import Config
from lfcs.errors import UserError, nearest
from lfcs.monitor import read_metrics
from lfcs.run import build_config, load_config, make_trainer
from lfcs.study.figures import check_installed, draw_published
from lfcs.study.report import Rows, curves_of
from lfcs.study.stats import bootstrap_interval, iqm

RESULTS = Path(experiments.__file__).parent / "results"
CURVES = ("rollout/ep_rew_mean", "eval/mean_reward", "eval/mean_reward_sampled")


@contextmanager
def workers(number: int) -> Iterator[ProcessPoolExecutor]:
    """Give processes for runs side by side, one thread each; after an error, runs that have not begun are dropped.

    Raises UserError on a number below 1.
    """
    if number < 1:
        raise UserError(f"--jobs must be at least 1, got {number}")
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(number, spawn, initializer=torch.set_num_threads, initargs=(1,))
    try:  # not ``with pool``: its exit would take the cancelling back
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def finish(config: Config, run_dir: Path) -> dict[str, Any]:
    """Return the summary of a run: read it, or continue the run, or start it.

    Raises UserError if the directory holds a run with other settings.
    """
    if (run_dir / "config.json").exists() and load_config(run_dir) != config:
        raise UserError(f"{run_dir} holds a run with other settings: remove it or choose another directory")
    if (run_dir / "summary.json").exists():
        return json.loads((run_dir / "summary.json").read_text())
    trainer = make_trainer(config)
    if (run_dir / "config.json").exists():
        trainer.restore(run_dir)
    else:
        trainer.start(run_dir)
    return trainer.train(run_dir, progress=False)


def table(summaries: list[dict[str, Any]]) -> str:
    """Return the final evaluations as Markdown: a row per run, and the aggregate of each agent."""
    lines = [
        "| agent | seed | greedy | sampled | env steps | weight updates | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for s in summaries:
        lines.append(
            f"| {s['agent']} | {s['seed']} | {s['mean_return']:.2f} ± {s['std_return']:.2f} "
            f"| {s['mean_return_sampled']:.2f} ± {s['std_return_sampled']:.2f} "
            f"| {s['env_steps']:,} | {s['weight_updates']:,} | {s['seconds']:.0f} |"
        )
    for agent in dict.fromkeys(s["agent"] for s in summaries):
        cells = []
        for key in ("mean_return", "mean_return_sampled"):
            scores = np.array([s[key] for s in summaries if s["agent"] == agent])
            low, high = bootstrap_interval(scores)
            cells.append(f"median {np.median(scores):.2f}, IQM {iqm(scores):.2f} [{low:.2f}, {high:.2f}]")
        lines.append(f"| **{agent}** | all | {cells[0]} | {cells[1]} | | | |")
    return "\n".join(lines)


def write_curves(path: Path, runs: list[tuple[dict[str, Any], Path]]) -> None:
    """Write one row per run and evaluation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["agent", "seed", "step", *CURVES])
        for summary, run_dir in runs:
            for row in read_metrics(run_dir):
                if np.isfinite(row["eval/mean_reward"]):
                    out.writerow([summary["agent"], summary["seed"], row["step"], *(f"{row[k]:.4g}" for k in CURVES)])


def draw(curves: Path, picture: Path, title: str, published: Path) -> None:
    """Draw every seed thin and the mean thick, and published curves behind them where there are any."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with open(curves, newline="") as file:
        rows: Rows = [
            {"label": row["agent"], "replays": 1, "seed": row["seed"]}
            | {"step": float(row["step"]), "return": float(row[CURVES[2]])}
            for row in csv.DictReader(file)
        ]
    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for number, agent in enumerate(dict.fromkeys(row["label"] for row in rows)):
        steps, returns = curves_of(rows, agent, 1, "return")
        axes.plot(steps, returns.T, color=f"C{number}", linewidth=0.7, alpha=0.5)
        mean = returns.mean(axis=0)
        axes.plot(steps, mean, color=f"C{number}", linewidth=2, label=f"{agent}, mean of {len(returns)} seeds")
    if published.exists():
        draw_published(axes, published)
    axes.set(xlabel="environment steps", ylabel="mean return, sampled actions", title=title)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=130)


def run_experiment(
    experiment: dict[str, Any],
    agents: list[str],
    seeds: list[int],
    jobs: int,
    runs: Path,
    curves: Path,
    engine: str = "fused",
) -> None:
    """Run what is missing of an experiment, ``jobs`` side by side; print the table, write curves and picture."""
    check_installed()
    alone = {"train.env_workers": "0"}  # the runs already share the cores; results do not depend on workers
    configs = [
        build_config(experiment["env"], agent, seed=seed, engine=engine, overrides=alone, experiment=experiment)
        for agent in agents
        for seed in seeds
    ]
    run_dirs = [runs / experiment["name"] / f"{c.agent}_seed{c.seed}" for c in configs]
    with workers(jobs) as pool:
        summaries = list(pool.map(finish, configs, run_dirs))
    print(table(summaries))
    write_curves(curves, list(zip(summaries, run_dirs, strict=True)))
    published = RESULTS / f"{experiment['name']}_published.csv"
    draw(curves, curves.with_suffix(".png"), experiment["env"], published)
    print(f"\ncurves: {curves}, {curves.with_suffix('.png')}; TensorBoard: lfcs watch {runs / experiment['name']}")


def main(args: argparse.Namespace) -> None:
    """Run what is missing, then print the table and write curves and picture."""
    experiment = experiments.find(args.experiment)
    if experiment is None:
        raise UserError(f"no experiment {args.experiment!r}{nearest(args.experiment, ['cartpole', 'acrobot', 'pong'])}")
    curves = args.out / f"{experiment['name']}.csv"
    run_experiment(experiment, args.agents, args.seeds, args.jobs, args.runs, curves, args.engine)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("experiment", help="cartpole, acrobot or pong")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--agents", nargs="+", default=["lf-cs", "e-prop"])
    parser.add_argument("--engine", default="fused", help="fused, or snntorch, its slow witness")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--runs", type=Path, default=Path("runs/seeds"), help="where run directories go")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where curves and picture go")
    raise SystemExit(guarded(main, parser.parse_args()))
