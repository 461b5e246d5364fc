"""Runs of a comparison: planned from literal settings, run side by side, kept when finished and resumed when cut."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lfcs import experiments
from lfcs.config import Config, settings
from lfcs.errors import Diverged, UserError
from lfcs.monitor import read_metrics
from lfcs.run import build_config
from lfcs.study.figures import check_installed, draw_all
from lfcs.study.peers import INSTALLED, PEERS, finish_peer
from lfcs.study.plan import load, numbers_of_replays, tuned_at
from lfcs.study.report import write_report
from lfcs.study.seeds import RESULTS, finish, workers
from lfcs.study.stats import iqm

COLUMNS = (
    "label", "replays", "seed", "learning_rate", "step", "seconds", "weight_updates", "training_return",
    "greedy_return", "sampled_return", "kl", "ess", "entropy", "diverged",
)  # fmt: skip
BAR = "{desc}: {percentage:3.0f}% |{bar}| {elapsed} < {remaining} {postfix}"


@dataclass(frozen=True)
class Job:
    """One run."""

    label: str
    replays: int
    seed: int
    rate: float
    config: Config
    run_dir: Path

    @property
    def cost(self) -> float:
        """Expected work, for the progress display: a pass over the experience costs about as much as living it."""
        return self.config.steps * (1 + self.replays)


def make_job(plan: dict[str, Any], root: Path, label: str, replays: int, seed: int, rate: float, steps: int) -> Job:
    """Return a run of a comparison. Raises UserError on settings that do not fit."""
    experiment = experiments.find(plan["experiment"])
    if experiment is None:
        raise UserError(f"no experiment {plan['experiment']!r}")
    of_label = plan["agents"][label]
    tuned = {key: field.default for key, field in settings().items()} | experiment["settings"]
    share = tuned["rule.lr_hidden"] / tuned["rule.lr_readout"]
    overrides = {"train.env_workers": "0", "rule.replays": replays} | plan["settings"] | of_label.get("settings", {})
    overrides |= {"rule.lr_readout": rate, "rule.lr_hidden": rate * share}
    config = build_config(experiment["env"], of_label["agent"], steps, seed, overrides=overrides, experiment=experiment)
    name = f"{re.sub('[^A-Za-z0-9.]+', '-', label)}_R{replays}_lr{rate:g}_seed{seed}"
    return Job(label, replays, seed, rate, config, root / "runs" / name)


def grid(plan: dict[str, Any], root: Path) -> list[Job]:
    """Return the runs from which learning rates are picked."""
    return [
        make_job(plan, root, label, replays, seed, rate, plan["grid_steps"])
        for label in plan["agents"]
        for replays in sorted({tuned_at(plan, r) for r in numbers_of_replays(plan, label)})
        for rate in plan["rates"]
        for seed in plan["grid_seeds"]
    ]


def pick(jobs: list[Job], results: dict[Job, dict[str, Any]]) -> dict[tuple[str, int], float]:
    """Return the learning rate of each label and number of replays of the grid.

    It is the one with the highest interquartile mean of the final sampled return.
    """
    scores: dict[tuple[str, int], dict[float, list[float]]] = {}
    for job in jobs:
        of_rate = scores.setdefault((job.label, job.replays), {})
        of_rate.setdefault(job.rate, []).append(results[job]["mean_return_sampled"])
    return {key: max(of, key=lambda rate: float(iqm(np.array(of[rate])))) for key, of in scores.items()}


def reported(plan: dict[str, Any], root: Path, rates: dict[tuple[str, int], float]) -> list[Job]:
    """Return the runs that are reported."""
    return [
        make_job(plan, root, label, replays, seed, rates[label, tuned_at(plan, replays)], plan["steps"])
        for seed in plan["seeds"]  # the outer loop, so that what is cut short holds whole seeds
        for label in plan["agents"]
        for replays in numbers_of_replays(plan, label)
    ]


def run_job(config: Config, run_dir: Path) -> dict[str, Any]:
    """Return the summary of a run; one that stopped because it diverged has one too."""
    try:
        return finish(config, run_dir)
    except Diverged:
        return json.loads((run_dir / "summary.json").read_text())


def run_all(jobs: list[Job], processes: int, title: str) -> dict[Job, dict[str, Any]]:
    """Run what is missing, ``processes`` at a time, under one progress display; return all summaries."""
    results = {}
    with (
        workers(processes) as pool,
        tqdm(total=sum(job.cost for job in jobs), desc=title, unit="", bar_format=BAR) as bar,
    ):
        futures = {pool.submit(run_job, job.config, job.run_dir): job for job in jobs}
        for future in as_completed(futures):
            results[futures[future]] = future.result()
            bar.set_postfix_str(f"{len(results)}/{len(jobs)} runs", refresh=False)
            bar.update(futures[future].cost)
    return {job: results[job] for job in jobs}


def check_peers(plan: dict[str, Any]) -> None:
    """Raise UserError where the plan's peers are not installed or have no settings for its environment."""
    experiment = experiments.find(plan["experiment"])
    if not INSTALLED:
        raise UserError("peers need the extra 'peers': make peers")
    known = PEERS.get(experiment["env"], {}) if experiment else {}
    if not plan["peers"] or set(plan["peers"]) - set(known):
        raise UserError(f"no peers {plan['peers']} for {plan['experiment']!r}; known: {', '.join(known) or 'none'}")


