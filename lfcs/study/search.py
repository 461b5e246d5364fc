"""What is tuned: a task, a rule, ranges of settings, and the seeds; as data, checked before any run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from lfcs import experiments
from lfcs.config import Config, parse, settings
from lfcs.configure import build_config, find_agent
from lfcs.errors import UserError
from lfcs.study import ranges as of_ranges
from lfcs.study.ranges import Range

EVALUATIONS = 12  # of a run, unless train.eval_every is given


@dataclass(frozen=True)
class Search:
    """A search, complete; :meth:`make` fills in what is not given.

    ``settings`` are those of ``--set``, on top of the experiment's; ``ranges`` are texts of :mod:`lfcs.study.ranges`.
    """

    env: str
    agent: str
    steps: int
    seeds: tuple[int, ...]
    actions: str  # of the returns that are scored: greedy or sampled
    settings: dict[str, Any]
    ranges: dict[str, str]

    @staticmethod
    def make(
        env: str,
        agent: str | None,
        steps: int | None,
        seeds: Sequence[int],
        actions: str,
        given: dict[str, Any],
        wanted: Sequence[str],
    ) -> tuple[Search, list[str]]:
        """Return the search, and why declared ranges were left out. Raises UserError on what cannot be run."""
        found = experiments.find(env) or {}
        agent = agent or found.get("agent", Config.agent)
        start = build_config(found.get("env", env), agent, steps, overrides=given, experiment=found)
        search = Search(start.env, agent, start.steps, tuple(seeds), actions, given, {})
        searched, left_out = search._searched(wanted)
        return replace(search, ranges=searched), left_out

    def _searched(self, wanted: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """Return the ranges that are wanted, and why declared ones were left out: the rule or the settings forbid."""
        options, left_out = find_agent(self.agent).Options, []
        asked, all_declared = of_ranges.given(wanted, options)
        whole = of_ranges.declared(options) if all_declared or not wanted else {}
        found = {key: of for key, of in whole.items() if key not in self.settings} | asked
        for key, of in list(found.items()):
            try:
                for end in of.ends():
                    self.config({key: end}, self.seeds[0])
            except UserError as error:
                if key in asked:
                    raise
                left_out.append(f"{key}: {error}")
                del found[key]
        if both := sorted(set(asked) & set(self.settings)):
            raise UserError(f"{both[0]} cannot be both set and searched")
        if not found:
            raise UserError("there is nothing to search: give --ranges")
        start = {key: self.value(key) for key in found}  # a declared range holds what the search starts from
        kept = {key: of if key in asked else of.holding(start[key]) for key, of in found.items()}
        return {key: str(of) for key, of in kept.items()}, left_out

    @cached_property
    def experiment(self) -> dict[str, Any]:
        """The experiment with the task's settings, empty where there is none."""
        return experiments.find(self.env) or {}

    @cached_property
    def parsed(self) -> list[Range]:
        """The ranges."""
        options = find_agent(self.agent).Options
        return [of_ranges.read_range(key, text, options) for key, text in self.ranges.items()]

    @cached_property
    def base(self) -> Config:
        """The settings from which the search starts."""
        return self.config({}, self.seeds[0])

    def value(self, key: str) -> Any:
        """Return the value of a setting from which the search starts."""
        section, name = key.split(".")
        return getattr(self.base.options if section == "agent" else getattr(self.base, section), name)

    def start(self) -> dict[str, Any]:
        """Return what the search starts from: the settings as they are, or the nearest values in the ranges."""
        return {of.key: of.nearest(self.value(of.key)) for of in self.parsed}

    def outside(self) -> list[str]:
        """Return the settings that start outside their ranges, in words."""
        start = self.start()
        return [f"{key}={self.value(key)}" for key in start if start[key] != self.value(key)]

    def given(self) -> dict[str, Any]:
        """Return the settings of ``--set`` as they are meant, not as text."""
        options = find_agent(self.agent).Options
        return {key: parse(key, value, options) for key, value in self.settings.items()}

    def tuned(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the settings of a trial: its own, and ``rule.tau_s``, as many windows as at the start."""
        if "rule.window" not in params or "rule.tau_s" in {*params, *self.settings}:
            return dict(params)
        start = self.experiment.get("settings", {}) | self.experiment.get("agents", {}).get(self.agent, {})
        window, tau_s = (
            int(self.settings.get(key, start.get(key, settings()[key].default)))
            for key in ("rule.window", "rule.tau_s")
        )
        return params | {"rule.tau_s": params["rule.window"] * max(1, tau_s // window)}

    def config(self, params: dict[str, Any], seed: int) -> Config:
        """Return the settings of a run. Raises UserError where they contradict each other or the rule."""
        every = {"train.eval_every": max(1, -(-self.steps // EVALUATIONS)), "train.env_workers": "0"}
        every |= {"train.watch": "scalars"}
        flat = every | self.settings | self.tuned(params)
        made = build_config(self.env, self.agent, self.steps, seed, overrides=flat, experiment=self.experiment)
        if "train.final_episodes" in self.settings:
            return made
        flat |= {"train.final_episodes": made.train.eval_episodes}  # no evaluation counts for more than another
        return build_config(self.env, self.agent, self.steps, seed, overrides=flat, experiment=self.experiment)

    def to_json(self) -> str:
        """Return the whole search as JSON."""
        return json.dumps(asdict(self), indent=2)

    @staticmethod
    def from_json(text: str) -> Search:
        """Return the search that :meth:`to_json` wrote."""
        data = json.loads(text)
        return Search(**data | {"seeds": tuple(data["seeds"])})
