"""The page: of one run all that there is to see, of several runs a comparison and a section for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lfcs import __version__, envs
from lfcs.agents import AGENTS
from lfcs.checkpoint import whole
from lfcs.directory import runs_of
from lfcs.errors import UserError
from lfcs.pictures import style
from lfcs.pictures.raster import draw_raster
from lfcs.pictures.weights import action_weights
from lfcs.playing import of_run
from lfcs.report import drawings, markup
from lfcs.report.facts import Facts, shown
from lfcs.run import load
from lfcs.study.stats import TOLD, in_words

MOST = 12  # runs with a section of their own


def write(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page of all runs in some folders; return its path: ``report.html`` in the first of them unless given.

    Raises UserError where there is no run, where none has metrics yet, or where matplotlib is missing.
    """
    style.check_installed()
    runs = [Facts.read(path) for path in runs_of(folders)]
    begun = sorted((facts for facts in runs if facts.metrics), key=_order)
    if not begun:
        raise UserError(f"{runs[0].path} has nothing to report yet: it has not finished a window")
    html = of_one(begun[0]) if len(runs) == 1 else of_several(begun)
    out = out or folders[0] / "report.html"
    with whole(out) as file:
        file.write(html.encode())
    return out


def _order(facts: Facts) -> tuple[Any, ...]:
    """Return by what runs are sorted: tasks, rules as they are listed, seeds."""
    known, agent = [*AGENTS], facts.config.agent
    at = known.index(agent) if agent in known else len(known)
    return facts.config.env, at, agent, facts.config.seed, facts.name


def of_one(facts: Facts) -> str:
    """Return the page of one run."""
    config = facts.config
    lead = f"{config.agent} on {config.env}, seed {config.seed}, {facts.steps:,} of {config.steps:,} environment steps"
    parts = [f"<h1>{markup.escape(facts.name)}</h1>", markup.paragraph(lead, "lead")]
    return markup.page(f"{facts.name}: {config.agent} on {config.env}", [*parts, *sections(facts), _made()])


def sections(facts: Facts) -> list[str]:
    """Return the sections of a run."""
    look = markup.picture
    learning = look(drawings.learning(facts), "learning curves", LEARNING)
    trusted = look(drawings.divergence(facts), "how far the new policy goes", DIVERGENCE)
    return [
        markup.section("Final scores", scores(facts)),
        markup.section("Learning", learning),
        markup.section("An evaluation episode", raster(facts)),
        markup.section("Learning fast, changing slow", trusted),
        markup.section("Firing", look(drawings.firing(facts), "firing rates", FIRING)),
        markup.section("Settings", settings(facts)),
        markup.section("How to make it again", *again(facts)),
    ]


LEARNING = (
    "Returns as the run went. The band is one standard deviation over the episodes of an evaluation with greedy "
    "actions; the last points are the final policy's."
)
DIVERGENCE = (
    "The reference policy acts, the new policy learns from it. Of the last pass over each window unless said "
    "otherwise; means over stretches of windows where there are many. The last window may be a short one."
)
FIRING = "Over neurons and windows. A silent neuron has not fired once in a window."
RASTER = "An episode of the newest policy with greedy actions: spikes under what it observed and did."


def scores(facts: Facts) -> str:
    """Return the final scores of a run, or that it has none yet."""
    found = facts.summary
    if found is None:
        return markup.paragraph(f"Unfinished, at step {facts.steps:,}. Go on with: lfcs resume {facts.path}")
    rows = [
        (name, f"{found[f'mean_return{key}']:.2f} ± {found[f'std_return{key}']:.2f}", f"{found['episodes']}")
        for name, key in (("greedy", ""), ("sampled", "_sampled"))
    ]
    table = markup.table(("actions", "return, mean ± standard deviation", "episodes"), rows)
    times = f"{found['seconds']:.0f} s of learning, {found.get('evaluation_seconds', 0):.0f} s of evaluation"
    text = f"{found['weight_updates']:,} weight updates; {times}."
    text += f" Diverged: {found['diverged']}." if found.get("diverged") else " It did not diverge."
    text += f" Stopped early: {found['stopped']}." if found.get("stopped") else ""
    return table + markup.paragraph(text, "soft")


def settings(facts: Facts) -> str:
    """Return the settings, what differs from the defaults first."""
    known, different = facts.known, facts.different

    def rows(keys: Any) -> list[tuple[str, ...]]:
        return [(k, shown(facts.flat[k]), shown(known[k].default), known[k].metadata["doc"]) for k in keys]

    header = "setting", "here", "default", "meaning"
    first = markup.table(header, rows(different)) or markup.paragraph("Every setting is the default.")
    others = markup.table(header, rows(key for key in facts.flat if key not in different))
    return (
        markup.paragraph(f"{len(different)} settings differ from the defaults.")
        + first
        + markup.folded(f"the other {len(facts.flat) - len(different)} settings", others)
    )


