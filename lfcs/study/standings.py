"""Every task beside the best published figures, on seeds that nothing was tuned on.

    python -m lfcs.study.standings [--tasks cartpole pong] [--agents lf-cs] [--seeds 1000..1004] [--jobs 2]

What is run stands in experiments/standings.py. Runs are kept: finished ones are not run again, cut ones continue. Rows
of tasks and rules that are not run this time stay in standings.csv and in the table.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lfcs import experiments
from lfcs.configure import build_config, find_agent
from lfcs.errors import UserError, guarded, nearest
from lfcs.monitor import read_metrics
from lfcs.run import read_summary
from lfcs.study import many, values
from lfcs.study.compare import RESULTS
from lfcs.study.standings_table import Standing, read_standings, write_standings, write_table

ROOT = Path("runs/standings")  # where run directories go by default
EPISODES = 100  # of the final policy
LATE = 10  # last windows, of which the firing rate is the mean


def plan() -> dict[str, Any]:
    """Return what is run unless it is said otherwise."""
    (found,) = experiments.literals("STANDINGS").values()
    return found


def published() -> dict[str, Any]:
    """Return the published figures by environment."""
    (found,) = experiments.literals("PUBLISHED").values()
    return found


def chosen(names: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return the experiments of these names, all without names. Raises UserError on an unknown one."""
    known = {found["name"]: found for found in experiments.literals("SETTINGS").values()}
    for name in names or ():
        if name not in known:
            raise UserError(f"no experiment {name!r}{nearest(name, known)}; known: {', '.join(known)}")
    return [known[name] for name in names or known]


def check_fresh(experiment: dict[str, Any], seeds: Sequence[int]) -> None:
    """Raise UserError where an experiment was tuned on one of the seeds, or does not say on which it was."""
    name = experiment["name"]
    if "tuned_on" not in experiment:
        raise UserError(f"experiment {name} does not say which seeds it was tuned on: add tuned_on to its SETTINGS")
    if both := sorted(set(values.seeds("tuned_on", [experiment["tuned_on"]])) & set(seeds)):
        raise UserError(f"experiment {name} was tuned on {many.named([str(seed) for seed in both])}: report others")


def steps_to(threshold: float, evaluations: Sequence[tuple[int, float]]) -> float:
    """Return the step of the first evaluation from which all returns, to the end, are at least ``threshold``.

    Infinite where the last is below it, NaN where there is no threshold.
    """
    first = math.nan if math.isnan(threshold) else math.inf
    for step, value in reversed(evaluations):
        if not value >= threshold:
            break
        first = step
    return first


def standing(experiment: dict[str, Any], run_dir: Path) -> Standing:
    """Return what a finished run ended with."""
    summary, windows = read_summary(run_dir), read_metrics(run_dir)
    threshold = published().get(experiment["env"], {}).get("threshold", math.nan)
    last = int(summary["env_steps"])
    way = [(row["step"], row["eval/mean_reward"]) for row in windows if row["step"] < last]
    course = [(step, value) for step, value in way if math.isfinite(value)]
    return Standing(
        task=experiment["name"],
        agent=summary["agent"],
        seed=summary["seed"],
        steps=last,
        greedy=summary["mean_return"],
        sampled=summary["mean_return_sampled"],
        firing_rate=float(np.mean([row["spikes/rate_mean"] for row in windows[-LATE:]])),
        seconds=summary["seconds"],
        steps_to_threshold=steps_to(threshold, [*course, (last, summary["mean_return"])]),
        diverged=summary["diverged"] or "no",
    )


def run_task(
    experiment: dict[str, Any], agents: Sequence[str], seeds: Sequence[int], jobs: int | None, root: Path
) -> list[Standing]:
    """Run what is missing of a task; return all of it. Raises UserError where runs fail, Interrupted on Ctrl-C."""
    # the runs already share the cores
    fixed = {"train.env_workers": "0", "train.watch": "scalars", "train.final_episodes": EPISODES}
    configs = [
        build_config(experiment["env"], agent, seed=seed, overrides=fixed, experiment=experiment)
        for agent in agents
        for seed in seeds
    ]
    runs = many.prepare(configs, root / experiment["name"], jobs)
    outcomes = many.finish_all(runs, jobs)
    if any(of.summary is None for of in outcomes):
        many.judge(runs, outcomes)
    return [standing(experiment, run_dir) for _, run_dir in runs]


def introduce(tasks: Sequence[dict[str, Any]], agents: Sequence[str], seeds: Sequence[int], jobs: int | None) -> None:
    """Say what is going to be run and what it will take."""
    each = len(agents) * len(seeds)
    minutes = sum(each * task.get("minutes", math.nan) for task in tasks) / many.fitting(jobs, 1)
    took = f"about {max(1, math.ceil(minutes)):,} minutes" if math.isfinite(minutes) else "a task does not say how long"
    print(f"{len(tasks)} tasks, {len(agents)} rules, {len(seeds)} seeds: {each * len(tasks)} runs; {took}", end=" ")
    print("if none is finished and every rule takes the time of the first", flush=True)


def renewed(rows: Sequence[Standing], found: Sequence[Standing]) -> list[Standing]:
    """Return rows with those found in place of the ones of the same task and rule; a task's rows are together."""
    again = {(row.task, row.agent) for row in found}
    new = [row for row in rows if (row.task, row.agent) not in again] + list(found)
    tasks = list(dict.fromkeys(row.task for row in [*rows, *found]))
    return sorted(new, key=lambda row: tasks.index(row.task))


def main(args: argparse.Namespace) -> None:
    """Run what is missing, task by task; write standings.csv and the table after each of them."""
    wanted = plan()
    tasks, agents = chosen(args.tasks or wanted["tasks"]), args.agents or wanted["agents"]
    seeds = values.seeds("--seeds", args.seeds) if args.seeds else wanted["seeds"]
    for agent in agents:
        find_agent(agent)
    for task in tasks:
        check_fresh(task, seeds)
    introduce(tasks, agents, seeds, args.jobs)
    failed = []
    for task in tasks:
        print(f"\n{task['name']}: {task['env']}, {task['steps']:,} steps", flush=True)
        try:
            found = run_task(task, agents, seeds, args.jobs, args.runs)
        except many.Interrupted:
            raise
        except UserError as error:  # the other tasks go on
            print(error)
            failed.append(f"{task['name']}: {error}")
            continue
        args.out.mkdir(parents=True, exist_ok=True)
        rows = renewed(read_standings(args.out / "standings.csv"), found)
        write_standings(args.out / "standings.csv", rows)
        write_table(args.out / "README.md", rows, published())
    print(f"\n{args.out / 'standings.csv'} and the table in {args.out / 'README.md'}")
    if failed:
        raise UserError("; ".join(failed))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", nargs="+", help="names of experiments (default: those of experiments/standings.py)")
    parser.add_argument("--agents", nargs="+", help="learning rules")
    parser.add_argument("--seeds", nargs="+", help="0..15, 0,3,7 or 0..3,8; none that a task was tuned on")
    parser.add_argument("--jobs", type=int, help="runs side by side (default: as many as there are cores)")
    parser.add_argument("--runs", type=Path, default=ROOT, help="where run directories go")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where standings.csv and README.md are")
    raise SystemExit(guarded(main, parser.parse_args()))
