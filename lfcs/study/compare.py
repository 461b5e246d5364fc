"""A comparison from its plan to its report: runs are kept when finished and resumed when cut."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lfcs import experiments, lock
from lfcs.configure import build_config
from lfcs.pictures.style import check_installed
from lfcs.study.figures import draw_all
from lfcs.study.jobs import check_room, run_all, run_jobs, workers
from lfcs.study.peers import check_peers, finish_peer
from lfcs.study.plan import Plan
from lfcs.study.report import Comparison, views_of, write_report
from lfcs.study.results import Row, peer_rows, rows_of, write_rows
from lfcs.study.schedule import grid, only_rate, pick, reported
from lfcs.study.sources import load
from lfcs.study.values import file_name

RESULTS = Path(experiments.__file__).parent / "results"


def compare(
    plan: Plan,
    name: str,
    out: Path | None = None,
    processes: int = 2,
    peers: bool = False,
    command: str | None = None,
    executor: Executor | None = None,
) -> list[Row]:
    """Run a comparison from where it stands; write results.csv, plan.json, report.md and the figures; return the rows.

    They go to ``out``, by default ``runs/compare/NAME``. ``peers`` adds the plan's. Runs go to ``executor``, by default
    so many ``processes``. ``command`` is said in the report. Raises UserError on a plan that cannot be run, on a place
    where its runs cannot be kept and where another process is at it; Interrupted on a signal, and the same goes on.
    """
    check_installed()
    if peers:
        check_peers(plan.env, plan.peers)
    root = out or Path("runs/compare") / file_name(Path(name).stem if name.endswith(".json") else name)
    first = reported(plan, root, only_rate(plan))  # settings that do not fit are said before hours of runs
    with lock.held(root):
        check_room([job.run_dir for job in [*first, *grid(plan, root)]])
        return _compare(plan, name, root, processes, peers, command, executor)


def _compare(
    plan: Plan, name: str, root: Path, processes: int, peers: bool, command: str | None, executor: Executor | None
) -> list[Row]:
    """See :func:`compare`; nobody else writes there now."""
    with workers(processes, executor) as pool:
        tuning = grid(plan, root)
        tuned = run_jobs(pool, tuning, "learning rates") if tuning else []
        rates = pick(tuning, tuned) if tuning else only_rate(plan)
        jobs = reported(plan, root, rates)
        summaries = run_jobs(pool, jobs, "comparison")
        rows = [row for job, summary in zip(jobs, summaries, strict=True) for row in rows_of(job, summary)]
        if peers:
            rows += run_peers(plan, root, pool)
    grid_rows = [row for job, summary in zip(tuning, tuned, strict=True) for row in rows_of(job, summary)]
    episodes = jobs[0].config.train.final_episodes
    write_rows(root / "results.csv", rows)
    (root / "plan.json").write_text(json.dumps(plan.to_dict(), indent=2) + "\n")
    made = Comparison(name, command or f"lfcs compare {name}", plan, episodes, rates, grid_rows, rows)
    write_report(root / "report.md", made)
    for view in views_of(made):
        draw_all(root, view.rows, RESULTS / f"{plan.experiment}_published.csv", view.axis, view.suffix)
    print(f"\n{root / 'report.md'}, results.csv and figures")
    print(f"next: lfcs report {root / 'runs'}, or lfcs watch {root / 'runs'}")
    return rows


def run_peers(plan: Plan, root: Path, executor: Executor) -> list[Row]:
    """Train the plan's peers on its environment and seeds; return their rows."""
    every = build_config(plan.env, overrides=plan.settings, experiment=plan.tuned).train.eval_every
    wanted = [(peer, seed) for seed in plan.seeds for peer in plan.peers]
    calls = [
        (peer, plan.env, seed, plan.steps, every, root / "runs" / f"{file_name(peer)}_seed{seed}")
        for peer, seed in wanted
    ]
    with tqdm(total=len(calls), desc="peers") as bar:
        found = run_all(executor, finish_peer, calls, lambda index: bar.update())
    return [row for (peer, seed), of in zip(wanted, found, strict=True) for row in peer_rows(peer, seed, of)]


def side_by_side(
    plan: str | Mapping[str, Any],
    *,
    agents: Sequence[str] | None = None,
    replays: Sequence[int] | None = None,
    capacities: Sequence[int] | None = None,
    seeds: int | Sequence[int] | None = None,
    steps: int | None = None,
    rates: Sequence[float] | None = None,
    settings: Mapping[str, Any] | None = None,
    peers: bool = False,
    jobs: int = 2,
    out: str | Path | None = None,
    executor: Executor | None = None,
) -> list[Row]:
    """Compare learning rules on the same experience; return the rows of ``results.csv``, one per evaluation.

    ``plan`` is an environment id, a built-in comparison, a JSON file, or a dictionary of the same form; what is given
    beside it overrides its fields: ``seeds`` are seeds or their number, ``rates`` the learning rates to pick from,
    ``capacities`` the numbers of windows kept.
    Report and figures go to ``out``, by default below ``runs/compare/``; runs, ``jobs`` of them side by side, go to
    ``executor``, by default processes. Started again, finished runs are kept. Raises UserError on a plan that cannot
    be run.
    """
    given: dict[str, Any] = {"agents": agents, "replays": replays, "capacities": capacities, "seeds": seeds}
    given |= {"steps": steps, "rates": rates, "settings": settings}
    flags = {k: list(v) if isinstance(v, Sequence) else v for k, v in given.items() if v is not None}
    name = plan if isinstance(plan, str) else str(plan.get("env", plan.get("experiment", "comparison")))
    made = load(plan, flags) if isinstance(plan, str) else Plan.from_dict({**plan, **flags})
    return compare(made, name, None if out is None else Path(out), jobs, peers, executor=executor)