def again(facts: Facts) -> list[str]:
    """Return the command, versions, environment, seed and what was chosen by itself."""
    config, told = facts.config, facts.told
    rows = [("environment", config.env)]
    rows += [("made with", envs.in_words(config.env_kwargs))] if config.env_kwargs else []
    rows += [("seed", str(config.seed)), ("rule", config.agent)]
    rows += [(name, text) for name, text in told.get("notes", {"environments": told.get("environments", "")}).items()]
    rows += [("versions", ", ".join(f"{name} {version}" for name, version in told.get("versions", {}).items()))]
    commands = markup.command("\n".join(facts.again()))
    same = "The same versions on the same machine give the same numbers."
    return [commands, markup.paragraph(same, "soft"), markup.table(("what", "here"), rows)]


def raster(facts: Facts) -> str:
    """Return the raster of an evaluation episode, which the newest policy plays now, as the run does."""
    episode = of_run(facts.path, seed=facts.config.seed)[0]
    figure = style.figure(drawings.WIDE, 5.2)
    draw_raster(figure, episode, action_weights(load(facts.path)))
    return markup.picture(figure, "spike raster", RASTER, dots=True)


def of_several(runs: Sequence[Facts]) -> str:
    """Return the page of several runs."""
    agents = list(dict.fromkeys(facts.config.agent for facts in runs))
    tasks = list(dict.fromkeys(facts.config.env for facts in runs))
    title = f"{len(runs)} runs: {', '.join(agents)} on {', '.join(tasks)}"
    curves = [
        markup.picture(drawings.comparison(runs, key), f"learning curves, {name}", CURVES)
        for key, name in (("mean_reward_sampled", "sampled"), ("mean_reward", "greedy"))
    ]
    parts = [f"<h1>{markup.escape(title)}</h1>", markup.section("Learning", *curves)]
    parts += [markup.section("Final scores", together(runs)), markup.section("Runs", each(runs))]
    parts.append(markup.section("Settings in which they differ", unlike(runs)))
    told = []
    for facts in runs[:MOST]:
        inside = markup.picture(drawings.divergence(facts), f"how far the new policy goes: {facts.name}", DIVERGENCE)
        whole_ = [scores(facts), inside, settings(facts), *again(facts)]
        told.append(markup.folded(facts.name, "".join(whole_)))
    if len(runs) > MOST:
        told.append(markup.paragraph(f"These are the first {MOST} runs; lfcs report RUN tells of any other.", "soft"))
    parts.append(markup.section("Each run: scores, divergence, settings, command", *told))
    return markup.page(title, [*parts, _made()])


CURVES = (
    "Thin lines are runs. Thick lines are interquartile means over the runs of a rule, bands and brackets their "
    f"{TOLD}; curves end where the shortest run does."
)


def together(runs: Sequence[Facts]) -> str:
    """Return the final scores by task and agent, over seeds."""
    rows = []
    for (task, agent), own in drawings.finals(runs).items():
        found = [facts.summary for facts in own if facts.summary]
        bad = sum(bool(of["diverged"]) for of in found)
        cells = (_over([of[key] for of in found]) for key in ("mean_return", "mean_return_sampled"))
        rows.append((task, agent, str(len(own)), *cells, f"{bad} of {len(own)}"))
    header = "task", "rule", "runs", "greedy, IQM [95 %]", "sampled, IQM [95 %]", "diverged"
    return markup.table(header, rows) or markup.paragraph("No run is finished.")


def _over(values: Sequence[float]) -> str:
    """Return the interquartile mean of scores and its interval, where there are several."""
    return in_words(np.array(values), ".2f")


def each(runs: Sequence[Facts]) -> str:
    """Return a line a run."""
    rows = []
    for facts in runs:
        config, found = facts.config, facts.summary
        pairs = (("mean_return", "std_return"), ("mean_return_sampled", "std_return_sampled"))
        ends = [f"{found[mean]:.2f} ± {found[std]:.2f}" if found else "unfinished" for mean, std in pairs]
        rows.append((facts.name, config.agent, config.env, str(config.seed), f"{facts.steps:,}", *ends))
    return markup.table(("run", "rule", "task", "seed", "steps", "greedy", "sampled"), rows)


def unlike(runs: Sequence[Facts]) -> str:
    """Return the settings in which runs differ, by task and rule; several values where its own runs differ too."""
    groups: dict[str, list[Facts]] = {}
    several = len({facts.config.env for facts in runs}) > 1
    for facts in runs:
        name = f"{facts.config.agent}, {facts.config.env}" if several else facts.config.agent
        groups.setdefault(name, []).append(facts)
    rows = []
    for key in dict.fromkeys(key for facts in runs for key in facts.flat):
        cells = [{shown(facts.flat[key]) if key in facts.flat else "-" for facts in own} for own in groups.values()]
        if len(set().union(*cells)) > 1:
            rows.append((key, *(", ".join(sorted(values)) for values in cells)))
    return markup.table(("setting", *groups), rows)


def _made() -> str:
    return markup.paragraph(f"Made by lfcs {__version__}: lfcs report", "soft")
