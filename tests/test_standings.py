"""Every task beside published figures: what is run, what is refused, and what the table says."""

from __future__ import annotations

import argparse
import math

import pytest
from test_experiments import TINY

from lfcs import experiments
from lfcs.agents import AGENTS
from lfcs.errors import UserError
from lfcs.study import standings
from lfcs.study import standings_table as table
from lfcs.study.standings_table import Standing

TASK = TINY | {"tuned_on": "7", "minutes": 0.5}


def run_of(seed, greedy=5.0, to=100.0, task="tiny", agent="lf-cs"):
    return Standing(
        task=task, agent=agent, seed=seed, steps=400, greedy=greedy, sampled=greedy - 1, firing_rate=0.1 + seed / 100,
        seconds=2.0, steps_to_threshold=to, diverged="no",
    )  # fmt: skip


@pytest.fixture
def here(monkeypatch, tmp_path):
    """Let there be one tiny task, with a threshold that every policy keeps."""
    real = experiments.literals

    def literals(name):
        made_up = {"SETTINGS": {"tiny": TASK}, "PUBLISHED": {"published": {TASK["env"]: {"threshold": 0.0}}}}
        return made_up.get(name) or real(name)

    monkeypatch.setattr(experiments, "literals", literals)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arguments(root, **changes):
    defaults = {"tasks": None, "agents": ["lf-cs"], "seeds": ["0..1"], "jobs": 2}
    return argparse.Namespace(**defaults | {"runs": root / "runs", "out": root / "out"} | changes)


def test_what_is_run_by_default():
    plan = standings.plan()
    assert set(plan["agents"]) <= set(AGENTS) and len(plan["seeds"]) == 10
    assert {"cartpole", "acrobot", "pong"} <= {task["name"] for task in standings.chosen(plan["tasks"])}
    for task in standings.chosen(None):
        standings.check_fresh(task, plan["seeds"])


def test_every_published_figure_has_a_source():
    for env, of in standings.published().items():
        assert math.isfinite(of["threshold"]), env
        for figure in (of.get("spiking"), of.get("other")):
            assert figure is None or (math.isfinite(figure["score"]) and figure["steps"] and figure["source"]), env


def test_the_threshold_is_reached_where_the_policy_stays_above_it():
    assert standings.steps_to(1.0, [(10, 0.0), (20, 2.0), (30, 0.5), (40, 1.0), (50, 3.0)]) == 40
    assert standings.steps_to(1.0, [(10, 1.0), (20, 2.0)]) == 10
    assert standings.steps_to(1.0, [(10, 9.0), (20, 0.5)]) == math.inf
    assert math.isnan(standings.steps_to(math.nan, [(10, 9.0)]))


def test_seeds_that_were_tuned_on_are_refused():
    standings.check_fresh(TASK, [0, 1])
    with pytest.raises(UserError, match="experiment tiny was tuned on seed 7: report others"):
        standings.check_fresh(TASK, [6, 7, 8])
    with pytest.raises(UserError, match="does not say which seeds it was tuned on: add tuned_on"):
        standings.check_fresh(TINY, [0])


def test_bad_input_is_said_before_any_run(here):
    for changes, message in (
        ({"tasks": ["tniy"]}, "no experiment 'tniy'; did you mean tiny"),
        ({"agents": ["lf-sc"]}, "lf-sc"),
        ({"seeds": ["7"]}, "was tuned on seed 7"),
        ({"seeds": ["1..0"]}, "the range 1..0 is empty"),
    ):
        with pytest.raises(UserError, match=message):
            standings.main(arguments(here, **changes))
    assert not list(here.iterdir())


def test_runs_are_kept_and_rows_of_other_tasks_stay(here, capsys):
    (here / "out").mkdir()
    table.write_standings(here / "out/standings.csv", [run_of(3, task="other"), run_of(9)])
    (here / "out/README.md").write_text("# Results\n\nBefore.\n\n" + "".join(table.MARKS) + "\nAfter.\n")
    standings.main(arguments(here))
    assert "1 tasks, 1 rules, 2 seeds: 2 runs; about 1 minutes" in capsys.readouterr().out
    rows = table.read_standings(here / "out/standings.csv")
    assert [(row.task, row.seed) for row in rows] == [("other", 3), ("tiny", 0), ("tiny", 1)]
    for row in rows[1:]:
        assert row.steps == 400 and row.seconds > 0 and 0 < row.firing_rate < 1 and row.diverged == "no"
        assert row.steps_to_threshold == 100, "every return is at least 0"
    page = (here / "out/README.md").read_text()
    assert page.startswith("# Results\n\nBefore.\n\n<!--") and page.endswith("-->\n\nAfter.\n")
    assert "| tiny | lf-cs | 2 | 400 | " in page and "| 100 (2 of 2) |" in page
    stamps = {path: path.stat().st_mtime_ns for path in (here / "runs").rglob("*")}
    standings.main(arguments(here))
    assert {path: path.stat().st_mtime_ns for path in (here / "runs").rglob("*")} == stamps
    assert (here / "out/README.md").read_text() == page


def test_rows_of_a_task_are_renewed_for_the_rules_that_ran():
    """One more rule, or one less, loses no row of another; seeds of a rule that ran are those that ran."""
    before = [run_of(0), run_of(1), run_of(0, agent="e-prop"), run_of(0, task="pong")]
    found = [run_of(5), run_of(0, agent="bptt-ppo")]
    rows = standings.renewed(before, found)
    assert rows == [before[2], *found, before[3]]
    assert standings.renewed(before, []) == before and standings.renewed([], found) == found


def test_what_is_written_is_read_again(tmp_path):
    rows = [run_of(0), run_of(1, to=math.inf, agent="e-prop")]
    table.write_standings(tmp_path / "standings.csv", rows)
    assert table.read_standings(tmp_path / "standings.csv") == rows and table.read_standings(tmp_path / "no.csv") == []


def test_the_table_says_what_the_numbers_say():
    rows = [run_of(seed, greedy=float(seed), to=100.0 * seed if seed < 3 else math.inf) for seed in range(4)]
    rows += [run_of(0, task="pong", to=math.inf), run_of(0, task="pong", agent="e-prop", to=math.nan)]
    first, second, third = table.body(rows)
    assert first[:4] == ["tiny", "lf-cs", "4", "400"] and first[4].startswith("1.5 [") and first[4].endswith("], 1.5")
    assert first[5].endswith(", 0.5") and first[6] == "150 (3 of 4)" and first[7:] == ["0.115", "2"]
    assert second[6] == "not kept (0 of 1)" and third[6] == ""
    (_, pong) = table.beside(rows, standings.published())
    assert pong[1:3] == ["Pong100-v0", "0.65"] and "0.65 after 245,000: lf-cs (arXiv:2402.10069" in pong[3]
    assert table.figure(None) == "none known here"
