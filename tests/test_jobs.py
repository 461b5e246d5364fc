"""Runs of a plan: which there are, with what settings, over any executor, kept and resumed."""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest

from lfcs.errors import UserError
from lfcs.study.jobs import finish, run_all, run_jobs, workers
from lfcs.study.plan import Plan
from lfcs.study.results import rows_of
from lfcs.study.schedule import grid, make_job, only_rate, pick, reported

TINY = {
    "experiment": "cartpole", "steps": 512, "replays": [1, 2], "seeds": [1, 2], "grid_seeds": [5], "grid_replays": [1],
    "grid_steps": 256, "rates": [0.001, 0.01], "peers": [], "note": "Said so.",
    "agents": {
        "lf-cs": {},
        "slow": {"agent": "lf-cs", "settings": {"rule.tau_f": 16}, "replays": [2]},
        "wild": {"agent": "importance", "settings": {"rule.max_grad_norm": 1e9}, "replays": [2]},
    },
    "settings": {
        "network.neurons": 8, "train.num_envs": 4, "rule.window": 16, "rule.tau_s": 16, "train.final_episodes": 4,
        "train.eval_every": 200, "train.eval_episodes": 2, "train.checkpoint_every": 200,
    },
}  # fmt: skip


class Here(Executor):
    """Calls at once, in this process."""

    def submit(self, call, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


def tiny(**changes):
    return Plan.from_dict(TINY | changes)


def scored(jobs, score):
    return [{"mean_return_sampled": score(job)} for job in jobs]


def test_runs_have_the_settings_of_experiment_agent_and_plan(tmp_path):
    job = make_job(tiny(), tmp_path, "slow", 2, 7, 512, rate=0.02)
    rule = job.config.rule
    assert (job.config.seed, job.config.agent, rule.replays, rule.tau_f, rule.lr_readout) == (7, "lf-cs", 2, 16, 0.02)
    assert rule.lr_hidden == pytest.approx(0.02 * 1e-4 / 1e-2)  # its share in the experiment's settings
    assert job.config.network.neurons == 8 and rule.critic_share == 0.1 and rule.average == 10  # the plan's


def test_without_rates_every_agent_has_its_own_and_there_is_no_grid(tmp_path):
    plan = tiny(rates=[], agents=["lf-cs", "e-prop"])
    assert grid(plan, tmp_path) == [] and only_rate(plan) == {}
    jobs = reported(plan, tmp_path, {})
    rates = {job.label: (job.config.rule.lr_readout, job.config.rule.lr_hidden) for job in jobs}
    assert rates == {"lf-cs": (1e-2, 1e-4), "e-prop": (1e-2, 2e-4)}  # as tuned on CartPole


def test_capacities_are_beside_replays_and_rates_are_picked_at_the_first(tmp_path):
    plan = tiny(
        capacities=[4, 1], agents={"lf-cs": {}, "one": {"agent": "lf-cs", "settings": {"agent.decouple": False}}}
    )
    jobs = reported(plan, tmp_path, {("lf-cs", 1): 0.01, ("one", 1): 0.001})
    found = {(job.label, job.replays, job.config.replay.capacity) for job in jobs}
    assert found == {(label, r, c) for label in ("lf-cs", "one") for r in (1, 2) for c in (1, 4)}
    assert len({job.run_dir for job in jobs}) == len(jobs) == 16
    assert {(job.label, job.config.options.decouple) for job in jobs} == {("lf-cs", True), ("one", False)}
    assert {job.config.replay.capacity for job in grid(plan, tmp_path)} == {4}
    alone = reported(tiny(settings=TINY["settings"] | {"replay.capacity": 3}), tmp_path, only_rate(tiny(rates=[0.1])))
    assert {job.config.replay.capacity for job in alone} == {3} and not any("_C" in job.run_dir.name for job in alone)


def test_of_one_rate_there_is_nothing_to_pick(tmp_path):
    plan = tiny(rates=[0.003], agents=["lf-cs", "random"])
    assert grid(plan, tmp_path) == []
    jobs = reported(plan, tmp_path, only_rate(plan))
    assert {(job.label, job.config.rule.lr_readout) for job in jobs} == {("lf-cs", 0.003), ("random", 0.0)}


def test_a_rule_that_uses_experience_once_runs_at_one_pass_only(tmp_path):
    plan = tiny(agents=["lf-cs", "e-prop"], grid_replays=[2])
    assert {(job.label, job.replays) for job in grid(plan, tmp_path)} == {("lf-cs", 2), ("e-prop", 1)}
    rates = {("lf-cs", 2): 0.01, ("e-prop", 1): 0.02}
    jobs = {(job.label, job.replays): job.config.rule for job in reported(plan, tmp_path, rates)}
    assert set(jobs) == {("lf-cs", 1), ("lf-cs", 2), ("e-prop", 1)}
    assert jobs["e-prop", 1].replays == 1 and jobs["e-prop", 1].lr_readout == 0.02


def test_every_run_has_a_directory_of_its_own(tmp_path):
    plan = tiny()
    tuning = grid(plan, tmp_path)
    jobs = tuning + reported(plan, tmp_path, pick(tuning, scored(tuning, lambda job: 1.0)))
    assert len({job.run_dir for job in jobs}) == len(jobs) == 3 * 2 + 2 * 4


def test_the_rate_with_the_best_grid_is_picked(tmp_path):
    jobs = grid(tiny(grid_seeds=[5, 6]), tmp_path)
    slow = [10.0 if job.config.rule.lr_readout == 0.001 else job.seed for job in jobs]
    found = pick(jobs, [{"mean_return_sampled": score} for score in slow])
    assert found == {("lf-cs", 1): 0.001, ("slow", 1): 0.001, ("wild", 1): 0.001}
    found = pick(jobs, scored(jobs, lambda job: job.config.rule.lr_readout * (1 if job.label == "slow" else -1)))
    assert found == {("lf-cs", 1): 0.001, ("slow", 1): 0.01, ("wild", 1): 0.001}


def test_every_number_of_replays_has_the_rate_of_the_nearest_of_the_grid(tmp_path):
    plan = tiny(replays=[1, 2, 4, 8, 32], grid_replays=[1, 8])  # 2 is nearer to 1 as a ratio, 4 to 8
    jobs = grid(plan, tmp_path)
    assert {(job.label, job.replays) for job in jobs} == {("lf-cs", 1), ("lf-cs", 8), ("slow", 1), ("wild", 1)}
    rates = pick(jobs, scored(jobs, lambda job: job.config.rule.lr_readout * (1 if job.replays == 1 else -1)))
    assert rates == {("lf-cs", 1): 0.01, ("lf-cs", 8): 0.001, ("slow", 1): 0.01, ("wild", 1): 0.01}
    found = {(job.label, job.replays): job.config.rule.lr_readout for job in reported(plan, tmp_path, rates)}
    assert [found["lf-cs", r] for r in plan.replays] == [0.01, 0.01, 0.001, 0.001, 0.001]
    assert found["slow", 2] == 0.01


def test_the_grid_may_be_shorter_than_the_runs(tmp_path):
    assert {job.config.steps for job in grid(tiny(), tmp_path)} == {256}
    assert {job.config.steps for job in reported(tiny(), tmp_path, only_rate(tiny()))} == {512}


def test_settings_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"unknown setting 'rule\.tauf'; did you mean rule\.tau_f"):
        make_job(tiny(settings={"rule.tauf": 3}), tmp_path, "lf-cs", 1, 1, 512, 0.1)


