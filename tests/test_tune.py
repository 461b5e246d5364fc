"""Tuning: ranges, trials that are shared, cut and fail, and what is written in the end."""

from __future__ import annotations

import ast
import math
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from lfcs import cli, experiments
from lfcs.agents import AGENTS
from lfcs.configure import build_config
from lfcs.errors import Interrupted, UserError
from lfcs.study import ranges, trials, tune, tuned, values
from lfcs.study.search import Search
from lfcs.trainer import Trainer

optuna = pytest.importorskip("optuna", reason="Optuna is missing: make install brings it")
STATE = optuna.trial.TrialState
OPTIONS = AGENTS["lf-cs"].Options
TINY = {
    "network.neurons": 8, "train.num_envs": 2, "rule.window": 10, "rule.tau_s": 10, "train.eval_episodes": 2,
    "train.eval_every": 100,
}  # fmt: skip
WANTED = ["rule.lr_readout", "rule.lam=0.9,0.95"]


def searching(env="toys:Guess-v0", agent=None, seeds=(0, 1), wanted=WANTED, **settings):
    return Search.make(env, agent, 400, seeds, "sampled", TINY | settings, wanted)[0]


@pytest.fixture
def study(tmp_path):
    found = trials.open_study(tmp_path, 4)
    trials.line_up(found, searching().start())
    return found


def serve(search, root, most, leave=None):
    trials.serve(search, root, most, leave or trials.Leave())
    return trials.open_study(root, 4)


@pytest.mark.parametrize("agent", AGENTS)
def test_declared_ranges_can_be_read(agent):
    found = ranges.declared(AGENTS[agent].Options)
    assert {"rule.lr_readout", "rule.lam", "rule.replays", "rule.tau_f"} <= set(found)
    for key, of in found.items():
        assert ranges.read_range(key, str(of), AGENTS[agent].Options) == of, "its text means the same"


def test_a_range_is_between_numbers_or_among_values():
    read = lambda key, text: ranges.read_range(key, text, OPTIONS)  # noqa: E731
    assert read("rule.lam", "0.8..1") == ranges.Range("rule.lam", 0.8, 1.0)
    assert read("rule.replays", "1..16:log") == ranges.Range("rule.replays", 1, 16, True)
    assert read("rule.normalise", "true,false").values == (True, False)
    assert read("agent.mask", "sided,two-sided").values == ("sided", "two-sided")
    found, all_declared = ranges.given(["rule.lr_hidden", "rule.lr_readout=1e-2..2e-2", "rule.lam=0.5,0.6"], OPTIONS)
    assert not all_declared and found["rule.lr_hidden"] == ranges.declared(OPTIONS)["rule.lr_hidden"]
    assert found["rule.lr_readout"] == ranges.Range("rule.lr_readout", 0.01, 0.02, log=True), "the scale is declared"
    assert ranges.given(["default"], OPTIONS) == ({}, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rule.lamb=1..2", "unknown setting 'rule.lamb'; did you mean rule.lam"),
        ("rule.lamb", "unknown setting 'rule.lamb'"),
        ("rule.value", "rule.value has no declared range; give one as rule.value=LOW..HIGH"),
        ("rule.lam=0.9", "at least two different values, got '0.9'"),
        ("rule.lam=0.9,0.9", "at least two different values"),
        ("rule.lam=0.5..1.5", "rule.lam must be at most 1"),
        ("rule.lam=high..low", "rule.lam wants a number, got 'high'"),
        ("rule.lam=0.9..0.8", "is empty: 0.9 is not less than 0.8"),
        ("rule.lam=0..1:log", "it must begin above 0, got 0"),
        ("rule.lam=0.1..1:cubic", r"wants LOW\.\.HIGH"),
        ("rule.normalise=false..true", r"wants LOW\.\.HIGH"),
        ("rule.replays=1.5..3", "rule.replays wants a whole number"),
        ("agent.rho_bar=1..2", "unknown setting"),
    ],
)
def test_a_range_that_cannot_be_is_one_line(text, message):
    with pytest.raises(UserError, match=message) as raised:
        ranges.given([text], OPTIONS)
    assert "\n" not in str(raised.value)


def test_values_near_a_range():
    whole, among = ranges.Range("rule.replays", 2, 8, True), ranges.Range("rule.lam", values=(0.9, 0.95))
    assert [whole.nearest(at) for at in (1, 4, 99)] == [2, 4, 8] and among.nearest(0.99) == 0.95
    assert ranges.Range("rule.normalise", values=(True, False)).nearest(False) is False
    assert whole.holding(16) == ranges.Range("rule.replays", 2, 16, True)
    assert among.holding(0.5).values == (0.9, 0.95, 0.5) and among.holding(0.9) == among
    assert ranges.Range("rule.entropy", 0.01, 0.1, True).holding(0.0) == ranges.Range("rule.entropy", 0.0, 0.1)
    assert ranges.Range("rule.lam", 0.8, 0.9).rounded(0.87654321) == 0.877


