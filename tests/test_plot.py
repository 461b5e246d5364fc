"""Curves of runs as they are found: grouped by what differs, seeds and their mean, the final evaluation too."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lfcs
from lfcs import checkpoint, cli
from lfcs.configure import build_config
from lfcs.errors import UserError
from lfcs.run import Run
from lfcs.study import curves, runs
from lfcs.study.figures import colours_of
from lfcs.study.stats import interval, iqm

SMALL = {
    "network.neurons": 8, "train.num_envs": 2, "rule.window": 10, "rule.tau_s": 10, "train.final_episodes": 2,
    "train.eval_every": 100, "train.eval_episodes": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Return a folder with two rules of three seeds each, one run with other settings, and one of another task."""
    root = tmp_path_factory.mktemp("runs")
    for agent, seeds in (("lf-cs", (0, 1, 2)), ("e-prop", (0, 1, 2))):
        for seed in seeds:
            train(root / "both" / agent / f"seed{seed}", agent=agent, seed=seed)
    train(root / "more" / "often", agent="lf-cs", **{"rule.replays": 7})
    lfcs.train("Pendulum-v1", steps=200, settings=SMALL, tuned=False, run_dir=root / "pendulum")
    return root


def train(path, agent="lf-cs", seed=0, steps=240, **settings):
    return lfcs.train("toys:Guess-v0", agent=agent, seed=seed, steps=steps, settings=SMALL | settings, run_dir=path)


def labels(groups):
    return [(group.label, group.env, sorted(run.config["seed"] for run in group.runs)) for group in groups]


def test_runs_are_found_however_deep_and_once(root):
    found = runs.find([root / "both", root / "both" / "lf-cs" / "seed1", root / "more"])
    assert len(found) == 7 and len({run.path for run in found}) == 7


def test_runs_are_grouped_by_agent_and_task_and_by_what_else_differs(root):
    seeds = [0, 1, 2]
    assert labels(runs.grouped(runs.find([root / "both"]))) == [
        ("e-prop", "toys:Guess-v0", seeds), ("lf-cs", "toys:Guess-v0", seeds),
    ]  # fmt: skip
    found = labels(runs.grouped(runs.find([root])))
    assert [row for row in found if row[1] == "Pendulum-v1"] == [("lf-cs", "Pendulum-v1", [0])]
    mine = {label: seeds for label, env, seeds in found if env == "toys:Guess-v0"}
    usual = json.loads((root / "both/lf-cs/seed0/config.json").read_text())["rule"]["replays"]
    assert mine == {"e-prop": seeds, f"lf-cs replays={usual}": seeds, "lf-cs replays=7": [0]}


def test_a_series_of_evaluations_ends_with_the_final_one(root):
    (run,) = runs.find([root / "pendulum"])
    summary = json.loads((run.path / "summary.json").read_text())
    steps, values = run.series("eval/mean_reward_sampled")
    assert steps.tolist() == [100, 200] and values[-1] == summary["mean_return_sampled"]
    assert run.series("rollout/ep_rew_mean").shape[1] <= len(run.rows) and run.series("no such key").shape == (2, 0)


def test_an_aggregate_is_the_interquartile_mean_as_far_as_all_seeds_have_come():
    series = [np.array([[0.0, 10.0, 20.0], [0.0, k, 2.0 * k]]) for k in (1.0, 2.0, 4.0, 9.0)]
    series[1] = series[1][:, :2]  # stopped
    series[2] = np.array([[0.0, 20.0], [0.0, 8.0]])  # told of less often: 4 at step 10
    found = runs.aggregate(series)
    at_10 = np.array([1.0, 2.0, 4.0, 9.0])
    assert found.steps.tolist() == [0, 10] and found.mean.tolist() == [0, iqm(at_10)] == [0, 3]
    np.testing.assert_allclose(found.bounds[1], interval(at_10, rounds=1000))
    assert runs.aggregate([series[0], np.empty((2, 0))]) is None
    assert runs.aggregate([series[0], np.array([[30.0], [1.0]])]) is None  # they have no step in common


