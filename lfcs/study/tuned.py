"""What a search found: an experiment script with the best settings, a report, and a picture."""

from __future__ import annotations

import importlib.util
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from lfcs.errors import UserError
from lfcs.pictures.style import pyplot
from lfcs.study import values
from lfcs.study.search import Search
from lfcs.study.tables import markdown
from lfcs.study.trials import FAILED, SCORES, SECONDS, counted

SHOWN = 10  # of the best trials
ENOUGH = 10  # trials with a score, for importance to mean anything
QUANTILE = 0.25  # of the trials that importance is about

SCRIPT = '''"""{title}

{told}
"""

SETTINGS = {settings}

if __name__ == "__main__":
    from lfcs.cli import experiment_main

    raise SystemExit(experiment_main(SETTINGS))
'''


def scored(study: Any) -> list[Any]:
    """Return the trials that ended with a score, best first."""
    found = [trial for trial in counted(study) if trial.state.is_finished()]
    whole = [
        trial for trial in found if SECONDS in trial.user_attrs
    ]  # all seeds, not only those before it was given up
    return sorted(whole, key=lambda trial: -trial.value)


def write_all(search: Search, root: Path, study: Any, command: str, left_out: list[str]) -> None:
    """Write what there is to tell, and say where. Raises UserError where every trial has failed, after the report."""
    found = scored(study)
    path = root / "report.md"
    weights = importance(study, found)
    picture = importlib.util.find_spec("matplotlib") is not None and len(found) > 0
    path.write_text("\n".join(report(search, study, command, left_out, weights, picture)) + "\n", encoding="utf-8")
    if not found:
        why = [trial.user_attrs[FAILED] for trial in counted(study) if FAILED in trial.user_attrs]
        if why:
            raise UserError(f"no trial ended with a score; the first failed: {why[0]}; see {path}")
        print(f"\nno trial ended with a score yet; {path}")
        return
    script = root / f"{name_of(search)}.py"
    script.write_text(experiment_script(search, found[0], command), encoding="utf-8")
    if picture:
        draw(root / "tune.png", study, weights)
    print(f"\nbest: {found[0].value:.4g}, trial {found[0].number}; {path}")
    print(f"next: python {script} trains with the best settings; more --trials go on with the search")


def name_of(search: Search) -> str:
    """Return the name of the experiment: that of the task's, or one made of its id."""
    return str(search.experiment.get("name", re.sub("[^a-z0-9]+", "_", search.env.lower()).strip("_")))


def best_settings(search: Search, trial: Any) -> dict[str, Any]:
    """Return what an experiment is, with the settings of a trial.

    They go where the experiment has those of the rule: among all, or, of another rule than the experiment's, or of a
    rule's own options, beside its name.
    """
    old = search.experiment
    params = {of.key: of.rounded(trial.params[of.key]) for of in search.parsed}
    of_rule = dict(old.get("agents", {}).get(search.agent, {}))
    of_all, other = dict(old.get("settings", {})), search.agent != old.get("agent", search.agent)
    for key, value in (search.given() | search.tuned(params)).items():
        own = other or key.startswith("agent.") or key in of_rule
        (of_rule if own else of_all)[key] = value
    before = values.seeds("tuned_on", [old["tuned_on"]]) if "tuned_on" in old else []
    new = [str(seed) for seed in search.seeds if seed not in before]
    agents = old.get("agents", {}) | ({search.agent: of_rule} if of_rule else {})
    return {
        "name": name_of(search),
        "env": search.env,
        "agent": old.get("agent", search.agent),
        "steps": search.steps,
        "minutes": round(max(0.1, float(np.median(trial.user_attrs[SECONDS])) / 60), 1),
        "tuned_on": ",".join([*([old["tuned_on"]] if "tuned_on" in old else []), *new]),
        "settings": of_all,
        "agents": agents,
    }


def experiment_script(search: Search, trial: Any, command: str) -> str:
    """Return the script of an experiment with the settings of a trial."""
    found = best_settings(search, trial)
    seeds = ", ".join(map(str, search.seeds))
    told = f"Settings of trial {trial.number} of\n\n    {command}\n\nwhich scored {trial.value:.4g} on seeds {seeds}."
    if search.agent != found["agent"]:
        told += f" They are those of --agent {search.agent}."
    return SCRIPT.format(title=f"{search.env}, tuned.", told=told, settings=_literal(found, 0))


def _literal(value: Any, depth: int) -> str:
    """Return a value as Python, a line for each entry of a dictionary."""
    if not isinstance(value, dict) or not value:
        return repr(value).replace("'", '"') if not isinstance(value, str) else f'"{value}"'
    pad = "    " * (depth + 1)
    rows = [f'{pad}"{key}": {_literal(one, depth + 1)},\n' for key, one in value.items()]
    return "{\n" + "".join(rows) + "    " * depth + "}"


