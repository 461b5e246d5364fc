"""Command lines, plans and files that nobody would write: each ends in exit 0, or in one line and another status.

What would train, draw or serve for long is replaced: a run ends at its first step, a comparison where its runs begin.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import lfcs
from lfcs import cli, run
from lfcs.config import Config
from lfcs.errors import UserError
from lfcs.study import benchmark, compare, device, many, threshold, tune, values

TINY = {"network.neurons": 4, "train.num_envs": 1, "rule.window": 8, "rule.tau_s": 8, "train.final_episodes": 1}
TINY |= {"train.eval_episodes": 1, "train.watch": "none", "encoder.kind": "identity"}

BROKEN = {
    "raises": "raise RuntimeError('two\\nlines')",
    "leaves": "import sys\nsys.exit(0)",
    "wrong": "def (:",
    "lacks": "import a_package_that_is_not_there",
    "asks": "def __getattr__(name):\n    raise ValueError(name)",
    "lacking": "import gymnasium\ngymnasium.register('Lacking-v0', entry_point='a_package_that_is_not_there:Env')",
}


KEPT = "run", "damaged", "empty", "file"


class Stopped(UserError):
    """A run would begin here."""


def stop(*_, **__):
    raise Stopped("a run would begin here")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a run, broken modules and broken files; it is the current one, and nothing is run."""
    root = tmp_path_factory.mktemp("place") / "here"
    lfcs.train("toys:Guess-v0", steps=40, settings=TINY, run_dir=root / "run")
    for name, text in BROKEN.items():
        (root / f"{name}_module.py").write_text(text)
    (root / "empty").mkdir()
    (root / "file").write_text("x")
    for name, text in {"a": "{", "b": "[" * 100_000, "c": "9" * 5000, "d": '{"env": "\\ud800"}', "e": "[]"}.items():
        (root / f"{name}.json").write_text(text)
    (root / "f.json").write_bytes(b"\xff\xfe")
    (root / "g.json").mkdir()
    damaged = root / "damaged"
    shutil.copytree(root / "run", damaged)
    (damaged / "config.json").write_text("{")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(run, "complete", stop)
        patch.setattr(many, "finish_all", stop)
        patch.setattr(compare, "workers", stop)
        patch.setattr(tune, "work", stop)
        patch.setattr(tune, "Processes", stop)
        for bench in (benchmark, device, threshold):
            patch.setattr(bench, "run", stop)
        patch.setattr(importlib.import_module("tensorboard.program"), "TensorBoard", stop)
        patch.setattr("lfcs.report.page.markup.picture", lambda *_, **__: "")
        patch.setattr("lfcs.watching.in_window", stop)
        patch.setattr("lfcs.watching.on_film", stop)
        yield root