def test_seeds_are_thin_lines_and_their_mean_is_thick(root):
    figure = curves.draw([root / "both"])
    assert [axis.get_ylabel() for axis in figure.axes] == list(curves.RETURNS.values())
    colours = colours_of(["lf-cs", "e-prop"])
    for axis in figure.axes:
        for colour in colours.values():
            widths = [line.get_linewidth() for line in axis.lines if line.get_color() == colour]
            assert sorted(widths) == [0.4] * 3 + [1.4]
        assert len(axis.collections) == 2  # the intervals
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["e-prop (3 seeds)", "lf-cs (3 seeds)"] and figure.axes[0].get_title() == "toys:Guess-v0"
    sizes = {label.get_fontsize() for axis in figure.axes for label in axis.get_xticklabels() + axis.get_yticklabels()}
    assert sizes == {7.0} and figure.get_figwidth() == 3.4


def test_every_task_has_a_column_and_a_rule_one_colour(root):
    figure = curves.draw([root / "both" / "lf-cs", root / "pendulum"])
    assert [axis.get_title() for axis in figure.axes[:2]] == ["Pendulum-v1", "toys:Guess-v0"]
    assert {line.get_color() for axis in figure.axes for line in axis.lines} == set(colours_of(["lf-cs"]).values())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["lf-cs (1 to 3 seeds)"]


def test_divergence_shows_the_ratio_in_its_band(root):
    figure = curves.draw([root / "more" / "often"], divergence=True)
    (run,) = runs.find([root / "more" / "often"])
    axis, eps = figure.axes[0], run.settings["agent.eps"]
    assert np.array_equal(axis.lines[0].get_ydata(), run.series("train/ratio_mean")[1])
    assert [line.get_ydata()[0] for line in axis.lines[1:]] == [1 - eps, 1 + eps]
    band = axis.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == run.series("train/ratio_p05")[1].min() and band.max() == run.series("train/ratio_p95")[1].max()
    assert len(figure.axes) == 5 and all(axis.lines for axis in figure.axes)


def test_a_rule_without_a_trust_region_has_none_drawn(root):
    figure = curves.draw([root / "both" / "e-prop"], divergence=True)
    assert len(figure.axes[0].lines) == 1 and not figure.axes[2].lines


def test_a_run_plots_itself(root):
    run = Run(root / "pendulum", None, {})
    assert len(run.plot().axes) == 3 and len(run.plot(divergence=True).axes) == 5
    assert run.plot()._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("flags", "name", "start"),
    [
        ([], "plot.png", b"\x89PNG"),
        (["--divergence"], "divergence.png", b"\x89PNG"),
        (["--raster", "--by", "weight", "--sampled"], "raster.png", b"\x89PNG"),
        (["--membrane"], "membrane.png", b"\x89PNG"),
        (["--weights"], "weights.png", b"\x89PNG"),
        (["--raster", "--out", "a/b.pdf"], "a/b.pdf", b"%PDF"),
        (["--out", "c.svg"], "c.svg", b"<?xml"),
    ],
)
def test_the_command_writes_a_picture_and_says_where(root, tmp_path, monkeypatch, capsys, flags, name, start):
    monkeypatch.chdir(tmp_path)
    run = root / "pendulum"
    assert cli.main(["plot", str(run), *flags]) == 0
    path = name if "--out" in flags else run / name
    out = capsys.readouterr().out.splitlines()
    assert out[-2] == f"picture: {path}" and out[-1].startswith("next:    lfcs p")
    assert (run / name if "--out" not in flags else tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nothing"], "nothing holds no run"),
        (["pendulum", "--out", "it.jpg"], "it.jpg: a picture ends in .png, .svg or .pdf"),
        (["both", "--raster"], "--raster is of one run, and there are 6: give one, as both/e-prop/seed0"),
        (["both/lf-cs/seed0", "--raster", "--seed", "-1"], "a seed of at least 0"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(root, monkeypatch, capsys, argv, message):
    monkeypatch.chdir(root)
    assert cli.main(["plot", *argv]) == 1
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1 and message in err[0]


def test_a_damaged_run_is_one_line(tmp_path):
    (tmp_path / "metrics.csv").write_text("step\n")
    for content, message in (("{", "is damaged"), ("[]", "is damaged"), ('{"env": 1}', "is not the settings")):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(UserError, match=message):
            runs.find([tmp_path])
    checkpoint.write_sealed(tmp_path / "config.json", build_config("a").to_dict())
    with pytest.raises(UserError, match="has nothing to plot yet"):
        curves.draw([tmp_path])