def importance(study: Any, found: list[Any]) -> dict[str, float]:
    """Return the share of each setting in a trial's being among the best quarter; nothing of too few trials.

    Source: Watanabe, Bansal & Hutter (2023), PED-ANOVA, arXiv:2304.10255.
    """
    import optuna

    if len(found) < ENOUGH:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=QUANTILE)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def report(
    search: Search, study: Any, command: str, left_out: list[str], weights: dict[str, float], picture: bool
) -> list[str]:
    """Return the lines of the report."""
    found, ended = scored(study), [trial for trial in counted(study) if trial.state.is_finished()]
    failed = [trial for trial in ended if FAILED in trial.user_attrs]
    seeds = ", ".join(map(str, search.seeds))
    lines = [
        f"# Tuning {search.agent} on {search.env}",
        "",
        f"    {command}",
        "",
        f"{len(ended)} trials of {search.steps:,} environment steps on seeds {seeds}: {len(found)} with a score, "
        f"{len(ended) - len(found) - len(failed)} given up on the way, {len(failed)} failed. The score is the median "
        f"over seeds of the mean return of the last third of evaluations, {search.actions} actions. The best of many "
        "scores flatters: report other seeds than these. Trial 0 is what the search started from.",
        "",
    ]
    keys = list(search.ranges)
    if found:
        start = [trial for trial in found if trial.params == search.start()]
        shown = found[:SHOWN] + [trial for trial in start if trial not in found[:SHOWN]]
        lines += ["## Best trials", "", *markdown(["trial", "score", "by seed", *keys], [_row(t, keys) for t in shown])]
        lines += ["", *_edges(search, found[0])]
    lines += ["## Ranges", "", *markdown(["setting", "range", "start"], _ranges(search)), ""]
    lines += [f"- Not searched: {why}" for why in left_out] + ([""] if left_out else [])
    lines += ["## What matters", "", *_weights(weights, len(found)), ""]
    lines += ["![scores of the trials](tune.png)", ""] if picture else []
    if failed:
        why = [[str(trial.number), trial.user_attrs[FAILED]] for trial in failed]
        lines += ["## Failed trials", "", *markdown(["trial", "why"], why), ""]
    return lines


def _row(trial: Any, keys: list[str]) -> list[str]:
    """Return the row of a trial."""
    by_seed = ", ".join(f"{score:.4g}" for score in trial.user_attrs[SCORES])
    return [str(trial.number), f"{trial.value:.4g}", by_seed, *(f"{_short(trial.params[key])}" for key in keys)]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _edges(search: Search, best: Any) -> list[str]:
    """Return which settings of the best trial are within a twentieth of an end of their range."""
    near = []
    for of in search.parsed:
        if not of.values:
            scale = math.log if of.log else float
            low, high, at = (scale(value) for value in (of.low, of.high, best.params[of.key]))
            if not 0.05 <= (at - low) / (high - low) <= 0.95:
                near.append(of.key)
    return [f"At the edge of the range, so that a wider one may do better: {', '.join(near)}.", ""] if near else []


def _ranges(search: Search) -> list[list[str]]:
    return [[f"`{key}`", form, _short(search.value(key))] for key, form in search.ranges.items()]


def _weights(weights: dict[str, float], number: int) -> list[str]:
    """Return the table of importance."""
    if not weights:
        return [f"Of {number} trials with a score nothing can be said; it takes {ENOUGH}."]
    told = f"The share of each setting in being among the best {QUANTILE:.0%} of trials (PED-ANOVA, arXiv:2304.10255)."
    return [told, "", *markdown(["setting", "share"], [[f"`{key}`", f"{of:.2f}"] for key, of in weights.items()])]


def draw(path: Path, study: Any, weights: dict[str, float]) -> None:
    """Draw the scores in their order with the best so far, and the importance of settings."""
    found = sorted(scored(study), key=lambda trial: trial.number)
    numbers, values = [trial.number for trial in found], [trial.value for trial in found]
    figure, axes = pyplot().subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    axes[0].plot(numbers, values, "o", markersize=4, alpha=0.6, label="trials with a score")
    axes[0].step(numbers, np.maximum.accumulate(values), where="post", label="best so far")
    axes[0].set(xlabel="trial", ylabel="score")
    axes[0].legend(frameon=False)
    names = list(weights)[::-1]
    axes[1].barh(names, [weights[name] for name in names])
    axes[1].set(xlabel=f"importance for the best {QUANTILE:.0%}" if names else f"importance takes {ENOUGH} trials")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    pyplot().close(figure)