def test_a_run_whose_gradient_is_not_finite_counts_as_diverged(tmp_path):
    plan = tiny(agents={"wild": {"agent": "wild:Wild"}})
    job = make_job(plan, tmp_path, "wild", 2, 1, 512, rate=0.1)
    summary = finish(job.config, job.run_dir)
    assert summary["diverged"] == "a gradient was not finite"
    assert finish(job.config, job.run_dir) == summary
    assert list(rows_of(job, summary))[-1].diverged == "a gradient was not finite"


def test_runs_go_over_any_executor_and_are_kept(tmp_path):
    jobs = reported(tiny(agents=["lf-cs"], replays=[1]), tmp_path, {})
    with workers(0, Here()) as pool:
        summaries = run_jobs(pool, jobs, "here")
        assert [summary["seed"] for summary in summaries] == [1, 2]
        assert run_jobs(pool, jobs, "again") == summaries


def test_results_are_in_the_order_of_the_calls_whichever_ends_first():
    told = []
    with ThreadPoolExecutor(3) as threads, workers(0, threads) as pool:
        spent = [(0.3,), (0.0,), (0.1,)]
        found = run_all(pool, lambda seconds: (time.sleep(seconds), seconds)[1], spent, told.append)
    assert found == [0.3, 0.0, 0.1] and told == [1, 2, 0]


def test_an_error_drops_the_runs_that_have_not_begun():
    begun = []

    def call(index):
        begun.append(index)
        time.sleep(0.05)
        raise ValueError(f"call {index}")

    with ThreadPoolExecutor(1) as threads, pytest.raises(ValueError, match="call 0"):
        run_all(threads, call, [(index,) for index in range(20)])
    assert len(begun) < 5


def test_an_error_in_a_process_drops_the_runs_that_have_not_begun():
    begun = time.perf_counter()
    with pytest.raises(ValueError, match="one"), workers(1) as pool:
        run_all(pool, eval, [("int('one')",), *[("__import__('time').sleep(1)",)] * 60])
    assert time.perf_counter() - begun < 50


def test_an_executor_that_is_given_is_left_open():
    with ThreadPoolExecutor(1) as threads:
        with pytest.raises(ValueError), workers(0, threads) as pool:
            run_all(pool, int, [("one",)])
        assert threads.submit(int, "1").result() == 1
    with pytest.raises(UserError, match="--jobs must be at least 1, got 0"), workers(0):
        pass
