"""The table of ``python -m lfcs.study.standings``: what each task ended with, beside the best published figures."""

from __future__ import annotations

import csv
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from lfcs import experiments
from lfcs.study.stats import TOLD as INTERVAL
from lfcs.study.stats import in_words
from lfcs.study.tables import markdown

MARKS = "<!-- standings: written by python -m lfcs.study.standings -->\n", "<!-- end of standings -->\n"
HEADER = (
    "task", "rule", "seeds", "steps", "greedy: IQM [95 %], median", "sampled: IQM [95 %], median",
    "steps to threshold", "spikes per neuron and tick", "seconds",
)  # fmt: skip
TOLD = textwrap.fill(
    "Final policy over 100 episodes on fresh seeds: interquartile mean over seeds, in brackets its "
    f"{INTERVAL}, median. "
    "*Steps to threshold*: the first evaluation from which the greedy policy stays at or above the threshold to the "
    "end, median over seeds, and how many seeds get there; a seed that does not counts as infinitely long. Seconds are "
    "of learning, one run, with others beside it. No seed here was tuned on.",
    120,
)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a run ended with. ``steps_to_threshold`` is infinite where it is never kept, NaN where there is none."""

    task: str
    agent: str
    seed: int
    steps: int
    greedy: float
    sampled: float
    firing_rate: float  # spikes per neuron and tick at the end
    seconds: float
    steps_to_threshold: float
    diverged: str


KINDS = {"task": str, "agent": str, "seed": int, "steps": int, "diverged": str}


def read_standings(path: Path) -> list[Standing]:
    """Return the rows of a standings.csv, none where there is none."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [Standing(**{key: KINDS.get(key, float)(text) for key, text in row.items()}) for row in rows]


def write_standings(path: Path, rows: Sequence[Standing]) -> None:
    """Write rows as CSV."""
    with open(path, "w", newline="") as file:
        out = csv.DictWriter(file, [f.name for f in fields(Standing)])
        out.writeheader()
        for row in rows:
            out.writerow({k: f"{v:.7g}" if isinstance(v, float) else v for k, v in asdict(row).items()})


def aggregate(scores: Sequence[float]) -> str:
    """Return an interquartile mean with its interval, and the median."""
    found = np.array(scores)
    return f"{in_words(found, '.4g')}, {np.median(found):.4g}"


def reached(rows: Sequence[Standing]) -> str:
    """Return the median of the steps to the threshold and how many seeds get there."""
    steps = [row.steps_to_threshold for row in rows]
    if any(math.isnan(step) for step in steps):
        return ""
    middle = float(np.median(np.array(steps)))
    there = sum(math.isfinite(step) for step in steps)
    return f"{f'{middle:,.0f}' if math.isfinite(middle) else 'not kept'} ({there} of {len(steps)})"


def body(rows: Sequence[Standing]) -> list[list[str]]:
    """Return the rows of the table, one for each task and rule."""
    out = []
    for task, agent in dict.fromkeys((row.task, row.agent) for row in rows):
        of = [row for row in rows if (row.task, row.agent) == (task, agent)]
        seconds, rate = (float(np.median([getattr(row, key) for row in of])) for key in ("seconds", "firing_rate"))
        cells = [aggregate([row.greedy for row in of]), aggregate([row.sampled for row in of]), reached(of)]
        out.append([task, agent, str(len(of)), f"{of[0].steps:,}", *cells, f"{rate:.3f}", f"{seconds:,.0f}"])
    return out


def figure(found: Mapping[str, Any] | None) -> str:
    """Return a published figure in words."""
    if found is None:
        return "none known here"
    return f"{found['score']:g} after {found['steps']}: {found['of']} ({found['source']})"


def beside(rows: Sequence[Standing], published: Mapping[str, Any]) -> list[list[str]]:
    """Return the published figures of the tasks, a row for each."""
    out = []
    for task in dict.fromkeys(row.task for row in rows):
        env = (experiments.find(task) or {"env": task})["env"]
        of = published.get(env, {})
        threshold = f"{of['threshold']:g}" if "threshold" in of else ""
        out.append([task, env, threshold, figure(of.get("spiking")), figure(of.get("other"))])
    return out


def section(rows: Sequence[Standing], published: Mapping[str, Any]) -> str:
    """Return the section of the page."""
    lines = ["## Every task beside the best published figures", "", "```sh", "make results", "```", "", TOLD, ""]
    lines += [*markdown(HEADER, body(rows)), ""]
    header = ["task", "environment", "threshold", "best published, spiking", "other"]
    lines += [*markdown(header, beside(rows, published)), "", "Raw data: [standings.csv](standings.csv).", ""]
    return "\n".join(lines)


def write_table(path: Path, rows: Sequence[Standing], published: Mapping[str, Any]) -> None:
    """Put the section between the marks of a page, or at its end where there are none."""
    page = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    begin, end = MARKS
    if begin not in page or end not in page:
        page = f"{page.rstrip()}\n\n{begin}{end}"
    before, _, rest = page.partition(begin)
    path.write_text(before + begin + section(rows, published) + end + rest.partition(end)[2], encoding="utf-8")
