"""One task, several seeds and agents: the table of all seeds, the curves as CSV and, with matplotlib, as a picture.

    python -m lfcs.study.seeds cartpole --seeds 0..4

Runs go side by side in processes, those of ``lfcs train cartpole --seeds 0..4`` among them. Started again, finished
runs are kept and cut ones continue.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lfcs import experiments
from lfcs.configure import build_config
from lfcs.errors import UserError, guarded, nearest
from lfcs.monitor import read_metrics
from lfcs.pictures.style import check_installed, pyplot
from lfcs.study import many, values
from lfcs.study.compare import RESULTS
from lfcs.study.figures import colours_of, draw_published
from lfcs.study.results import Row, curves_of, labels_of

CURVES = ("rollout/ep_rew_mean", "eval/mean_reward", "eval/mean_reward_sampled")


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
            cells.append(many.aggregate(scores))
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


def read_curves(path: Path) -> list[Row]:
    """Return the evaluations that :func:`write_curves` wrote."""
    with open(path, newline="") as file:
        return [
            Row(
                label=row["agent"],
                replays=1,
                seed=int(row["seed"]),
                step=int(row["step"]),
                greedy_return=float(row[CURVES[1]] or "nan"),
                sampled_return=float(row[CURVES[2]]),
            )
            for row in csv.DictReader(file)
        ]


def draw(curves: Path, picture: Path, title: str, published: Path) -> None:
    """Draw every seed thin and the mean thick, and published curves behind them where there are any."""
    rows = read_curves(curves)
    figure, axes = pyplot().subplots(figsize=(7, 4.2), layout="constrained")
    for agent, colour in colours_of(labels_of(rows)).items():
        steps, returns = curves_of(rows, agent, 1)
        axes.plot(steps, returns.T, ".-", color=colour, linewidth=0.7, alpha=0.5, markersize=3)
        name = f"{agent}, mean of {len(returns)} seeds"
        axes.plot(steps, returns.mean(axis=0), "o-", color=colour, linewidth=2, markersize=4, label=name)
    if published.exists():
        draw_published(axes, published)
    axes.set(xlabel="environment steps", ylabel="mean return, sampled actions", title=title)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=130)
    pyplot().close(figure)


def run_experiment(
    experiment: dict[str, Any],
    agents: Sequence[str],
    seeds: Sequence[int],
    jobs: int,
    runs: Path,
    curves: Path,
    engine: str = "fused",
) -> None:
    """Run what is missing of an experiment, ``jobs`` side by side; print the table, write curves and picture."""
    check_installed()
    alone = {
        "train.env_workers": "0",
        "train.watch": "scalars",
    }  # the runs already share the cores; results do not depend on workers
    configs = [
        build_config(experiment["env"], agent, seed=seed, engine=engine, overrides=alone, experiment=experiment)
        for agent in agents
        for seed in seeds
    ]
    root = runs / experiment["name"]
    of_seeds = many.prepare(configs, root, jobs)
    outcomes = many.finish_all(of_seeds, jobs)
    many.judge(of_seeds, outcomes)
    summaries = [of.summary for of in outcomes if of.summary]
    print(table(summaries))
    write_curves(curves, list(zip(summaries, (run_dir for _, run_dir in of_seeds), strict=True)))
    published = RESULTS / f"{experiment['name']}_published.csv"
    draw(curves, curves.with_suffix(".png"), experiment["env"], published)
    print(f"\ncurves: {curves}, {curves.with_suffix('.png')}; TensorBoard: lfcs watch {root}")


def main(args: argparse.Namespace) -> None:
    """Run what is missing, then print the table and write curves and picture."""
    experiment = experiments.find(args.experiment)
    if experiment is None:
        known = [settings["name"] for settings in experiments.literals("SETTINGS").values()]
        raise UserError(f"no experiment {args.experiment!r}{nearest(args.experiment, known)}")
    curves = args.out / f"{experiment['name']}.csv"
    seeds = values.seeds("--seeds", args.seeds)
    run_experiment(experiment, args.agents, seeds, args.jobs, args.runs, curves, args.engine)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("experiment", help="cartpole, acrobot or pong")
    parser.add_argument("--seeds", nargs="+", default=["0..4"], help="0..15, 0,3,7 or 0..3,8")
    parser.add_argument("--agents", nargs="+", default=["lf-cs", "e-prop"])
    parser.add_argument("--engine", default="fused", help="fused, or snntorch, its slow witness")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--runs", type=Path, default=many.ROOT, help="where run directories go")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where curves and picture go")
    raise SystemExit(guarded(main, parser.parse_args()))
