"""Runs on disk: which there are below a folder, and a line on each. Reads settings and summaries, nothing heavy."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lfcs.errors import UserError


def runs_below(folder: Path) -> list[Path]:
    """Return the run directories of a folder, itself among them, by name. Raises UserError where there is none."""
    if not folder.is_dir():
        raise UserError(f"no directory {folder}: train something first")
    found = sorted(path.parent for path in folder.rglob("config.json"))
    if not found:
        raise UserError(f"{folder} holds no run: there is no config.json below it")
    return found


def runs_of(folders: Iterable[Path]) -> list[Path]:
    """Return the run directories of several folders, each once, in their order. Raises as :func:`runs_below`."""
    return list(dict.fromkeys(run for folder in folders for run in runs_below(folder)))


def read_json(path: Path) -> dict[str, Any]:
    """Return what a file of a run says. Raises UserError where it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path} is damaged") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged")
    return found


def steps_taken(run_dir: Path) -> int:
    """Return the environment steps at the newest checkpoint, 0 where there is none."""
    return max((int(path.stem.partition("_")[2]) for path in (run_dir / "checkpoints").glob("step_*.npz")), default=0)


def line(run_dir: Path) -> str:
    """Return what there is to say of a run. Raises UserError where its files are damaged."""
    config = read_json(run_dir / "config.json")
    what = f"{config.get('agent')} on {config.get('env')}, seed {config.get('seed')}"
    if not (run_dir / "summary.json").exists():
        return f"{what}, unfinished at {steps_taken(run_dir):,} of {config.get('steps', 0):,} steps"
    found = read_json(run_dir / "summary.json")
    ended = f", diverged: {found['diverged']}" if found.get("diverged") else ""
    scores = f"greedy {found['mean_return']:.4g}, sampled {found['mean_return_sampled']:.4g}"
    return f"{what}, {found['env_steps']:,} steps, {scores}{ended}"


def rows(folder: Path) -> list[tuple[str, str]]:
    """Return the runs below a folder, each with its line; one that cannot be read says so and hides no other."""
    out = []
    for run_dir in runs_below(folder):
        try:
            told = line(run_dir)
        except (UserError, KeyError, TypeError, ValueError) as error:
            told = str(error) if isinstance(error, UserError) else "holds something else than a run"
        out.append((str(run_dir), told))
    return out