def run_peers(plan: dict[str, Any], root: Path, processes: int) -> dict[tuple[str, int], list[dict[str, float]]]:
    """Train the plan's peers on its environment and seeds, ``processes`` at a time; return their evaluations."""
    experiment = experiments.find(plan["experiment"])
    env = experiment["env"] if experiment else ""
    every = build_config(env, overrides=plan["settings"], experiment=experiment).train.eval_every
    wanted = [(peer, seed) for seed in plan["seeds"] for peer in plan["peers"]]
    with workers(processes) as pool:
        runs = [
            pool.submit(finish_peer, peer, env, seed, plan["steps"], every, root / "runs" / f"{peer}_seed{seed}")
            for peer, seed in wanted
        ]
        return {key: run.result() for key, run in tqdm(list(zip(wanted, runs, strict=True)), desc="peers")}


def rows_of(job: Job, summary: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Yield a row of results for each evaluation of a run; the last is of the final policy.

    KL(reference || new), effective sample size and entropy are of the window's last pass; in the last row they are
    medians over windows, NaN where a run stopped in its first.
    """
    shared = {"label": job.label, "replays": job.replays, "seed": job.seed, "learning_rate": job.rate}
    windows = read_metrics(job.run_dir)
    for row in windows:
        if np.isfinite(row["eval/mean_reward"]) and row["step"] < job.config.steps:
            yield shared | {
                "step": row["step"],
                "seconds": row["time/seconds"],
                "weight_updates": row["train/weight_updates"],
                "training_return": row["rollout/ep_rew_mean"],
                "greedy_return": row["eval/mean_reward"],
                "sampled_return": row["eval/mean_reward_sampled"],
                "kl": row["train/approx_kl"],
                "ess": row["train/ess"],
                "entropy": row["train/entropy"],
                "diverged": "",
            }
    typical = {
        key: float(np.median([row[key] for row in windows])) if windows else math.nan
        for key in ("train/approx_kl", "train/ess", "train/entropy")
    }
    yield shared | {
        "step": min(summary["env_steps"], job.config.steps),
        "seconds": summary["seconds"],
        "weight_updates": summary["weight_updates"],
        "training_return": "",
        "greedy_return": summary["mean_return"],
        "sampled_return": summary["mean_return_sampled"],
        "kl": typical["train/approx_kl"],
        "ess": typical["train/ess"],
        "entropy": typical["train/entropy"],
        "diverged": summary["diverged"] or "no",
    }


def write_results(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one row per run and evaluation."""
    with open(path, "w", newline="") as file:
        out = csv.DictWriter(file, COLUMNS)
        out.writeheader()
        for row in rows:
            out.writerow({k: f"{v:.7g}" if isinstance(v, float) else v for k, v in row.items()})


def compare(name: str, processes: int, out: Path | None, peers: bool) -> None:
    """Run a comparison from where it stands; write results.csv, report.md and the figures."""
    given, (name, plan) = name, load(name)
    check_installed()
    if peers:  # before hours of runs
        check_peers(plan)
    root = out or Path("runs/compare") / name
    tuning = grid(plan, root)
    tuned = run_all(tuning, processes, "learning rates")
    rates = pick(tuning, tuned)
    jobs = reported(plan, root, rates)
    results = run_all(jobs, processes, "comparison")
    rows = [row for job in jobs for row in rows_of(job, results[job])]
    if peers:
        for (peer, seed), found in run_peers(plan, root, processes).items():
            shared = {"label": peer, "replays": 1, "seed": seed, "learning_rate": "", "training_return": ""}
            rows += [shared | row | {"diverged": "not judged" if row is found[-1] else ""} for row in found]
    write_results(root / "results.csv", rows)
    grid_rows = [row for job in tuning for row in rows_of(job, tuned[job])]
    write_report(root / "report.md", given, plan, jobs[0].config.train.final_episodes, rates, grid_rows, rows)
    draw_all(root, rows, RESULTS / f"{plan['experiment']}_published.csv")
    print(f"\n{root / 'report.md'}, results.csv and figures; TensorBoard: lfcs watch {root / 'runs'}")
