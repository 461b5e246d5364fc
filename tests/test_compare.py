"""Comparisons end to end; what the report says; figures in which everything can be seen."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from matplotlib import image
from test_jobs import TINY, Here, tiny
from test_results import row

from lfcs import checkpoint, cli
from lfcs.agents import AGENTS
from lfcs.errors import UserError
from lfcs.pictures import style
from lfcs.study import compare as comparison
from lfcs.study import figures, peers, report, tables
from lfcs.study.plan import Plan
from lfcs.study.results import read_rows
from lfcs.study.sources import load


def made_up():
    rows = [row("lf-cs", r, seed, 100.0 if r == 1 else 90.0) for r in (1, 16) for seed in range(4)]
    rows += [row("naive", 1, seed, 120.0) for seed in range(4)]
    return rows + [row("naive", 16, seed, 20.0, "lost what it had learned") for seed in range(4)]


def written(tmp_path, plan, rates, grid, rows):
    found = report.Comparison("tiny.json", "lfcs compare tiny.json --peers", plan, 7, rates, grid, rows)
    report.write_report(tmp_path / "report.md", found)
    return (tmp_path / "report.md").read_text()


def test_findings_say_what_the_numbers_say():
    text = "\n".join(report.findings(made_up(), "lf-cs"))
    assert "**lf-cs**: best at R = 1 (100); at R = 16 90, 10 (10.0 %) below its best; diverged: 0 of 8 runs" in text
    assert "**naive**: best at R = 1 (120); at R = 16 20, 100 (83.3 %) below its best; diverged: 4 of 8 runs" in text
    assert "medians: 100 sampled and 101 greedy at R = 1, 90 sampled and 91 greedy at R = 16." in text
    assert "At R = 1, naive ends higher than lf-cs, 120 against 100; probability that lf-cs ends higher: 0.00" in text
    assert "At R = 16, naive" not in text


def test_findings_are_against_the_baseline_whatever_its_name():
    text = "\n".join(report.findings(made_up(), "naive"))
    assert "At R = 16, lf-cs ends higher than naive, 90 against 20; probability that naive ends higher: 0.00" in text


def test_findings_hold_below_zero_for_any_number_of_passes_and_for_peers():
    rows = [row("a", r, 0, score) for r, score in ((1, 0.5), (64, -0.5))] + [row("b", 32, 0, 1.0)]
    first, second, third = report.findings([*rows, row("PPO", 1, 0, 2.0, "not judged")], "b")
    assert "at R = 64 -0.5, 1 below its best; diverged: 0 of 2 runs" in first  # no share of 0.5
    assert "**b**: 1 at R = 32; diverged: 0 of 1 runs" in second
    assert "**PPO**: 2 at R = 1; diverged: not judged; medians: 2 sampled" in third


def test_peers_are_met_at_every_evaluation():
    rows = [row("ours", 16, seed, score) for seed, score in enumerate((1.0, 5.0))]
    rows += [row("ours", 16, seed, 0.0, "", step=500) for seed in (0, 1)]
    rows += [row("PPO", 1, 0, score, step=step) for step, score in ((600, 0.5), (1100, 3.5))]  # 2.9 at 1,000
    rows.sort(key=lambda row: row.step)
    plan = tiny(agents={"ours": {"agent": "lf-cs"}}, peers=["PPO", "A2C"])
    assert report.against_peers(rows, plan) == [
        "- ours at R = 16 is ahead of PPO at 1 of 2 evaluations (means over seeds), not at 500."
    ]


def test_the_report_holds_every_agent_and_how_to_make_it_again(tmp_path):
    plan = tiny(rates=[0.01, 0.02], agents={"lf-cs": {}, "naive": {"agent": "naive-replay"}}, peers=["PPO"])
    rates = {("lf-cs", 1): 0.01, ("naive", 1): 0.01, ("naive", 16): 0.02}
    grid = [*made_up(), row("lf-cs", 1, 0, 7.0, learning_rate=0.02)]
    grid += [row("naive", r, 0, 130.0, learning_rate=0.02) for r in (1, 16)]
    peer = [row("PPO", 1, seed, 50.0, "not judged", learning_rate=None, kl=None) for seed in range(4)]
    text = written(tmp_path, plan, rates, grid, made_up() + peer)
    assert "\n    lfcs compare tiny.json --peers\n" in text and "over 7 fresh episodes" in text
    assert "\nSaid so.\n" in text and "Peers have their library's network" in text
    assert "| naive | 120 [120, 120] | 20 [20, 20] |" in text and "| naive | 0 of 4 | 4 of 4 |" in text
    assert "## Probability that lf-cs ends higher" in text
    assert "| naive | 0.00 [0.00, 0.42] | 1.00 [0.58, 1.00] |" in text
    assert "| naive | 16 | 1.6 | 0.9 | 3 |" in text  # seeds 0 to 3
    assert "| lf-cs | 1 | 2000 | 50 | 100 | 20 |" in text  # 2 s for 1,000 steps
    assert "| agent | R | 0.01 | 0.02 | picked |" in text and "| naive | 16 | 20 | 130 | 0.02, at the edge |" in text
    assert "| PPO | 50 [50, 50] |  |" in text and "| PPO |  |  |" in text  # not judged


def test_without_a_grid_the_report_says_whose_the_learning_rates_are(tmp_path):
    rows = [row("lf-cs", 1, 0, 1.0), row("e-prop", 1, 0, 2.0, learning_rate=0.03)]
    text = written(tmp_path, tiny(rates=[], agents=["lf-cs", "e-prop"], note=""), {}, [], rows)
    assert "Every agent's own" in text and "| e-prop | 1 | 0.03 |" in text
    assert "Peers" not in text and "\n\n\n" not in text


def test_the_table_of_probabilities_is_against_the_baseline():
    rows = made_up()
    assert tables.by_replays(rows, tables.better(rows, "naive"))[2:] == [
        "| lf-cs | 1.00 [0.58, 1.00] | 0.00 [0.00, 0.42] |",
        "| naive |  |  |",
    ]


def test_the_table_on_the_way_has_the_mean_of_every_evaluation():
    rows = [row("a", 1, seed, 10.0 * seed, "", step=500) for seed in (0, 1)]
    rows += [row("a", 1, seed, 30.0) for seed in (0, 1)] + [row("b", 4, 0, 7.0)]
    rows += [row("PPO", 1, 0, score, step=step) for step, score in ((400, 1.0), (1400, 11.0))]
    lines = tables.on_the_way(rows, "greedy_return")
    assert lines[:3] == ["| agent | R | 500 | 1,000 |", "|---|---|---|---|", "| a | 1 | 6 | 31 |"]
    assert lines[3:] == ["| b | 4 |  | 8 |", "| PPO | 1 | 3 | 8 |"]


def test_a_rate_at_the_edge_of_the_grid_is_called_so():
    rows = [row("a", 1, 0, score, learning_rate=rate) for rate, score in ((0.1, 1.0), (0.2, 3.0), (0.4, 2.0))]
    plan = tiny(rates=[0.1, 0.2, 0.4])
    assert tables.grid_scores(plan, {("a", 1): 0.2}, rows)[-1] == "| a | 1 | 1 | 3 | 2 | 0.2 |"
    assert tables.grid_scores(plan, {("a", 1): 0.4}, rows)[-1].endswith("| 0.4, at the edge |")


def pixels(path, colour):
    """Return how many pixels of the left two thirds of a picture, where no legend is, have a colour."""
    picture = image.imread(path)[:, :, :3]
    shown = picture[:, : 2 * picture.shape[1] // 3]
    return int((np.abs(shown - colour).max(-1) < 0.02).sum())


@pytest.mark.parametrize("evaluations", [1, 3])
def test_every_curve_can_be_seen_even_with_one_evaluation(tmp_path, evaluations):
    rows = [
        row(label, 4, seed, height + seed, "" if step < evaluations else "no", step=100 * step)
        for label, height in (("lf-cs", 1.0), ("naive-replay", 20.0), ("mine", 40.0))
        for seed in range(3)
        for step in range(1, evaluations + 1)
    ]
    figures.draw_all(tmp_path, rows)
    for name in ("curves", "replays", "divergence", "cost"):
        for label, colour in figures.colours_of(["lf-cs", "naive-replay", "mine"]).items():
            assert pixels(tmp_path / f"{name}.png", colour) > 10, (name, label)


def test_a_rule_has_the_same_colour_everywhere_and_no_two_share_one():
    some, others = figures.colours_of(["mine", "e-prop", "PPO"]), figures.colours_of(["PPO", "lf-cs", "e-prop"])
    assert some["e-prop"] == others["e-prop"] and some["PPO"] == others["PPO"]
    everything = [*AGENTS, "PPO", "RecurrentPPO", "mine", "yours", "theirs"]
    assert len(set(figures.colours_of(everything).values())) == len(everything)
    parts = [*load("cartpole-parts").agents]
    assert len(set(figures.colours_of(parts).values())) == len(parts)


def test_figures_of_runs_that_made_no_update_can_be_drawn(tmp_path):
    figures.draw_all(tmp_path, [row("a", 1, 0, 1.0, weight_updates=0), row("a", 4, 0, 1.0, weight_updates=99)])
    assert (tmp_path / "cost.png").stat().st_size > 5000


def test_figures_that_cannot_be_drawn_are_said_before_the_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(style.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="make install"):
        comparison.compare(tiny(), "tiny", tmp_path)
    assert not list(tmp_path.iterdir())


def test_peers_of_a_plan_must_exist(monkeypatch, tmp_path):
    monkeypatch.setattr(peers, "INSTALLED", True)
    peers.check_peers("CartPole-v1", ["PPO"])
    for plan in (tiny(), tiny(peers=["PP0"]), tiny(peers=["PPO"], experiment="acrobot")):
        with pytest.raises(UserError, match="no peers"):
            comparison.compare(plan, "tiny", tmp_path, peers=True)
    monkeypatch.setattr(peers, "INSTALLED", False)
    with pytest.raises(UserError, match="make peers"):
        comparison.compare(tiny(peers=["PPO"]), "tiny", tmp_path, peers=True)


def test_settings_that_do_not_fit_are_said_before_the_runs(tmp_path):
    plan = tiny(agents={"lf-cs": {}, "late": {"agent": "e-prop", "settings": {"rule.tau_f": 2}}})
    with pytest.raises(UserError, match="e-prop stands for"):
        comparison.compare(plan, "tiny", tmp_path, executor=Here())
    assert not list(tmp_path.iterdir())


def test_a_report_along_capacities(tmp_path):
    rows = [row("lf-cs", r, seed, 100.0 * r + c, capacity=c) for r in (1, 4) for c in (0, 16) for seed in range(3)]
    rows += [row("naive", 4, seed, 500.0 - 20 * c, capacity=c) for c in (0, 16) for seed in range(3)]
    agents = {"lf-cs": {}, "naive": {"agent": "naive-replay", "replays": [4]}}
    plan = tiny(rates=[], replays=[1, 4], capacities=[0, 16], agents=agents)
    found = report.Comparison("tiny.json", "lfcs compare tiny.json", plan, 7, {}, [], rows)
    report.write_report(tmp_path / "report.md", found)
    text = (tmp_path / "report.md").read_text()
    assert "R = 1:\n\n- **lf-cs**: best at C = 16 (116); diverged" in text
    assert "R = 4:\n\n- **lf-cs**: best at C = 16 (416)" in text
    assert "- **naive**: best at C = 0 (500); at C = 16 180, 320 (64.0 %) below its best" in text
    assert "- At C = 0, naive ends higher than lf-cs, 500 against 400" in text and "At C = 16, naive" not in text
    assert (
        "## Final return, R = 4\n\n| agent | C = 0 | C = 16 |" in text and "0 and 1 are the current one alone" in text
    )
    assert "| naive | 0.00 [0.00, 0.50] | 1.00 [0.50, 1.00] |" in text
    for view in report.views_of(found):
        figures.draw_all(tmp_path, view.rows, None, view.axis, view.suffix)
    for name in re.findall(r"\]\((\w+\.png)\)", text):
        assert (tmp_path / name).stat().st_size > 5000, name
    for label, colour in figures.colours_of(["lf-cs", "naive"]).items():
        assert pixels(tmp_path / "capacities_R4.png", colour) > 10, label


def test_capacities_are_compared_on_the_command_line(tmp_path, capsys):
    path, out = tmp_path / "tiny.json", tmp_path / "out"
    path.write_text(json.dumps(TINY | {"rates": [], "agents": {"lf-cs": {}}, "seeds": [1]}))
    assert cli.main(["compare", str(path), "--capacities", "1", "3", "--replays", "2", "--out", str(out)]) == 0
    last = {row.capacity: row for row in read_rows(out / "results.csv") if row.diverged}
    assert set(last) == {1, 3} and last[1].sampled_return != last[3].sampled_return
    assert "--capacities 1 3" in (out / "report.md").read_text() and (out / "capacities.png").exists()


def test_a_comparison_runs_is_cut_and_goes_on(tmp_path, capsys):
    path, out = tmp_path / "tiny.json", tmp_path / "out"
    path.write_text(json.dumps(TINY))
    assert cli.main(["compare", str(path), "--out", str(out), "--jobs", "2"]) == 0
    rows = read_rows(out / "results.csv")
    last = [row for row in rows if row.diverged]
    assert len(last) == 2 * (2 + 1 + 1) and all(row.step == 512 for row in last)
    assert all(row.kl >= 0 and 0 < row.ess <= 1 and row.entropy > 0 for row in rows)
    assert all(np.isfinite(row.sampled_return) and row.seconds > 0 for row in rows)
    assert [row.step for row in rows[:3]] == [256, 448, 512]
    assert "What was found" in (out / "report.md").read_text()
    assert Plan.from_dict(json.loads((out / "plan.json").read_text())) == tiny()
    finished = sorted((out / "runs").rglob("summary.json"))
    stamps = {p: p.stat().st_mtime_ns for p in finished}
    scores = {p: json.loads(p.read_text())["mean_return"] for p in finished}
    finished[0].unlink()  # as if cut before its last checkpoint
    checkpoint.latest(finished[0].parent / "checkpoints").unlink()
    assert cli.main(["compare", str(path), "--out", str(out)]) == 0
    assert {p for p in finished if p.stat().st_mtime_ns != stamps[p]} == {finished[0]}
    assert json.loads(finished[0].read_text())["mean_return"] == scores[finished[0]]


def test_rules_are_compared_on_an_environment_of_the_users(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    argv = ["compare", "toys:Guess-v0", "--agents", "lf-cs", "e-prop", "--replays", "1", "2", "--seeds", "2"]
    assert cli.main([*argv, "--steps", "600"]) == 0
    root = tmp_path / "runs/compare/toys-Guess-v0"
    last = [row for row in read_rows(root / "results.csv") if row.diverged]
    assert [(row.label, row.replays, row.seed) for row in last] == [
        (label, replays, seed) for seed in (10, 11) for label, replays in (("lf-cs", 1), ("lf-cs", 2), ("e-prop", 1))
    ]
    text = (root / "report.md").read_text()
    assert f"\n    lfcs {' '.join(argv)} --steps 600\n" in text
    assert "| e-prop | 1 | 0.005 |" in text and (root / "curves.png").stat().st_size > 5000