def test_a_search_begins_at_the_settings_of_the_experiment():
    search, left_out = Search.make("cartpole", None, None, [500], "greedy", {}, [])
    assert (search.env, search.agent, search.steps, left_out) == ("CartPole-v1", "lf-cs", 20_000, [])
    start = search.start()
    assert start["rule.lr_readout"] == 1e-2 and start["network.tau_m"] == 4.0 and start["agent.eps"] == 0.4
    config, tuned_ = search.config(start, 500), build_config("CartPole-v1", experiment=experiments.find("cartpole"))
    assert (config.rule, config.network, config.options) == (tuned_.rule, tuned_.network, tuned_.options)
    assert config.train.final_episodes == config.train.eval_episodes and config.train.eval_every == 1667
    assert not search.outside()
    narrow = Search.make("cartpole", None, None, [500], "greedy", {}, ["rule.lr_readout=1e-3..2e-3"])[0]
    assert narrow.outside() == ["rule.lr_readout=0.01"] and narrow.start() == {"rule.lr_readout": 2e-3}


def test_what_is_set_is_not_searched_and_what_the_rule_forbids_is_left_out():
    search, left_out = Search.make("cartpole", "e-prop", None, [1], "greedy", {"rule.lam": "0.5"}, [])
    assert "rule.lam" not in search.ranges and "rule.gamma" in search.ranges and search.base.rule.lam == 0.5
    assert any(why.startswith("rule.replays: agent e-prop stands for") for why in left_out)
    with pytest.raises(UserError, match="e-prop stands for"):
        Search.make("cartpole", "e-prop", None, [1], "greedy", {}, ["rule.replays=1..4"])
    with pytest.raises(UserError, match=r"rule\.lam cannot be both set and searched"):
        Search.make("cartpole", None, None, [1], "greedy", {"rule.lam": "0.5"}, ["rule.lam"])


def test_the_slow_time_scale_follows_the_window():
    search = Search.make("Acrobot-v1", None, None, [1], "greedy", {"rule.tau_s": 128}, ["rule.lam"])[0]
    assert search.tuned({"rule.window": 32}) == {"rule.window": 32}, "what is set stays"
    search = Search.make("acrobot", None, None, [1], "greedy", {}, ["rule.window=16,32,128"])[0]
    assert search.tuned({"rule.window": 128}) == {"rule.window": 128, "rule.tau_s": 128}
    assert search.config({"rule.window": 16}, 3).rule.tau_s == 16


def test_the_score_is_of_the_last_third():
    assert trials.last_third([9.0]) == 9.0 and trials.last_third([0.0, 0.0, 3.0]) == 3.0
    assert trials.last_third([9.0, 9.0, 1.0, 3.0]) == 2.0
    assert trials.last_third([9.0] * 8 + [1.0, 2.0, 3.0, 6.0]) == 3.0


def test_three_trials_are_kept_and_more_go_on(tmp_path, study, capsys):
    search = searching()
    study = serve(search, tmp_path, 3)
    found = tuned.scored(study)
    assert sorted(trial.number for trial in found) == [0, 1, 2] and "trial 2: " in capsys.readouterr().out
    first = next(trial for trial in found if trial.number == 0)
    assert first.params == search.start() == {"rule.lr_readout": 0.005, "rule.lam": 0.95}
    for trial in found:
        assert trial.value == np.median(trial.user_attrs["scores"]) and len(trial.user_attrs["scores"]) == 2
        assert set(trial.intermediate_values) == {0, 1, 2, 3, 4, 5, 6, 7}, "every evaluation of both seeds"
        assert trial.intermediate_values[7] == trial.value
    assert len({trial.params["rule.lr_readout"] for trial in found}) == 3
    assert not list(tmp_path.rglob("checkpoints"))
    serve(search, tmp_path, 3)
    assert capsys.readouterr().out == ""
    assert len(serve(search, tmp_path, 4).trials) == 4


def test_a_trial_that_is_cut_goes_on_and_ends_as_if_it_had_not_been(tmp_path, study):
    class LeaveInTheSecond(trials.Leave):
        made_so_far = 0

        def made(self, trainer):
            self.made_so_far += 1
            super().made(trainer)
            if self.made_so_far == 2:
                self.ask()

    search = searching()
    serve(search, tmp_path, 1, LeaveInTheSecond())
    assert [trial.state for trial in study.trials] == [STATE.FAIL, STATE.WAITING]
    assert not tuned.scored(study) and len(trials.counted(study)) == 1
    serve(search, tmp_path, 1)
    cut = study.trials[1].value
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["trial00000"]
    (tmp_path / "whole").mkdir()
    trials.line_up(trials.open_study(tmp_path / "whole", 4), search.start())
    assert serve(search, tmp_path / "whole", 1).trials[0].value == cut