def outcome(argv):
    """Run a command line; return its status and standard error. Streams are as strict as a console's."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = cli.main(argv)
        except SystemExit as leaving:
            status = leaving.code
    err.flush()
    return status, err.buffer.getvalue().decode()


def check(argv):
    """Assert that a command line ends in exit 0, or in one line (of the parser, and where its help is) and another."""
    status, err = outcome(argv)
    lines = [line for line in err.splitlines() if line.startswith("lfcs")]
    assert "Traceback" not in err, (argv, err)
    if status == 2:
        assert len(lines) == 1 and ": error: " in lines[0], (argv, err)
    elif status != 0:
        assert status == 1 and len(lines) == 1 and lines[0].startswith("lfcs: error: "), (argv, err)
    return err


# --- the grammar ---------------------------------------------------------------------------------------------------

odd = st.sampled_from(
    ["", " ", "-", "--", "..", "/dev/null", "~", "\udcff", "\0", "\n", "ünïcode", "a" * 300, "%s", "{}", "*"]
)
words = odd | st.text(max_size=8) | st.text("abc.:/-=0123456789\udc80", max_size=12)
words = words.map(lambda text: text if text.strip("/.") else "")  # folders above are looked through for runs, too long
integers = st.sampled_from(
    [
        "0",
        "-1",
        "1",
        "2",
        "3",
        "10",
        "1" * 20,
        "-" + "9" * 20,
        "9" * 5000,
        "1e3",
        "0x10",
        "1_000",
        "٣",
        "nan",
        "inf",
        "",
        "2.5",
    ]
)
numbers = integers | st.sampled_from(["1e-3", "1e400", "-0.0", "-inf", "NaN", ".5"])
modules = st.sampled_from(
    [
        ":",
        ":Id",
        ".x:Id",
        "..:Id",
        "a..b:Id",
        "toys:",
        "toys:Nothing-v0",
        "toys:Guess-v0",
        "a:b:c",
        "os:path",
        "toys:toys:X",
    ]
    + [f"{name}_module:Thing-v0" for name in BROKEN]
    + ["lacking_module:Lacking-v0", "json:decoder.JSONDecoder", "asks_module:a.b", "lfcs.agents:AGENTS"]
)
envs = modules | words | st.sampled_from(["CartPole-v1", "CartPole", "cartpole", "Blackjack-v1", "phys2d/CartPole-v1"])
envs |= st.sampled_from(["Humanoid-v2", "GymV21Environment-v0", "tabular/CliffWalking-v0", "LunarLander-v3", "a/b/c"])
agents = modules | words | st.sampled_from(["lf-cs", "e-prop", "acer", "random"])
keys = st.sampled_from(["rule.gamma", "rule.tau_f", "network.neurons", "train.env_workers", "train.watch", "agent.eps"])
keys |= st.sampled_from(["rule", "rule.", ".", "rule.x", "agent.x", "encoder.kind", "train.tracker", "replay.capacity"])
small = st.sampled_from(
    ["0", "-1", "1", "2", "3", "nan", "", "1e-3", "true", "auto", "none", "x", "2.5", "\udcff", "1/2"]
)
pairs = st.tuples(keys | words, small | modules).map("=".join) | words
kwargs = st.tuples(st.sampled_from(["a", "render_mode", "1", "", "x y", "class"]), numbers | words).map("=".join)
kwargs |= st.sampled_from(
    ["a=" + "(" * 300, "a=[1,", "a={}", "a=b'x'", "a=1j", "a={1,2}", "a=...", "a=10**10", "a='\\0'"]
)
seeds = (
    integers
    | words
    | st.sampled_from(["0..3", "3..0", "0..", "..", "0,0", "0..1,1", "0..99999999999", "-1..2", ",", "1,,2"])
)
files = words | st.sampled_from(["run", "damaged", "empty", "file", "nowhere", "run/config.json", "run/checkpoints"])
files |= st.sampled_from(["file/x", "new.png", "new.svg", "new.mp4", "new.html", "run/../run", "a" * 5000])
plans = st.sampled_from([f"{name}.json" for name in "abcdefg"] + ["nowhere.json", "cartpole", "pong-parts"]) | envs

targets = words | st.sampled_from(["xylo", "loihi2", "generic"])
episodes = st.sampled_from(["0", "-1", "1", "x", "2.5", ""])

NO = st.none()
FLAGS = {
    "train": {
        "--agent": agents, "--steps": integers, "--seed": integers, "--seeds": seeds, "--jobs": integers,
        "--run-dir": files, "--device": words, "--env-workers": small.filter(lambda text: text not in "123"),
        "--threads": small, "--env-timeout": numbers, "--from-nir": files, "--no-tuned": NO, "--env-kwargs": kwargs,
        "--watch": words, "--engine": words, "--debug": NO, "--set": pairs, "--help": NO, "--nothing": NO,
    },
    "eval": {"--episodes": episodes, "--seed": integers, "--engine": words, "--debug": NO},
    "resume": {"--steps": integers, "--debug": NO},
    "profile": {"--episodes": episodes, "--seed": integers, "--sampled": NO, "--energy": words, "--out": files},
    "quantise": {
        "--bits": integers, "--per-neuron": NO, "--decay-shift": NO, "--input-bits": integers, "--state-bits": integers,
        "--curve": NO, "--episodes": episodes, "--seed": integers, "--run-dir": files,
    },
    "export": {"--nir": files, "--form": words, "--dt": numbers, "--target": targets},
    "check": {
        "--target": targets, "--reader": words, "--fit": files, "--env": envs, "--ticks": integers,
        "--episodes": episodes,
    },
    "compare": {
        "--agents": agents, "--replays": integers, "--capacities": integers, "--seeds": seeds, "--steps": integers,
        "--rates": numbers, "--print-plan": NO, "--jobs": integers, "--peers": NO, "--out": files,
    },
    "tune": {
        "--agent": agents, "--ranges": pairs, "--trials": integers, "--steps": integers, "--seeds": seeds,
        "--jobs": integers, "--actions": words, "--set": pairs, "--print-plan": NO, "--out": files,
    },
    "bench": {
        "--quick": NO, "--threads": integers, "--out": files, "--to-threshold": NO, "--seeds": integers,
        "--device": words,
    },
    "plot": {
        "--divergence": NO, "--weights": NO, "--raster": NO, "--by": words, "--seed": integers, "--sampled": NO,
        "--out": files,
    },
    "play": {"--video": files, "--episodes": integers, "--seed": integers, "--sampled": NO, "--spikes": NO},
    "report": {"--out": files},
    "watch": {"--port": integers, "--host": words},
    "list": {},
    "completion": {},
}  # fmt: skip
OPERANDS = {
    "train": envs, "tune": envs, "compare": plans, "bench": words, "completion": words | st.sampled_from(["bash"]),
    "list": words | st.sampled_from(["runs", "envs", "agents", "experiments"]),
}  # fmt: skip


@st.composite
def command_lines(draw):
    """Return a command with operands and flags, some of which it does not have."""
    name = draw(st.sampled_from(list(FLAGS)))
    argv = [name, *draw(st.lists(OPERANDS.get(name, files), min_size=1, max_size=1) | st.lists(words, max_size=2))]
    for flag in draw(st.lists(st.sampled_from([*FLAGS[name], "--steps"]), max_size=3)):
        argv.append(flag)
        values_of = FLAGS[name].get(flag, integers)
        if values_of is not NO:
            argv += draw(st.lists(values_of, min_size=1, max_size=2 if flag in ("--set", "--seeds", "--agents") else 1))
    return argv


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 20) | st.sampled_from([10**20, -(10**20), 1e308, float("nan"), 0.5])
    | st.sampled_from(["", "CartPole-v1", "lf-cs", "\ud800", "..", "\0", ":", "../x"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["lf-cs", "agent", "", "../a"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
plan_keys = st.sampled_from(["env", "experiment", "steps", "grid_steps", "agents", "baseline", "peers", "replays"])
plan_keys |= st.sampled_from(["capacities", "seeds", "rates", "grid_replays", "grid_seeds", "settings", "note", "x"])
written_plans = st.dictionaries(plan_keys, json_values, max_size=4) | st.dictionaries(
    plan_keys, json_values, max_size=3
).map(lambda plan: {"env": "CartPole-v1", **plan})


def tidy(place):
    """Remove what a case has made."""
    for path in place.iterdir():
        if path.name not in KEPT and not path.name.endswith(("_module.py", ".json", "__pycache__")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def fuzz(cases):
    """Return the decorator of a test that draws so many cases, the same every time."""
    return settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate,),  # a case writes files: a smaller one is not the same one
        suppress_health_check=list(HealthCheck),
    )


@fuzz(220)
@given(argv=command_lines())
def test_any_command_line_ends_in_a_line(place, argv):
    check(argv)
    tidy(place)


@fuzz(80)
@given(plan=written_plans, flags=st.lists(st.sampled_from(["--print-plan", "--peers"]), max_size=1))
def test_any_plan_ends_in_a_line(place, plan, flags):
    (place / "new.json").write_text(json.dumps(plan))
    check(["compare", "new.json", *flags])
    tidy(place)


@pytest.mark.soak
@fuzz(4000)
@given(argv=command_lines())
def test_thousands_of_command_lines(place, argv):
    check(argv)
    tidy(place)


@pytest.mark.soak
@fuzz(1000)
@given(plan=written_plans, flags=st.lists(st.sampled_from(["--print-plan", "--peers"]), max_size=1))
def test_a_thousand_plans(place, plan, flags):
    (place / "new.json").write_text(json.dumps(plan))
    check(["compare", "new.json", *flags])
    tidy(place)


# --- what was found, by hand ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv,expected",
    [
        (["train", ":Id"], "is not of the form package.module:Name"),
        (["train", ".x:Id"], "is not of the form package.module:Name"),
        (["train", "CartPole-v1", "--agent", ".x:Id"], "is not of the form package.module:Name"),
        (["train", "raises_module:X-v0"], "two lines (RuntimeError)"),
        (["train", "leaves_module:X-v0"], "cannot import 'leaves_module'"),
        (["train", "CartPole-v1", "--agent", "asks_module:Rule"], "(ValueError)"),
        (
            ["train", "lacking_module:Lacking-v0"],
            "needs the package 'a_package_that_is_not_there', which is not installed",
        ),
        (
            ["train", "phys2d/CartPole-v1"],
            "needs the package 'jax', the extra 'peers-jax': pip install 'lfcs[peers-jax]'",
        ),
        (["train", "CartPole-v1", "--steps", "1" * 20], "--steps: must be at most 1e+15, got 11111111111111111111"),
        (["train", "CartPole-v1", "--seed", "9" * 5000], "--seed: invalid int value"),
        (["train", "CartPole-v1", "--agent", "\udcff"], r"an argument is not UTF-8: '\udcff'"),
        (["eval", "\0"], r"an argument has a NUL in it: '\x00'"),
        (["eval", "run", "--seed", "-1"], "--seed must be at least 0, got -1"),
        (["bench", "--threads", "0"], "--threads must be at least 1, got 0"),
        (["compare", "b.json"], "b.json is damaged: it is not JSON"),
        (["compare", "c.json"], "c.json is damaged: it is not JSON"),
    ],
)
def test_known_failures_are_a_line(place, argv, expected):
    assert expected in check(argv)


@pytest.mark.parametrize("flag", ["env-workers", "threads", "watch"])
@pytest.mark.parametrize("seeds", [[], ["--seeds", "0..1"]])
def test_a_flag_and_a_setting_that_say_the_same_are_refused(place, monkeypatch, flag, seeds):
    monkeypatch.setattr(run, "begin", stop)
    key, value = f"train.{flag.replace('-', '_')}", {"watch": "none"}.get(flag, "1")
    argv = ["train", "CartPole-v1", *seeds, f"--{flag}", value]
    assert f"--{flag} and --set {key} are the same setting: give one of them" in check(
        [*argv, "--set", f"{key}={value}"]
    )
    assert "would begin" in check(argv)
    assert "would begin" in check(["train", "CartPole-v1", *seeds, "--set", f"{key}={value}"])


def test_the_missing_package_of_an_environment_is_named_with_its_extra(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "Box2D", None)
    monkeypatch.delitem(sys.modules, "gymnasium.envs.box2d", raising=False)
    monkeypatch.delitem(sys.modules, "gymnasium.envs.box2d.lunar_lander", raising=False)
    monkeypatch.delitem(sys.modules, "gymnasium.envs.box2d.bipedal_walker", raising=False)
    assert "needs the package 'Box2D', the extra 'box2d': pip install 'lfcs[box2d]'" in check(
        ["train", "LunarLander-v3"]
    )


@pytest.mark.parametrize("env", ["../../x", "..", "/etc/x", "a/../../b", "../" * 3, ".", "x\0y"])
def test_an_environments_id_cannot_leave_the_directory_of_runs(tmp_path, monkeypatch, env):
    monkeypatch.chdir(tmp_path)
    made = run.new_run_dir(Config(env=env))
    assert made.resolve().parent == tmp_path / "runs" and made.is_dir()
    name = values.file_name(env)
    assert (
        name not in ("", ".", "..") and os.sep not in name and Path("runs", name).resolve().parent == tmp_path / "runs"
    )


def test_what_is_served_is_served_to_this_machine_alone():
    args = cli.make_parser().parse_args(["watch", "runs"])
    assert args.host in ("localhost", "127.0.0.1")
    assert cli.make_parser().parse_args(["watch", "runs", "--host", "0.0.0.0"]).host == "0.0.0.0"


def test_the_grammar_has_every_flag_of_every_command():
    parser = cli.make_parser()
    (commands,) = (a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    assert set(FLAGS) | {"experiments", "agents", "envs"} == set(commands)
