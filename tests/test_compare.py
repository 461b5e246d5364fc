"""Comparisons: what is run, what is picked, what the report says; cut short and started again."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from lfcs import checkpoint, cli
from lfcs.errors import UserError
from lfcs.experiments.compare_replay import COMPARISONS
from lfcs.study import compare as comparison
from lfcs.study import figures, report
from lfcs.study.plan import check

PLAN = {
    "experiment": "cartpole", "steps": 512, "replays": [1, 2], "seeds": [1, 2], "grid_seeds": [5], "grid_replays": [1],
    "grid_steps": 256, "rates": [0.001, 0.01], "peers": [], "note": "Said so.",
    "agents": {
        "lf-cs": {"agent": "lf-cs"},
        "slow": {"agent": "lf-cs", "settings": {"rule.tau_f": 16}, "replays": [2]},
        "wild": {"agent": "importance", "settings": {"rule.max_grad_norm": 1e9}, "replays": [2]},
    },
    "settings": {
        "network.neurons": 8, "train.num_envs": 4, "rule.window": 16, "rule.tau_s": 16, "train.final_episodes": 4,
        "train.eval_every": 200, "train.eval_episodes": 2, "train.checkpoint_every": 200,
    },
}  # fmt: skip


def result(label, replays, seed, score, diverged="no"):
    """Return the last row of a made-up run."""
    return {
        "label": label, "replays": replays, "seed": seed, "learning_rate": 0.01, "step": 1000, "seconds": 2.0,
        "weight_updates": 50.0, "training_return": "", "greedy_return": score + 1, "sampled_return": score,
        "kl": 0.1 * replays, "ess": 0.9, "entropy": 0.5 + seed**2, "diverged": diverged,
    }  # fmt: skip


def made_up():
    rows = [result("lf-cs", r, seed, 100.0 if r == 1 else 90.0) for r in (1, 16) for seed in range(4)]
    rows += [result("naive", 1, seed, 120.0) for seed in range(4)]
    return rows + [result("naive", 16, seed, 20.0, "lost what it had learned") for seed in range(4)]


def test_plans_are_whole_and_their_agents_exist(tmp_path):
    for name, plan in COMPARISONS.items():
        check(plan)
        tuning = comparison.grid(plan, tmp_path)
        rates = dict.fromkeys(((job.label, job.replays) for job in tuning), 0.01)
        jobs = tuning + comparison.reported(plan, tmp_path, rates)
        assert len({job.run_dir for job in jobs}) == len(jobs), name


def test_runs_have_the_settings_of_experiment_agent_and_plan(tmp_path):
    job = comparison.make_job(PLAN, tmp_path, "slow", 2, 7, 0.02, 512)
    rule = job.config.rule
    assert (job.config.seed, job.config.agent, rule.replays, rule.tau_f, rule.lr_readout) == (7, "lf-cs", 2, 16, 0.02)
    assert rule.lr_hidden == pytest.approx(0.02 * 1e-4 / 1e-2)  # its share in the experiment's settings
    assert job.config.network.neurons == 8 and rule.gamma == 0.98  # the plan's, and the experiment's


def test_the_rate_with_the_best_grid_is_picked(tmp_path):
    jobs = comparison.grid(PLAN | {"grid_seeds": [5, 6]}, tmp_path)
    results = {job: {"mean_return_sampled": 10.0 if job.rate == 0.001 else job.seed} for job in jobs}
    assert comparison.pick(jobs, results) == {("lf-cs", 1): 0.001, ("slow", 1): 0.001, ("wild", 1): 0.001}
    results = {job: {"mean_return_sampled": job.rate * (1 if job.label == "slow" else -1)} for job in jobs}
    assert comparison.pick(jobs, results) == {("lf-cs", 1): 0.001, ("slow", 1): 0.01, ("wild", 1): 0.001}


def test_every_number_of_replays_has_the_rate_of_the_nearest_of_the_grid(tmp_path):
    plan = PLAN | {"replays": [1, 2, 4, 8, 32], "grid_replays": [1, 8]}  # 2 is nearer to 1 as a ratio, 4 to 8
    jobs = comparison.grid(plan, tmp_path)
    assert {(job.label, job.replays) for job in jobs} == {("lf-cs", 1), ("lf-cs", 8), ("slow", 1), ("wild", 1)}
    results = {job: {"mean_return_sampled": job.rate * (1 if job.replays == 1 else -1)} for job in jobs}
    rates = comparison.pick(jobs, results)
    assert rates == {("lf-cs", 1): 0.01, ("lf-cs", 8): 0.001, ("slow", 1): 0.01, ("wild", 1): 0.01}
    found = {(job.label, job.replays): job.rate for job in comparison.reported(plan, tmp_path, rates)}
    assert [found["lf-cs", r] for r in plan["replays"]] == [0.01, 0.01, 0.001, 0.001, 0.001]
    assert found["slow", 2] == 0.01


def test_findings_say_what_the_numbers_say():
    text = "\n".join(report.findings(made_up()))
    assert (
        "**lf-cs**: best at R = 1 (100); at R = 16 90, 10 (10.0 %) below its best; diverged up to R = 16: 0 of 8"
        in text
    )
    assert (
        "**naive**: best at R = 1 (120); at R = 16 20, 100 (83.3 %) below its best; diverged up to R = 16: 4 of 8"
        in text
    )
    assert "medians: 100 sampled and 101 greedy at R = 1, 90 sampled and 91 greedy at R = 16." in text
    assert "At R = 1, naive ends higher than lf-cs, 120 against 100; probability that lf-cs ends higher: 0.00" in text
    assert "At R = 16" not in text


def test_findings_hold_below_zero_above_16_passes_and_for_peers():
    rows = [result("a", r, 0, score) for r, score in ((1, 0.5), (16, -0.5))] + [result("b", 32, 0, 1.0)]
    first, second, third = report.findings([*rows, result("PPO", 1, 0, 2.0, "not judged")])
    assert "at R = 16 -0.5, 1 below its best; diverged up to R = 16: 0 of 2 runs" in first  # no share of 0.5
    assert "**b**: best at R = 32 (1); diverged up to R = 16: not judged" in second
    assert "not judged; medians: 2 sampled" in third


def test_peers_are_met_at_every_evaluation():
    rows = [result("lf-cs", 16, seed, score) for seed, score in enumerate((1.0, 5.0))]
    rows += [result("lf-cs", 16, seed, 0.0) | {"step": 500, "diverged": ""} for seed in (0, 1)]
    rows += [result("PPO", 1, 0, score) | {"step": step} for step, score in ((600, 0.5), (1100, 3.5))]  # 2.9 at 1,000
    rows.sort(key=lambda row: row["step"])
    assert report.against_peers(rows, ["PPO", "A2C"]) == [
        "- lf-cs at R = 16 is ahead of PPO at 1 of 2 evaluations (means over seeds), not at 500."
    ]


def test_report_and_figures_hold_every_agent(tmp_path):
    rows = made_up()
    plan = PLAN | {"rates": [0.01], "agents": {"lf-cs": {}, "naive": {}}}
    rates = {("lf-cs", 1): 0.01, ("naive", 1): 0.01, ("naive", 16): 0.01}
    plan |= {"peers": ["PPO"]}
    peer = [result("PPO", 1, seed, 50.0, "not judged") for seed in range(4)]
    report.write_report(tmp_path / "report.md", "tiny.json", plan, 7, rates, rows, rows + peer)
    text = (tmp_path / "report.md").read_text()
    assert "\nSaid so.\n" in text
    assert "| naive | 120 [120, 120] | 20 [20, 20] |" in text and "| naive | 0 of 4 | 4 of 4 |" in text
    assert "| naive | 0.00 [0.00, 0.00] | 1.00 [1.00, 1.00] |" in text
    assert "| naive | 16 | 1.6 | 0.9 | 3 |" in text  # seeds 0 to 3
    assert "| lf-cs | 1 | 2000 | 50 | 100 | 20 |" in text  # 2 s for 1,000 steps
    assert "| agent | R | 0.01 | picked |" in text and "| naive | 16 | 20 | 0.01 |" in text
    assert "    lfcs compare tiny.json --peers\n" in text and "over 7 fresh episodes" in text
    assert "| PPO | 50 [50, 50] |  |" in text and "| PPO |  |  |" in text  # not judged
    figures.draw_all(tmp_path, rows)
    for name in ("replays", "divergence", "curves", "cost"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


def test_a_comparison_runs_is_cut_and_goes_on(tmp_path, capsys):
    path, out = tmp_path / "tiny.json", tmp_path / "out"
    path.write_text(json.dumps(PLAN))
    assert cli.main(["compare", str(path), "--out", str(out), "--jobs", "2"]) == 0
    with open(out / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    last = [row for row in rows if row["diverged"]]
    assert len(last) == 2 * (2 + 1 + 1) and all(row["step"] == "512" for row in last)
    assert all(float(row["kl"]) >= 0 and 0 < float(row["ess"]) <= 1 and float(row["entropy"]) > 0 for row in rows)
    assert all(np.isfinite(float(row["sampled_return"])) and float(row["seconds"]) > 0 for row in rows)
    assert [float(row["step"]) for row in rows[:3]] == [256.0, 448.0, 512.0]
    assert "What was found" in (out / "report.md").read_text()
    finished = sorted((out / "runs").rglob("summary.json"))
    stamps = {p: p.stat().st_mtime_ns for p in finished}
    scores = {p: json.loads(p.read_text())["mean_return"] for p in finished}
    finished[0].unlink()  # as if cut before its last checkpoint
    checkpoint.latest(finished[0].parent / "checkpoints").unlink()
    assert cli.main(["compare", str(path), "--out", str(out)]) == 0
    assert {p for p in finished if p.stat().st_mtime_ns != stamps[p]} == {finished[0]}
    assert json.loads(finished[0].read_text())["mean_return"] == scores[finished[0]]


def test_a_run_whose_gradient_is_not_finite_counts_as_diverged(tmp_path):
    plan = PLAN | {"settings": PLAN["settings"] | {"rule.max_grad_norm": 1e30}}
    job = comparison.make_job(plan, tmp_path, "wild", 2, 1, 1e38, 512)
    summary = comparison.run_job(job.config, job.run_dir)
    assert summary["diverged"] == "a gradient was not finite"
    assert comparison.run_job(job.config, job.run_dir) == summary
    assert list(comparison.rows_of(job, summary))[-1]["diverged"] == "a gradient was not finite"


def test_a_run_that_stopped_early_stays_in_the_curves():
    rows = [result("a", 1, 0, 10.0) | {"step": s, "diverged": ""} for s in (100, 200)] + [result("a", 1, 0, 30.0)]
    rows += [result("a", 1, 1, 5.0, "a gradient was not finite") | {"step": 60}]
    steps, curves = report.curves_of(rows, "a", 1)
    assert steps.tolist() == [100, 200, 1000] and curves.tolist() == [[10, 10, 30], [5, 5, 5]]


def test_the_table_on_the_way_has_the_mean_of_every_evaluation():
    rows = [result("a", 1, seed, 10.0 * seed) | {"step": 500, "diverged": ""} for seed in (0, 1)]
    rows += [result("a", 1, seed, 30.0) for seed in (0, 1)] + [result("b", 4, 0, 7.0)]
    rows += [result("PPO", 1, 0, score) | {"step": step} for step, score in ((400, 1.0), (1400, 11.0))]
    lines = report.on_the_way(rows, "greedy_return")
    assert lines[:3] == ["| agent | R | 500 | 1,000 |", "|---|---|---|---|", "| a | 1 | 6 | 31 |"]
    assert lines[3:] == ["| b | 4 |  | 8 |", "| PPO | 1 | 3 | 8 |"]


def test_a_rate_at_the_edge_of_the_grid_is_called_so():
    rows = [result("a", 1, 0, score) | {"learning_rate": rate} for rate, score in ((0.1, 1.0), (0.2, 3.0), (0.4, 2.0))]
    plan = PLAN | {"rates": [0.1, 0.2, 0.4]}
    assert report.learning_rates(plan, {("a", 1): 0.2}, rows)[-1] == "| a | 1 | 1 | 3 | 2 | 0.2 |"
    assert report.learning_rates(plan, {("a", 1): 0.4}, rows)[-1].endswith("| 0.4, at the edge |")


def test_peers_of_a_plan_must_exist(monkeypatch):
    monkeypatch.setattr(comparison, "INSTALLED", True)
    comparison.check_peers(PLAN | {"peers": ["PPO"]})
    for plan in (PLAN, PLAN | {"peers": ["PP0"]}, PLAN | {"peers": ["PPO"], "experiment": "acrobot"}):
        with pytest.raises(UserError, match="no peers"):
            comparison.check_peers(plan)


def test_figures_that_cannot_be_drawn_are_said_before_the_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(figures.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="make install"):
        comparison.compare("cartpole", 1, tmp_path, peers=False)
    assert not list(tmp_path.iterdir())


def test_the_grid_may_be_shorter_than_the_runs(tmp_path):
    rates = dict.fromkeys(((label, 1) for label in PLAN["agents"]), 0.01)
    assert {job.config.steps for job in comparison.grid(PLAN, tmp_path)} == {256}
    assert {job.config.steps for job in comparison.reported(PLAN, tmp_path, rates)} == {512}


def test_bad_comparisons_are_one_line(tmp_path, capsys):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text('{"steps": 3}')
    for name, message in (
        ("cartpol", "did you mean cartpole"),
        (tmp_path / "a.json", "is not JSON"),
        (tmp_path / "b.json", "must have exactly the keys agents, experiment"),
        (tmp_path / "c.json", "No such file"),
    ):
        assert cli.main(["compare", str(name)]) == 1
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 3}, "seeds wants a list, got 3"),
        ({"seeds": ["1"]}, "seeds wants a list of different whole numbers from 0"),
        ({"seeds": [1, 1]}, "seeds wants a list of different"),
        ({"grid_seeds": [1]}, "must not share a seed"),
        ({"grid_replays": [0]}, "grid_replays wants a list of different whole numbers from 1, got \\[0\\]"),
        ({"rates": []}, "rates wants a list of different numbers from 0"),
        ({"peers": [["PPO"]]}, "peers wants a list of names"),
        ({"agents": {}}, "agents must not be empty"),
        ({"agents": {"a": {}}}, "a must name its agent"),
        ({"agents": {"a": {"agent": None}}}, "a must name its agent"),
        ({"agents": {"a": {"agent": "lf-cs", "setting": {}}}}, "a has unknown keys: setting"),
        ({"agents": {"a": {"agent": "lf-cs", "settings": 3}}}, "settings of a wants a dict"),
        ({"agents": {"a": {"agent": "lf-cs", "replays": []}}}, "replays of a wants a list"),
        ({"settings": {"rule.replays": 3}}, "settings cannot have rule.replays"),
        ({"agents": {"a": {"agent": "lf-cs", "settings": {"rule.lr_readout": 0.1}}}}, "cannot have rule.lr_readout"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused(change, message):
    check(PLAN)
    with pytest.raises(UserError, match=message):
        check(PLAN | change)


def test_a_plan_of_an_unknown_experiment_is_refused(tmp_path):
    with pytest.raises(UserError, match="no experiment 'nope'"):
        comparison.make_job(PLAN | {"experiment": "nope"}, tmp_path, "lf-cs", 1, 1, 0.1, 512)
