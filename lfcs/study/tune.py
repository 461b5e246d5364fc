"""A search for settings from its first trial to its report: shared by processes and machines, kept, and continued."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lfcs import lock
from lfcs.checkpoint import read_json
from lfcs.errors import Interrupted, UserError
from lfcs.run import make_trainer
from lfcs.study.jobs import check_number
from lfcs.study.many import Outcome, Processes
from lfcs.study.search import Search
from lfcs.study.trials import check_installed, counted, evaluations, line_up, open_study, rescue, work
from lfcs.study.tuned import write_all
from lfcs.study.values import file_name

ROOT = Path("runs/tune")  # where a search goes by default


def tune(search: Search, left_out: list[str], trials: int, jobs: int, out: Path | None, command: str) -> None:
    """Try settings until there are so many trials, ``jobs`` side by side; write the script, the report, the picture.

    They go to ``out``, by default ``runs/tune/TASK``. Raises UserError on what cannot be tuned, Interrupted on Ctrl-C;
    the same again goes on.
    """
    check_installed()
    check_number(jobs)
    if trials < 1:
        raise UserError(f"--trials must be at least 1, got {trials}")
    root = out or ROOT / file_name(search.experiment.get("name", search.env))
    # what cannot be trained on is said before any process; others may begin here at the same moment
    with closing(make_trainer(search.base)), lock.held(root, lock.ORPHANS):
        _claim(search, root)
        study = open_study(root, evaluations(search))
        if not study.get_trials(deepcopy=False):
            line_up(study, search.start())
        rescued = rescue(study)
    _introduce(search, left_out, root, trials, jobs)
    ended = sum(trial.state.is_finished() for trial in counted(study))
    if ended or rescued:
        print(f"{ended} trials have ended already" + (f", {rescued} were cut and go on" if rescued else ""))
    outcomes: dict[int, Outcome] = {}
    processes = Processes([(search.to_json(), root, trials)] * jobs, jobs, work)
    processes.finish(range(jobs), outcomes.__setitem__)
    with lock.held(root, lock.ORPHANS):
        write_all(search, root, study, command, left_out)
    ended = sum(trial.state.is_finished() for trial in counted(study))
    if errors := {of.error for of in outcomes.values() if of.error}:
        raise UserError(f"{ended} of {trials} trials ended; {min(errors)}; the same command goes on")
    if processes.stopping:
        raise Interrupted(f"stopped with {ended} of {trials} trials ended; the same command goes on")


def _claim(search: Search, root: Path) -> None:
    """Write what is searched. Raises UserError where the directory holds another search."""
    path, base = root / "search.json", search.base.to_dict()
    wanted: dict[str, Any] = json.loads(json.dumps(asdict(search) | {"base": base}))
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(wanted, indent=2) + "\n")
        return
    try:
        kept = read_json(path)
        other = [key for key, value in wanted.items() if kept[key] != value]
    except (UserError, KeyError):
        raise UserError(f"{path} is damaged: remove the directory, or choose another with --out") from None
    if other:
        named = "settings to start from" if other == ["base"] else " and ".join(key for key in other if key != "base")
        raise UserError(f"{root} holds a search with other {named}: remove it, or choose another with --out")


def _introduce(search: Search, left_out: list[str], root: Path, trials: int, jobs: int) -> None:
    """Say what is going to be searched, and where."""
    seeds = ", ".join(map(str, search.seeds))
    where = f"the settings of experiments/{search.experiment['name']}.py" if search.experiment else "the defaults"
    print(f"tuning {search.agent} on {search.env}: {search.steps:,} steps, seeds {seeds}, from {where}")
    for key, form in search.ranges.items():
        print(f"  {key}: {form}")
    for why in left_out:
        print(f"  not {why}")
    if outside := search.outside():
        print(f"  outside the ranges, so that trial 0 has the nearest values: {', '.join(outside)}")
    print(f"{trials} trials, {jobs} side by side, in {root}; other machines may share it", flush=True)
