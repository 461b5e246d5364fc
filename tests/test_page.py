"""The page of a run says what the run's files say, alone and offline; its command makes the run again."""

from __future__ import annotations

import base64
import re
import shlex
from html.parser import HTMLParser
from io import BytesIO

import gymnasium
import numpy as np
import pytest
from toys import Clock

import lfcs
from lfcs import cli, run
from lfcs.directory import runs_of
from lfcs.monitor import read_metrics
from lfcs.report import drawings, markup, page
from lfcs.report.facts import Facts
from lfcs.study.stats import interval, iqm

pytest.importorskip("matplotlib")
SMALL = {"network.neurons": 12, "train.num_envs": 2, "rule.window": 10, "rule.tau_s": 10, "train.final_episodes": 3}
SMALL |= {"train.eval_every": 100, "train.eval_episodes": 2}


class Page(HTMLParser):
    """Collects headings, text, pictures and whatever would be fetched; every tag must be closed."""

    VOID = {"meta", "img", "br"}

    def __init__(self, html):
        super().__init__()
        self.headings, self.images, self.fetched, self.words, self.open = [], [], [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        of = dict(attributes)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append((of["alt"], of["src"]))
        self.fetched += [v for k, v in attributes if k in ("src", "href") and not v.startswith("data:")]
        self.fetched += [tag] if tag in ("script", "link", "iframe") else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two rules on two seeds each, one folder."""
    root = tmp_path_factory.mktemp("runs")
    for agent in ("e-prop", "lf-cs"):
        for seed in (0, 1):
            own = SMALL if agent == "lf-cs" else {k: v for k, v in SMALL.items() if "rule" not in k}
            given = {"agent": agent, "seed": seed, "settings": own, "steps": 400, "tuned": False}
            lfcs.train("CartPole-v1", run_dir=root / f"{agent}_{seed}", **given)
    return root


def test_a_page_of_one_run_is_whole_and_offline(runs, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert cli.main(["report", str(runs / "lf-cs_0"), "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    html = out.read_text(encoding="utf-8")
    found = Page(html)
    assert found.fetched == [] and "http" not in re.sub(r'src="[^"]*"', "", html)
    assert found.headings == [
        "lf-cs_0", "Final scores", "Learning", "An evaluation episode", "Learning fast, changing slow", "Firing",
        "Settings", "How to make it again",
    ]  # fmt: skip
    assert [name for name, _ in found.images] == [
        "learning curves", "spike raster", "how far the new policy goes", "firing rates",
    ]  # fmt: skip
    for name, source in found.images:
        kind, _, data = source.partition(";base64,")
        content = base64.b64decode(data)
        assert len(content) > 5_000, name
        assert content.startswith(b"\x89PNG" if kind == "data:image/png" else b"<?xml"), name
    summary = run.read_summary(runs / "lf-cs_0")
    assert f"{summary['mean_return']:.2f} ± {summary['std_return']:.2f}" in found.text
    assert "torch 2" in found.text and "CartPole-v1" in found.text and "prefers-color-scheme: dark" in html


def test_a_picture_is_not_empty(runs):
    from PIL import Image

    found = Page(page.of_one(Facts.read(runs / "lf-cs_0")))
    (source,) = [source for name, source in found.images if name == "spike raster"]
    pixels = np.asarray(Image.open(BytesIO(base64.b64decode(source.partition(",")[2]))).convert("L"))
    assert pixels.shape[1] > 1000 and 0.005 < (pixels < 128).mean() < 0.5


def test_what_differs_from_the_defaults_comes_first(runs):
    facts = Facts.read(runs / "lf-cs_0")
    assert facts.different == {**SMALL}
    first, folded = page.settings(facts).split("<details>")
    named = [re.findall(r"<tr><td>([a-z_]+[.][a-z_]+)</td>", part) for part in (first, folded)]
    assert set(named[0]) == {*SMALL} and set(named[1]) == {*facts.flat} - {*SMALL}
    assert [key.split(".")[0] for key in named[0]] == ["rule"] * 2 + ["network"] + ["train"] * 4


def test_the_command_makes_the_same_run(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("lf-cs_0", "e-prop_1"):
        facts = Facts.read(runs / name)
        (line,) = facts.again()
        program, *argv = shlex.split(line)
        assert program == "lfcs" and cli.main([*argv, "--run-dir", name]) == 0
        assert run.load_config(tmp_path / name) == facts.config
        again = run.read_summary(tmp_path / name)
        assert again["mean_return_sampled"] == facts.summary["mean_return_sampled"]


def test_a_run_that_went_on_says_so(runs, tmp_path):
    path = tmp_path / "longer"
    lfcs.train("CartPole-v1", steps=200, settings=SMALL, run_dir=path, tuned=False)
    lfcs.resume(path, steps=300)
    first, second = Facts.read(path).again()
    assert "--steps 200 --run-dir again" in first and second == "lfcs resume again --steps 300"


def test_a_comparison_says_what_statistics_say(runs):
    path = page.write([runs], None)
    assert path == runs / "report.html"
    found = Page(path.read_text(encoding="utf-8"))
    path.unlink()
    assert found.headings[:5] == [
        "4 runs: lf-cs, e-prop on CartPole-v1", "Learning", "Final scores", "Runs", "Settings in which they differ",
    ]  # fmt: skip
    for agent in ("lf-cs", "e-prop"):
        scores = np.array([run.read_summary(runs / f"{agent}_{seed}")["mean_return"] for seed in (0, 1)])
        low, high = interval(scores)
        assert f"{iqm(scores):.2f} [{low:.2f}, {high:.2f}]" in found.text
    assert "rule.replays 4 1" in found.text and "rule.gamma 0.99" in found.text.partition("the other")[2]
    assert not found.fetched and len(found.images) == 2 + 4


def test_curves_end_with_the_final_policy_and_where_the_shortest_does(runs):
    facts = Facts.read(runs / "lf-cs_0")
    steps, values = drawings.curve(facts, "mean_reward")
    measured = [row for row in read_metrics(facts.path) if np.isfinite(row["eval/mean_reward"])]
    assert steps[-1] == facts.summary["env_steps"] and values[-1] == facts.summary["mean_return"]
    assert [*steps[:-1]] == [row["step"] for row in measured if row["step"] < steps[-1]]
    one, other = (np.array([10.0, 20, 30]), np.array([1.0, 2, 3])), (np.array([10.0, 25]), np.array([5.0, 8.0]))
    at, together = drawings.common([one, other])
    assert at.tolist() == [10, 20, 25] and together.tolist() == [[1, 2, 2.5], [5, 7, 8]]
    steps, values = drawings.smooth(np.arange(1000.0), np.ones(1000))
    assert len(steps) == 400 and steps[0] == 1 and (values == 1).all()


def test_an_unfinished_run_has_a_page_and_an_empty_one_an_error(tmp_path, capsys):
    class Cut(lfcs.Callback):
        def window(self, trainer, metrics):
            if trainer.env_steps >= 100:
                trainer.interrupt()

    with pytest.raises(lfcs.UserError, match="continue with"):
        lfcs.train("CartPole-v1", steps=400, settings=SMALL, run_dir=tmp_path / "cut", callbacks=[Cut()], tuned=False)
    text = Page(page.of_one(Facts.read(tmp_path / "cut"))).text
    assert "Unfinished, at step 100" in text and "lfcs resume" in text
    run.begin(run.load_config(tmp_path / "cut"), tmp_path / "new" / "a", progress=False).close()
    for folder, message in (("new", "has nothing to report yet"), ("none", "no directory")):
        assert cli.main(["report", str(tmp_path / folder)]) == 1
        assert message in capsys.readouterr().err


def test_text_is_text_and_numbers_stand_to_the_right():
    made = markup.table(("a<b", "n"), [("<script>", "1,200"), ("x", "3.5 ± 1"), ("y", "")])
    assert "<script>" not in made and "a&lt;b" in made
    assert made.count("<td class=n>") == 3 and "<td>x</td>" in made
    assert markup.table(("a",), []) == "" and markup.section("nothing", "") == ""


def test_runs_of_folders_are_each_there_once(runs):
    assert runs_of([runs / "lf-cs_1", runs]) == [runs / n for n in ("lf-cs_1", "e-prop_0", "e-prop_1", "lf-cs_0")]


def test_what_comes_from_outside_is_text_on_a_page(tmp_path):
    """A run's directory and its environment's arguments, which a stranger may have chosen."""
    gymnasium.register("Labelled-v0", entry_point=lambda label: Clock())
    script, name = "<script>alert(1)</script>", "<img src=x onerror=alert(2)>"
    for seed in (0, 1):
        given = {"seed": seed, "settings": SMALL, "tuned": False, "env_kwargs": {"label": script}}
        lfcs.train("Labelled-v0", steps=100, run_dir=tmp_path / "of" / f"{name}{seed}", **given)
    for at in (tmp_path / "of" / f"{name}0", tmp_path / "of"):
        assert cli.main(["report", str(at), "--out", str(tmp_path / "page.html")]) == 0
        html = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert "<script" not in html and "<img src=x" not in html
        found = Page(html)
        assert found.fetched == [] and all(src.startswith("data:") for _, src in found.images)
        assert name in found.text and (script in found.text or at.name == "of")
