"""A world that changes: returns before, at and after each change, and how many steps it takes to recover.

    python -m lfcs.study.changing [EXPERIMENT] [--seeds 0..9] [--agents ...]

EXPERIMENT is changing_cartpole, exchanged_cartpole or reversing_chain, or another whose environment has ``points``
(:mod:`lfcs.envs.changing`). Every evaluation is in the world as it is at that moment of training, with sampled actions.
Safe to kill and start again. Writes NAME.csv, NAME.md and NAME.png.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from lfcs import experiments
from lfcs.configure import build_config
from lfcs.errors import UserError, guarded, nearest
from lfcs.monitor import read_metrics
from lfcs.pictures.style import check_installed, pyplot
from lfcs.study import many, values
from lfcs.study.figures import colours_of, draw_band
from lfcs.study.stats import TOLD, in_words, interval, iqm

AGENTS = ["lf-cs", "e-prop", "naive-replay", "bptt-ppo"]
RETURN = "eval/mean_reward_sampled"
RECOVERED = 0.9  # of the way from the return at a change back to that before the first change


@dataclass(frozen=True)
class Curve:
    """The evaluations of a run."""

    agent: str
    seed: int
    steps: np.ndarray  # [E] environment steps, over all environments
    returns: np.ndarray  # [E]


def changes_of(env: str, num_envs: int) -> list[int]:
    """Return the environment steps, over all environments, at which the world changes.

    Raises UserError where it does not.
    """
    points = gymnasium.spec(env).kwargs.get("points", ())
    if len(points) < 2:
        raise UserError(f"the world of {env} does not change: its environment has no points")
    return [num_envs * steps for steps, _ in points[1:]]


def around(curve: Curve, changes: Sequence[int]) -> np.ndarray:
    """Return for each change [C, 4]: the return before, at and after it, and the steps until it has recovered.

    Before is the last evaluation of the old world, at the first of the new one, after the last of the new one. A run
    has recovered with 90 % of the way from the return at the change back to that before the first change: in infinitely
    many steps where it does not before the next change, in 0 where nothing is missing. Raises UserError where there is
    no evaluation between two changes.
    """
    steps, returns, found, level = curve.steps, curve.returns, [], math.nan
    for begin, end in zip(changes, [*changes[1:], math.inf], strict=True):
        old, new = np.flatnonzero(steps < begin), np.flatnonzero((steps >= begin) & (steps < end))
        if not len(old) or not len(new):
            raise UserError(f"there is no evaluation on both sides of step {begin:,}: lower train.eval_every")
        before, at = returns[old[-1]], returns[new[0]]
        level = before if math.isnan(level) else level
        back = new[returns[new] >= at + RECOVERED * (level - at)]
        recovered = 0.0 if at >= level else float(steps[back[0]] - begin) if len(back) else math.inf
        found.append((before, at, returns[new[-1]], recovered))
    return np.array(found)


def curves_in(run_dir: Path, agent: str, seed: int) -> Curve:
    """Return the evaluations of a run."""
    rows = [row for row in read_metrics(run_dir) if np.isfinite(row[RETURN])]
    return Curve(agent, seed, np.array([row["step"] for row in rows]), np.array([row[RETURN] for row in rows]))


def cell(scores: np.ndarray) -> str:
    """Return an interquartile mean and its interval."""
    return in_words(scores, ".3g")


def table(curves: Sequence[Curve], changes: Sequence[int]) -> str:
    """Return the table as Markdown, a row for each rule and change; steps to recover are medians over seeds."""
    head = "| rule | seeds | change at step | before | at | after | steps to recover |"
    lines = [head, "|---" * 7 + "|"]
    for agent in dict.fromkeys(curve.agent for curve in curves):
        of_it = np.stack([around(curve, changes) for curve in curves if curve.agent == agent])
        for change, scores in zip(changes, of_it.transpose(1, 2, 0), strict=True):
            took = float(np.sort(scores[3])[len(scores[3]) // 2])  # an actual one: infinity has no mean
            steps = "not recovered" if math.isinf(took) else f"{took:,.0f}"
            cells = " | ".join(cell(row) for row in scores[:3])
            lines.append(f"| {agent} | {len(of_it)} | {change:,} | {cells} | {steps} |")
    return "\n".join(lines)


def draw(path: Path, curves: Sequence[Curve], changes: Sequence[int], title: str) -> None:
    """Draw interquartile means over seeds with their 95 % intervals, and a vertical line at each change."""
    agents = list(dict.fromkeys(curve.agent for curve in curves))
    figure, axis = pyplot().subplots(figsize=(8, 4.2), layout="constrained")
    for agent, colour in colours_of(agents).items():
        of_it = [curve for curve in curves if curve.agent == agent]
        length = min(len(curve.steps) for curve in of_it)  # a run that stopped early has fewer
        returns = np.stack([curve.returns[:length] for curve in of_it])
        bounds = [interval(column, rounds=1000) for column in returns.T]
        label = f"{agent} ({len(of_it)} seeds)"
        draw_band(axis, of_it[0].steps[:length], iqm(returns.T), bounds, colour, label)
    for change in changes:
        axis.axvline(
            change, color="black", linestyle=":", linewidth=1, label="change" if change == changes[0] else None
        )
    axis.set(xlabel="environment steps", ylabel="return in the world of now, sampled actions", title=title)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)
    pyplot().close(figure)


def write(path: Path, curves: Sequence[Curve]) -> None:
    """Write one row per run and evaluation."""
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["agent", "seed", "step", RETURN])
        for curve in curves:
            for step, found in zip(curve.steps, curve.returns, strict=True):
                out.writerow([curve.agent, curve.seed, step, f"{found:.4g}"])


def configs_of(experiment: dict[str, Any], agents: Sequence[str], seeds: Sequence[int], steps: int | None) -> list[Any]:
    """Return the settings of every run."""
    env, alone = experiment["env"], {"train.env_workers": "0"}
    return [
        build_config(env, agent, steps, seed, overrides=alone, experiment=experiment)
        for agent in agents
        for seed in seeds
    ]


def main(args: argparse.Namespace) -> None:
    """Run what is missing, then print the table, write curves and draw."""
    check_installed()
    experiment = experiments.find(args.experiment)
    if experiment is None:
        known = [settings["name"] for settings in experiments.literals("SETTINGS").values()]
        raise UserError(f"no experiment {args.experiment!r}{nearest(args.experiment, known)}")
    configs = configs_of(experiment, args.agents, values.seeds("--seeds", args.seeds), args.steps)
    steps, num_envs = configs[0].steps, configs[0].train.num_envs
    changes = [change for change in changes_of(experiment["env"], num_envs) if change < steps]
    name, out = experiment["name"], args.out
    runs = many.prepare(configs, args.runs / name, args.jobs)
    many.judge(runs, many.finish_all(runs, args.jobs))
    curves = [curves_in(run_dir, config.agent, config.seed) for config, run_dir in runs]
    text = table(curves, changes)
    out.mkdir(parents=True, exist_ok=True)
    write(out / f"{name}.csv", curves)
    (out / f"{name}.md").write_text(f"Interquartile mean over seeds, in brackets its {TOLD}.\n\n{text}\n")
    draw(out / f"{name}.png", curves, changes, experiment["env"])
    print(f"\n{text}\n\n{out / name}.csv, .md and .png; TensorBoard: lfcs watch {args.runs / name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("experiment", nargs="?", default="changing_cartpole")
    parser.add_argument("--seeds", nargs="+", default=["0..9"], help="0..15, 0,3,7 or 0..3,8")
    parser.add_argument("--agents", nargs="+", default=AGENTS)
    parser.add_argument("--steps", type=int, help="environment steps of a run, by default the experiment's")
    parser.add_argument("--jobs", type=int, help="runs side by side, by default as many as there are cores")
    parser.add_argument("--runs", type=Path, default=Path("runs/changing"), help="where run directories go")
    parser.add_argument("--out", type=Path, default=Path("runs/changing"), help="where table, curves and picture go")
    raise SystemExit(guarded(main, parser.parse_args()))