def test_trials_of_a_process_that_is_gone_go_on(study):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    running = study.ask()
    running.suggest_float("rule.lr_readout", 1e-3, 1e-1)
    running.set_user_attr(trials.WORKER, f"{socket.gethostname()}:{gone.pid}")
    here, there = study.ask(), study.ask()
    here.set_user_attr(trials.WORKER, f"{socket.gethostname()}:{os.getpid()}")
    there.set_user_attr(trials.WORKER, f"elsewhere:{gone.pid}")
    assert trials.rescue(study) == 1
    assert [trial.state for trial in study.trials] == [STATE.FAIL, STATE.RUNNING, STATE.RUNNING, STATE.WAITING]
    assert study.trials[3].user_attrs[trials.RUNS] == 0


def test_there_are_never_more_trials_than_asked_for(tmp_path, study, monkeypatch):
    assert trials.next_trial(study, 1).number == 0 and trials.next_trial(study, 1) is None
    real, first = study.ask, []

    def ask():  # another process is quicker
        if not first:
            first.append(trials.open_study(tmp_path, 4).ask())
        return real()

    monkeypatch.setattr(study, "ask", ask)
    assert trials.next_trial(study, 2) is None and len(trials.counted(study)) == 2
    assert study.trials[2].state == STATE.FAIL


def test_a_trial_that_fails_has_the_worst_score_and_says_why(tmp_path, study, capsys):
    search = searching("toys:FaultyReward-v0", seeds=[0])
    study = serve(search, tmp_path, 1)
    assert study.trials[0].value == -math.inf and not tuned.scored(study)
    assert "trial 0: failed: " in capsys.readouterr().out and "reward" in study.trials[0].user_attrs["failed"]
    with pytest.raises(UserError, match=r"no trial ended with a score; the first failed: .*reward.*report\.md"):
        tuned.write_all(search, tmp_path, study, "lfcs tune", [])
    assert "## Failed trials" in (tmp_path / "report.md").read_text()


def test_a_gradient_that_is_not_finite_fails_every_time(tmp_path, study, monkeypatch):
    search = searching(seeds=[0])
    learn = Trainer.window
    monkeypatch.setattr(Trainer, "window", lambda self: learn(self) and diverge(self))
    study = serve(search, tmp_path, 1)
    assert study.trials[0].user_attrs["failed"].startswith("learning diverged: a gradient is not finite")
    trials.line_up(study, search.start(), runs=0)  # its run has ended: it is read, not run
    study = serve(search, tmp_path, 2)
    assert study.trials[1].user_attrs["failed"] == "a gradient was not finite"


def diverge(trainer):
    raise trials.Diverged(f"learning diverged: a gradient is not finite at environment step {trainer.env_steps}")


def test_a_trial_below_the_median_is_given_up(tmp_path):
    search = searching()
    study = trials.open_study(tmp_path, 4)
    for _ in range(5):  # far better than can be
        trial = study.ask()
        for of in search.parsed:
            of.suggest(trial)
        for step in range(8):
            trial.report(100.0, step)
        trial.set_user_attr("scores", [100.0, 100.0])
        trial.set_user_attr("seconds", [1.0, 1.0])
        study.tell(trial, 100.0)
    study = serve(search, tmp_path, 6)
    assert study.trials[5].state == STATE.PRUNED and set(study.trials[5].intermediate_values) == {0, 1}
    assert not list(tmp_path.rglob("checkpoints")) and len(tuned.scored(study)) == 5


def test_the_script_is_an_experiment_with_the_best_settings(tmp_path, study):
    search = Search.make(
        "cartpole", None, 400, [500, 501], "greedy", {"rule.value": "0.25"}, ["rule.lam", "agent.eps"]
    )[0]
    trial = optuna.trial.create_trial(
        value=7.0,
        params={"rule.lam": 0.87654, "agent.eps": 0.3},
        distributions={key: optuna.distributions.FloatDistribution(0, 1) for key in ("rule.lam", "agent.eps")},
        user_attrs={"scores": [6.0, 8.0], "seconds": [60.0, 90.0]},
    )
    found = ast.parse(tuned.experiment_script(search, trial, "lfcs tune 'x y'"))
    (settings,) = (ast.literal_eval(node.value) for node in found.body if isinstance(node, ast.Assign))
    old = experiments.find("cartpole")
    assert settings["settings"] == old["settings"] | {"rule.lam": 0.877, "rule.value": 0.25}
    assert settings["agents"] == old["agents"] | {"lf-cs": {"agent.eps": 0.3}}
    assert (settings["steps"], settings["minutes"], settings["env"]) == (400, 1.2, "CartPole-v1")
    assert {500, 501, 600} <= set(values.seeds("tuned_on", [settings["tuned_on"]]))
    assert "on seeds 500, 501" in ast.get_docstring(found)
    config = build_config("CartPole-v1", experiment=settings)
    assert (config.rule.lam, config.options.eps, config.rule.value) == (0.877, 0.3, 0.25)
    assert build_config("CartPole-v1", "e-prop", experiment=settings).rule.lr_hidden == 2e-4, "other rules keep theirs"


