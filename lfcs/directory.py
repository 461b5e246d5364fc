"""Runs on disk: which there are below a folder, and a line on each. Reads settings and summaries, nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lfcs import checkpoint
from lfcs.config import SECTIONS
from lfcs.errors import UserError, brief

# what config.json holds: the settings, and what stands beside them
SETTINGS: dict[str, type] = {"env": str, "agent": str, "steps": int, "seed": int, "device": str, "engine": str}
SETTINGS |= dict.fromkeys(("env_kwargs", "options", *SECTIONS), dict)
NOTES: dict[str, type] = {"environments": str, "versions": dict, "notes": dict, "steps_before": list}
NUMBERS = (
    "mean_return", "std_return", "mean_return_sampled", "std_return_sampled", "seconds", "evaluation_seconds",
)  # fmt: skip
MOST = 1 << 63  # of any whole number
COUNTS = "seed", "episodes", "env_steps", "weight_updates"


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


def read_settings(run_dir: Path) -> dict[str, Any]:
    """Return what a run's ``config.json`` says. Raises UserError where there is none, or it is not complete."""
    path = run_dir / "config.json"
    try:
        found = checkpoint.read_sealed(path)
    except FileNotFoundError:
        raise UserError(f"{run_dir} holds no run: config.json is missing") from None
    known = SETTINGS | NOTES
    for key in SETTINGS:
        if key not in found:
            raise UserError(f"{path} is not the settings of a run: {key} is missing")
    for key, value in found.items():
        if key not in known:
            raise UserError(f"{path} is not the settings of a run: it has an unknown {key!r}")
        if type(value) is not known[key]:
            raise UserError(f"{path} is not the settings of a run: {key} is no {known[key].__name__}")
    before = found.get("steps_before", [])
    if not all(type(steps) is int and 0 < steps < MOST for steps in before):
        raise UserError(f"{path} is not the settings of a run: steps_before wants whole numbers")
    return found


def read_summary(run_dir: Path) -> dict[str, Any]:
    """Read the summary of a finished run. Raises UserError on a damaged one."""
    path = run_dir / "summary.json"
    try:
        found = checkpoint.read_sealed(path)
        _check_summary(found)
    except FileNotFoundError:
        raise UserError(f"{run_dir} has no summary.json: the run is not finished") from None
    except UserError as error:
        raise UserError(f"{error}; {path} is damaged: remove it, and resuming writes it again") from None
    found.pop("metrics_digest", None)  # of the file beside it
    return found


def _check_summary(found: dict[str, Any]) -> None:
    """Raise UserError unless a summary has what every summary has; callbacks may have added more."""
    kinds: dict[str, tuple[type, ...]] = {"env": (str,), "agent": (str,)}
    kinds |= {"stopped": (str, type(None)), "diverged": (str, type(None))}
    kinds |= dict.fromkeys(NUMBERS, (float, int)) | dict.fromkeys(COUNTS, (int,))
    for key, allowed in kinds.items():
        if key not in found:
            raise UserError(f"{key} is missing")
        value = found[key]
        if type(value) not in allowed or (type(value) is int and not -MOST < value < MOST):
            raise UserError(f"{key} is {brief(value)}")
        if key in COUNTS and value < 0:
            raise UserError(f"{key} is {brief(value)}")


def line(run_dir: Path) -> str:
    """Return what there is to say of a run. Raises UserError where its files are damaged."""
    config = read_settings(run_dir)
    what = f"{config['agent']} on {config['env']}, seed {config['seed']}"
    if not (run_dir / "summary.json").exists():
        taken = checkpoint.steps_taken(run_dir / "checkpoints")
        return f"{what}, unfinished at {taken:,} of {config['steps']:,} steps"
    found = read_summary(run_dir)
    ended = f", diverged: {found['diverged']}" if found["diverged"] else ""
    scores = f"greedy {found['mean_return']:.4g}, sampled {found['mean_return_sampled']:.4g}"
    return f"{what}, {found['env_steps']:,} steps, {scores}{ended}"


def rows(folder: Path) -> list[tuple[str, str]]:
    """Return the runs below a folder, each with its line; one that cannot be read says so and hides no other."""
    out = []
    for run_dir in runs_below(folder):
        try:
            told = line(run_dir)
        except UserError as error:
            told = str(error)
        out.append((str(run_dir), told))
    return out
