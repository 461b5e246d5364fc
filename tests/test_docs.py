"""What README and docs say is so: snippets and commands run, links resolve, every setting is told.

``python tests/test_docs.py`` writes the tables of docs/settings.md.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from lfcs import catalogue, cli, configure, run
from lfcs.agents import AGENTS
from lfcs.study import values
from lfcs.study.plan import Plan

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "experiments/results/README.md")
}
# what is added to a command to run it here; others are only parsed
RUN = {"train": [], "eval": [], "resume": [], "agents": [], "envs": [], "experiments": [], "compare": ["--print-plan"]}
RUN["plot"] = []
RUN["tune"] = RUN["compare"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
MARKS = "<!-- generated -->\n", "<!-- end -->\n"


def commands(text):
    """Return the arguments of every ``lfcs ...`` line of a block."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("lfcs ")]


ALL = [argv for text in PAGES.values() for kind, code in BLOCK.findall(text) if kind == "sh" for argv in commands(code)]


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Let every run be tiny whatever its settings, in an empty folder that modules are found in."""
    build = configure.build_config

    def build_small(*args, **kwargs):
        config = build(*args, **kwargs)
        few = {"num_envs": 2, "env_workers": "0", "eval_every": 150, "eval_episodes": 1, "final_episodes": 2}
        train, network = dataclasses.replace(config.train, **few), dataclasses.replace(config.network, neurons=8)
        return dataclasses.replace(config, steps=min(config.steps, 300), network=network, train=train)

    for module in (run, configure):  # from Python and on the command line
        monkeypatch.setattr(module, "build_config", build_small)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize("page", [name for name in PAGES if BLOCK.search(PAGES[name]) and "results" not in name])
def test_snippets_and_commands_run(small, page, tmp_path, capsys):
    for number, (kind, code) in enumerate(BLOCK.findall(PAGES[page])):
        if kind == "sh":
            for argv in commands(code):
                if argv[0] in RUN:
                    more = ["--seeds", "0"] if argv[0] == "train" and "--seeds" in argv else RUN[argv[0]]
                    assert cli.main([*argv, *more]) == 0, (argv, capsys.readouterr().err)
        elif kind == "json":
            assert Plan.from_dict(json.loads(code))
        elif kind == "python":
            named = re.match(r"# (\w+)\.py\n", code)
            path = tmp_path / f"{named[1] if named else f'snippet_{number}'}.py"
            path.write_text(code, encoding="utf-8")
            if named:
                importlib.invalidate_caches()
                importlib.import_module(path.stem)
            else:
                runpy.run_path(str(path))


def test_the_example_of_a_rule_is_short_and_has_an_option_of_its_own():
    (code,) = (code for kind, code in BLOCK.findall(PAGES["README.md"]) if code.startswith("# mine.py"))
    assert len(code.splitlines()) < 30 and "lfcs.setting(" in code
    assert any(argv[0] == "train" and {"mine:Rule", "agent.width=0.3"} <= set(argv) for argv in ALL)


@pytest.mark.parametrize("argv", ALL, ids=" ".join)
def test_commands_are_parsed(argv):
    args = cli.make_parser().parse_args(argv)
    seeds = getattr(args, "seeds", None)
    assert args.call and (not isinstance(seeds, list) or values.seeds("--seeds", seeds))


def test_the_front_door_is_short():
    assert len(PAGES["README.md"].encode()) <= 8_000


def test_targets_and_modules_exist():
    text = "\n".join(PAGES.values())
    targets = set(re.findall(r"(?:`|^ *)make ([a-z][\w-]*)", text, re.M))
    assert {"run", "test", "bench", "peers"} <= targets
    assert targets <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    modules = set(re.findall(r"python -m (lfcs\.[\w.]+)", text))
    assert "lfcs.study.figure1" in modules and all(importlib.util.find_spec(name) for name in modules)


def anchors(text):
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_resolve(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("http"):
            path, _, anchor = target.partition("#")
            found = (ROOT / page).parent / path
            assert found.exists(), target
            assert not anchor or anchor in anchors(found.read_text(encoding="utf-8")), target


def test_settings_that_are_named_exist():
    known = {name.split()[0] for name, _ in catalogue.settings()} | {"agent.width"}
    for page in PAGES:
        if "results" not in page:  # which names those of then
            for key in re.findall(r"\b(?:network|rule|replay|encoder|train|agent)\.\w+", PAGES[page]):
                assert key in known or key.endswith((".md", ".py")), (page, key)


def settings_tables():
    """Return a table for each section of settings, and one of what rules stand for."""
    lines, section = [], ""
    for name, meaning in catalogue.settings():
        key, default = re.fullmatch(r"(\S+) \((.*)\)", name).groups()
        if key.split(".")[0] != section:
            section = key.split(".")[0]
            lines += ["", f"### {section}", "", "| setting | default | meaning |", "|---|---|---|"]
        lines.append(f"| `{key}` | {default} | {meaning} |")
    lines += ["", "### What a rule stands for", "", "| rule | settings |", "|---|---|"]
    for name, agent in AGENTS.items():
        if agent.fixed:
            lines.append(f"| `{name}` | {', '.join(f'`{key}` = {value}' for key, value in agent.fixed.items())} |")
    return "\n".join([*lines[1:], ""])


def test_every_setting_is_told():
    assert settings_tables() == PAGES["docs/settings.md"].split(MARKS[0])[1].split(MARKS[1])[0]


if __name__ == "__main__":
    around = PAGES["docs/settings.md"]
    begin, end = around.index(MARKS[0]) + len(MARKS[0]), around.index(MARKS[1])
    (ROOT / "docs/settings.md").write_text(around[:begin] + settings_tables() + around[end:], encoding="utf-8")
