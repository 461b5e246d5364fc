"""Bad input gets one clear line and a non-zero exit; the commands do what they say."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys

import pytest

import lfcs
import lfcs.run
from lfcs import cli, experiments
from lfcs.agents import AGENTS
from lfcs.agents.lf_cs import LfCs
from lfcs.config import Config, make_config, settings
from lfcs.configure import build_config
from lfcs.errors import UserError
from lfcs.study.values import seeds

QUICK = ["--steps", "300", "--set", "network.neurons=8", "train.num_envs=2", "rule.window=10", "rule.tau_s=10"]
QUICK += ["train.final_episodes=3", "train.eval_every=100"]


def failing(capsys, *argv):
    """Run the command line, which must fail, and return its one line of error."""
    code = cli.main([str(a) for a in argv])
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line and "step/s" not in line]
    assert code == 1 and len(lines) == 1 and lines[0].startswith("lfcs: error: "), err
    return lines[0]


@pytest.mark.parametrize(
    "argv,expected",
    [
        (["CartPole-v9"], "unknown environment 'CartPole-v9'; did you mean CartPole-v"),
        (["CartPoel-v1"], "CartPole-v1"),
        (["nowhere:Thing-v0"], "cannot import 'nowhere'"),
        (["toys:Nothing-v0"], "unknown environment"),
        (["CartPole-v1", "--agent", "lfcs"], "did you mean lf-cs"),
        (["CartPole-v1", "--set", "rule.tauf=3"], "unknown setting 'rule.tauf'; did you mean rule.tau_f"),
        (["CartPole-v1", "--set", "rule.tau_f=fast"], "rule.tau_f wants a whole number, got 'fast'"),
        (["CartPole-v1", "--set", "rule.gamma=nan"], "rule.gamma wants a number"),
        (["CartPole-v1", "--set", "rule.gamma=1.5"], "must be at most 1"),
        (["CartPole-v1", "--set", "agent.mask=none"], "must be one of sided, two-sided"),
        (["CartPole-v1", "--set", "rule.normalise=perhaps"], "true or false"),
        (["CartPole-v1", "--set", "rule.tau_f"], "section.key=value"),
        (["CartPole-v1", "--set", "rule.tau_s=65"], "multiple of rule.window"),
        (["CartPole-v1", "--set", "rule.tau_f=2000"], "must not exceed rule.window"),
        (["CartPole-v1", "--steps", "0"], "steps must be at least 1"),
        (["CartPole-v1", "--seed", "-1"], "seed must be at least 0"),
        (["CartPole-v1", "--device", "tpu"], "device must be cpu or cuda"),
        (["CartPole-v1", "--agent", "e-prop", "--set", "rule.replays=4"], "e-prop stands for rule.replays=1"),
        (["toys:Written-v0"], "is not supported: it must be one of Discrete, Box"),
        (["toys:Worded-v0"], "observation space Text(1, 3, charset="),
    ],
)
def test_bad_settings(capsys, tmp_path, argv, expected):
    assert expected in failing(capsys, "train", *argv, "--run-dir", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_extra_is_named(capsys, tmp_path, monkeypatch):
    real = importlib.import_module

    def without_emulator(name, *args):
        if name == "ale_py":
            raise ImportError("No module named 'ale_py'")
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", without_emulator)
    assert "pip install 'lfcs[atari]'" in failing(capsys, "train", "Pong100-v0", "--run-dir", tmp_path / "run")


def test_train_eval_resume_from_the_command_line(capsys, tmp_path):
    run = tmp_path / "run"
    assert cli.main(["train", "toys:Guess-v0", "--run-dir", str(run), *QUICK]) == 0
    assert "default settings" in capsys.readouterr().out
    assert cli.main(["eval", str(run), "--episodes", "4", "--seed", "3"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last.keys() == {"mean_return", "std_return", "episodes", "env_steps"}
    assert last["episodes"] == 4 and last["env_steps"] == 300
    assert cli.main(["resume", str(run)]) == 0
    assert "already finished" in capsys.readouterr().out
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    assert "already holds a run" in failing(capsys, "train", "toys:Guess-v0", "--run-dir", run, *QUICK)
    assert before == {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}


def test_runs_that_are_not_there(capsys, tmp_path):
    for command in ("eval", "resume"):
        assert "holds no run" in failing(capsys, command, tmp_path)
    assert "no directory" in failing(capsys, "watch", tmp_path / "none")
    (tmp_path / "config.json").write_text("{")
    assert "damaged" in failing(capsys, "resume", tmp_path)
    (tmp_path / "config.json").write_text("[]")
    assert "damaged" in failing(capsys, "resume", tmp_path)
    for foreign in ('{"rows": 3}', '{"env": "CartPole-v1", "rule": 3}'):
        (tmp_path / "config.json").write_text(foreign)
        assert "not the settings of a run" in failing(capsys, "resume", tmp_path)


def test_experiments_are_found_by_name_and_by_environment():
    for name, env in (("cartpole", "CartPole-v1"), ("acrobot", "Acrobot-v1"), ("pong", "Pong100-v0")):
        found = experiments.find(name)
        assert found == experiments.find(env) and found["env"] == env
        for agent in ("lf-cs", "e-prop"):
            assert build_config(env, agent, experiment=found).steps == found["steps"]
    assert experiments.find("Unknown-v0") is None


def test_an_experiment_script_takes_the_flags(capsys, tmp_path):
    script = importlib.import_module("lfcs.experiments.cartpole")
    argv = ["--run-dir", str(tmp_path / "run"), "--agent", "e-prop", *QUICK]
    assert cli.experiment_main(script.SETTINGS, argv) == 0
    out = capsys.readouterr().out
    assert "tuned settings of experiments/cartpole.py" in out and "a run takes" not in out, "measured of lf-cs only"


def test_an_experiment_says_what_it_will_take_before_it_starts(capsys):
    found = experiments.find("pong")
    for steps, text in ((500_000, "about 6 minutes"), (1_000, "under a minute")):
        cli.train.introduce(build_config("Pong100-v0", steps=steps, experiment=found), "seed 0", found)
        assert f"a run takes {text} on two cores" in capsys.readouterr().out


@pytest.mark.parametrize("name", experiments.literals("SETTINGS"))
def test_an_experiment_says_how_long_it_takes_and_what_it_was_tuned_on(name):
    found = experiments.literals("SETTINGS")[name]
    assert found["name"] == name and found["minutes"] > 0 and seeds("tuned_on", [found["tuned_on"]])


def test_users_settings_win_over_the_experiments():
    config = build_config(
        "CartPole-v1", overrides={"agent.eps": "0.3"}, experiment={"settings": {"agent.eps": 0.1, "rule.gamma": 0.5}}
    )
    assert (config.options.eps, config.rule.gamma) == (0.3, 0.5)


def test_settings_survive_a_round_trip_and_are_documented():
    given = {"agent.mask": "two-sided", "network.ticks": "2"}
    config = make_config({"env": "CartPole-v1", "steps": 7}, given, LfCs.Options)
    assert config.options.mask == "two-sided"
    assert Config.from_dict(json.loads(json.dumps(config.to_dict())), LfCs.Options) == config
    assert all(field.metadata["doc"] for agent in AGENTS.values() for field in settings(agent.Options).values())
    with pytest.raises(UserError):
        make_config({"env": "x"}, {"rule": 1})


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["train", "x", "--steps", "abc"], "lfcs train: error: argument --steps: invalid int value: 'abc'"),
        (["trian"], "invalid choice: 'trian'"),
        (["eval"], "lfcs eval: error: the following arguments are required: run"),
    ],
)
def test_what_cannot_be_parsed_is_two_lines(capsys, argv, message):
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    err = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and len(err) == 2 and message in err[0] and err[1].endswith("--help")


def test_the_command_alone_says_what_it_can_do(capsys):
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert all(
        f"\n    {name} " in out for name in ("train", "eval", "resume", "report", "compare", "watch", "bench", "list")
    )
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"lfcs {lfcs.__version__}\n"


@pytest.mark.parametrize(("what", "names"), [
    ("agents", list(AGENTS)), ("envs", ["Pong100-v0", "PongRAM-v0"]),
    ("experiments", sorted(experiments.literals("SETTINGS"))),
])  # fmt: skip
def test_lists_have_a_line_each(capsys, what, names):
    assert cli.main(["list", what]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines][: len(names)] == names and all(len(line) < 120 for line in lines)
    assert lines[-1].startswith("next: lfcs train")
    assert cli.main([what]) == 0, "the name of before"
    assert capsys.readouterr().out.splitlines() == lines


def test_a_list_of_runs_says_how_each_ended(capsys, tmp_path):
    assert cli.main(["train", "toys:Guess-v0", "--run-dir", str(tmp_path / "whole"), *QUICK]) == 0
    cut = lfcs.run.begin(lfcs.run.load_config(tmp_path / "whole"), tmp_path / "deep" / "cut", progress=False)
    cut.close()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{")
    capsys.readouterr()
    assert cli.main(["list", "runs", str(tmp_path)]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    found = dict(line.split(maxsplit=1) for line in lines)
    assert [*found] == [str(tmp_path / name) for name in ("deep/cut", "other", "whole")] and last.startswith("next: ")
    assert found[str(tmp_path / "deep/cut")] == "lf-cs on toys:Guess-v0, seed 0, unfinished at 0 of 300 steps"
    summary = lfcs.run.read_summary(tmp_path / "whole")
    scores = f"greedy {summary['mean_return']:.4g}, sampled {summary['mean_return_sampled']:.4g}"
    assert f"seed 0, 300 steps, {scores}" in found[str(tmp_path / "whole")]
    assert "is damaged" in found[str(tmp_path / "other")]
    assert "no directory" in failing(capsys, "list", "runs", tmp_path / "none")
    assert "is of runs" in failing(capsys, "list", "envs", tmp_path)


def test_every_command_ends_with_what_to_do_next(capsys, tmp_path):
    run = str(tmp_path / "run")
    assert cli.main(["train", "toys:Guess-v0", "--run-dir", run, *QUICK]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"next: lfcs watch {run}")
    assert cli.main(["eval", run, "--episodes", "2"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["episodes"] == 2, "the last line of the output stays JSON"
    assert err.splitlines()[-1] == f"next: lfcs report {run}, or lfcs resume {run} --steps 600"
    assert cli.main(["resume", run]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("next: ")


def test_choices_are_said_and_kept(capsys, tmp_path):
    assert cli.main(["train", "CartPole-v1", "--no-tuned", "--run-dir", str(tmp_path / "run"), *QUICK]) == 0
    out = capsys.readouterr().out
    notes = json.loads((tmp_path / "run" / "config.json").read_text())["notes"]
    assert notes == {
        "environments": "2 environments, compiled", "encoder": "population, 60 inputs",
        "engine": "fused on cpu: acts in compiled loops, learns in compiled loops",
    }  # fmt: skip
    said = notes | {"CartPole-v1": notes["environments"]}
    del said["environments"]
    assert all(f"{name}: {text}\n" in out for name, text in said.items()) and "with default settings" in out
    assert lfcs.run.load_config(tmp_path / "run").train.num_envs == 2, "notes are no settings"


def test_many_inputs_are_warned_of(capsys, tmp_path):
    argv = ["toys:Clock-v0", "--env-kwargs", "horizon=400", "--set", "encoder.cells=20", "--steps", "20"]
    argv += ["train.num_envs=1", "train.final_episodes=1", "network.neurons=4"]
    argv = [*argv[:5], *argv[7:], *argv[5:7]]
    assert cli.main(["train", *argv, "--run-dir", str(tmp_path / "run")]) == 0
    assert "warning: the encoder makes 8,020 inputs, more than 5,000" in capsys.readouterr().err


def test_arguments_of_an_environment_stand_and_are_used_again(capsys, tmp_path):
    run, argv = tmp_path / "run", ["--env-kwargs", "horizon=3", "ending=truncated", "--run-dir"]
    assert cli.main(["train", "toys:Clock-v0", *argv, str(run), *QUICK]) == 0
    assert "plain with horizon=3, ending='truncated'" in capsys.readouterr().out
    assert lfcs.run.load_config(run).env_kwargs == {"horizon": 3, "ending": "truncated"}
    assert lfcs.run.read_summary(run)["mean_return"] == 3.0, "a clock of three steps"
    assert cli.main(["eval", str(run), "--episodes", "2"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["mean_return"] == 3.0
    assert cli.main(["resume", str(run), "--steps", "400"]) == 0
    assert lfcs.run.read_summary(run)["mean_return"] == 3.0


@pytest.mark.parametrize(("argv", "expected"), [
    (["CartPole-v1", "--env-kwargs", "gravity"], "--env-kwargs wants KEY=VALUE, got 'gravity'"),
    (["CartPole-v1", "--env-kwargs", "gravitas=3"], "with gravitas=3: CartPoleEnv.__init__() got an unexpected"),
    (["MemoryChain16-v0", "--env-kwargs", "size=3"], "with size=3: MemoryChain.__init__() got an unexpected"),
    (["MemoryChain16-v0", "--env-kwargs", "length=x"], "length of a task must be a whole number"),
    (["toys:Clock-v0", "--env-workers", "1", "--env-kwargs", "size=3"], "with size=3"),
    (["CartPole-v1", "--env-kwargs", "a={1}"], "env_kwargs wants plain values"),
    (["Pendulum-v1", "--env-kwargs", "g=9.8", "--set", "train.env_kind=compiled"],
     "no compiled form of 'Pendulum-v1' with g=9.8"),
])  # fmt: skip
def test_wrong_arguments_of_an_environment_are_one_line(capsys, tmp_path, argv, expected):
    assert expected in failing(capsys, "train", *argv, "--run-dir", tmp_path / "run")


def test_completion_needs_its_extra(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'lfcs[completion]'" in failing(capsys, "completion", "bash")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_the_commands(capsys, shell):
    pytest.importorskip("shtab")
    assert cli.main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert "lfcs" in out and "--env-kwargs" in out and "report" in out


def test_the_help_of_train_tells_every_setting(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    out = capsys.readouterr().out
    for agent in AGENTS.values():
        assert all(f"{key} (" in out for key in settings(agent.Options) if key not in agent.fixed)


def test_finding_an_experiment_runs_nothing(monkeypatch):
    def ran(name, *_):
        raise AssertionError(f"{name} was imported")

    monkeypatch.setattr(importlib, "import_module", ran)
    before = {name for name in sys.modules if name.startswith("lfcs.experiments.")}
    assert experiments.find("Pong100-v0")["name"] == "pong" and experiments.find("Nothing-v0") is None
    assert {name for name in sys.modules if name.startswith("lfcs.experiments.")} == before