def test_settings_of_another_rule_go_beside_its_name(study):
    search = Search.make("cartpole", "e-prop", 400, [500], "greedy", {}, ["rule.lam", "rule.lr_hidden"])[0]
    trial = optuna.trial.create_trial(
        value=7.0,
        params={"rule.lam": 0.85, "rule.lr_hidden": 1e-3},
        distributions={key: optuna.distributions.FloatDistribution(0, 1) for key in ("rule.lam", "rule.lr_hidden")},
        user_attrs={"scores": [7.0], "seconds": [60.0]},
    )
    found = tuned.best_settings(search, trial)
    assert found["agent"] == "lf-cs" and found["settings"] == experiments.find("cartpole")["settings"]
    assert found["agents"]["e-prop"] == {"rule.window": 4, "rule.lr_hidden": 1e-3, "rule.lam": 0.85}
    assert "--agent e-prop" in tuned.experiment_script(search, trial, "")


def test_the_report_tells_what_matters(tmp_path, study):
    search = searching()
    rng = np.random.default_rng(0)
    for _ in range(30):
        trial = study.ask()
        params = {of.key: of.suggest(trial) for of in search.parsed}
        value = -abs(math.log(params["rule.lr_readout"] / 0.028)) + 0.01 * rng.normal()
        trial.set_user_attr("scores", [value])
        trial.set_user_attr("seconds", [1.0])
        study.tell(trial, value)
    weights = tuned.importance(study, tuned.scored(study))
    assert weights["rule.lr_readout"] > 0.8 and sum(weights.values()) == pytest.approx(1.0)
    tuned.write_all(search, tmp_path, study, "lfcs tune it", ["rule.x: why not"])
    text = (tmp_path / "report.md").read_text()
    assert "    lfcs tune it\n" in text and "on seeds 0, 1" in text and "- Not searched: rule.x: why not" in text
    best = tuned.scored(study)[0]
    assert f"| {best.number} | {best.value:.4g} |" in text and "\n| 0 | " in text, "the start is shown too"
    assert "a wider one may do better: rule.lr_readout" in text and "| `rule.lr_readout` | 0." in text
    assert (tmp_path / "tune.png").stat().st_size > 5000


def test_a_search_on_the_command_line(tmp_path, capsys):
    sets = [f"{key}={value}" for key, value in TINY.items()]
    argv = ["tune", "toys:Guess-v0", "--steps", "300", "--seeds", "0", "--trials", "3", "--jobs", "2"]
    argv += ["--ranges", *WANTED, "--set", *sets, "--out", str(tmp_path / "out")]
    assert cli.main(argv) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "tuning lf-cs on toys:Guess-v0: 300 steps, seeds 0, from the defaults" in out and "best: " in out
    text = (tmp_path / "out/report.md").read_text()
    assert f"    lfcs {' '.join(argv)}\n" in text and "3 trials of 300" in text
    assert "SETTINGS" in (tmp_path / "out/toys_guess_v0.py").read_text()
    assert cli.main([*argv, "--set", "rule.value=1"]) == 1
    assert "holds a search with other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nowhere-v0"], "nowhere-v0"),
        (["cartpole", "--trials", "0"], "--trials must be at least 1, got 0"),
        (["cartpole", "--jobs", "0"], "--jobs must be at least 1, got 0"),
        (["cartpole", "--seeds", "3..1"], "the range 3..1 is empty"),
        (["cartpole", "--steps", "0"], "steps must be at least 1"),
        (["cartpole", "--agent", "lf-sc"], "unknown agent"),
        (["cartpole", "--ranges", "rule.lamb=1..2"], "unknown setting"),
    ],
)
def test_what_cannot_be_tuned_is_one_line(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["tune", *argv]) == 1
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_without_optuna_it_is_said(monkeypatch):
    monkeypatch.setattr(trials.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="extra 'tune'"):
        tune.tune(searching(), [], 3, 1, None, "")


def test_ctrl_c_says_that_the_same_goes_on(tmp_path, monkeypatch):
    class Stopped:
        stopping = True

        def __init__(self, *given):
            pass

        def finish(self, waiting, told):
            pass

    monkeypatch.setattr(tune, "Processes", Stopped)
    with pytest.raises(Interrupted, match="stopped with 0 of 3 trials ended; the same command goes on"):
        tune.tune(searching(), [], 3, 1, tmp_path / "out", "")
