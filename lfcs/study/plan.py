"""What a comparison is asked to do: tasks x agents x replays x seeds, as data with defaults, checked before any run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

from lfcs import experiments
from lfcs.config import Config
from lfcs.configure import find_agent
from lfcs.errors import UserError, nearest
from lfcs.study import values
from lfcs.study.peers import PEERS

DEFAULT_AGENTS = ["lf-cs", "naive-replay", "importance"]
FIRST_SEED = 10  # of a plan that gives a number of seeds; tuning was on others


def fixed_settings(agent: str) -> Mapping[str, Any]:
    """Return the settings that a rule stands for, ours or ``package.module:Class``. Raises UserError on an unknown."""
    return find_agent(agent).fixed


@dataclass(frozen=True)
class Entry:
    """What a label of a comparison stands for; ``replays`` are numbers of its own in place of the plan's."""

    agent: str
    settings: dict[str, Any] = field(default_factory=dict)
    replays: tuple[int, ...] | None = None

    @property
    def fixed_replays(self) -> int | None:
        """The one number of replays the rule can run at, or None where it can run at any."""
        return fixed_settings(self.agent).get("rule.replays")

    @property
    def has_rate(self) -> bool:
        """Whether its learning rate can be chosen."""
        return not {"rule.lr_readout", "rule.lr_hidden"} & set(fixed_settings(self.agent))


@dataclass(frozen=True)
class Plan:
    """A comparison, complete; :meth:`from_dict` fills in what is not given.

    Every label's learning rate is picked from ``rates`` by the same rule: the highest interquartile mean of the final
    sampled return after ``grid_steps``, over ``grid_seeds``, which are not reported. That is done at each number of
    passes of ``grid_replays``, and every other number has the rate of the nearest of them; with ``capacities`` it is
    done at the first of them. The hidden layer's rate keeps its share of it. With a single rate there is nothing to
    pick, and with none every agent keeps its own.
    """

    env: str
    experiment: str | None  # where its tuned settings come from
    steps: int
    grid_steps: int
    agents: dict[str, Entry]  # by label
    baseline: str  # the label that others are compared with
    peers: tuple[str, ...]  # what --peers adds
    replays: tuple[int, ...] = (1, 4, 16)
    capacities: tuple[int, ...] = ()  # windows kept, ``replay.capacity``; none: that of the settings
    seeds: tuple[int, ...] = tuple(range(FIRST_SEED, FIRST_SEED + 5))
    rates: tuple[float, ...] = ()
    grid_replays: tuple[int, ...] = (4,)
    grid_seeds: tuple[int, ...] = (201, 202, 203)
    settings: dict[str, Any] = field(default_factory=dict)
    note: str = ""  # said in the report

    @staticmethod
    def from_dict(given: Any) -> Plan:
        """Return the plan of what differs from the defaults; lists may be lists or tuples.

        ``env`` is an environment id or the name of an experiment (``experiment`` says the same), ``seeds`` may be a
        number of seeds, and ``agents`` a list of names or a dictionary of labels. Raises UserError on an unknown key,
        with its nearest, or on a value that cannot be run.
        """
        data = values.mapping("a plan", given)
        values.known("key of a plan", data, [f.name for f in fields(Plan)])
        env, tuned = _task(data)
        steps = values.whole("steps", data.get("steps", tuned.get("steps", Config.steps)), low=1)
        agents = _entries(data.get("agents", DEFAULT_AGENTS))
        plan = Plan(
            env=env,
            experiment=tuned.get("name"),
            steps=steps,
            grid_steps=values.whole("grid_steps", data.get("grid_steps", steps), low=1),
            agents=agents,
            baseline=values.text("baseline", data.get("baseline", next(iter(agents)))),
            peers=values.names("peers", data.get("peers", list(PEERS.get(env, {})))),
            replays=values.numbers("replays", data.get("replays", Plan.replays), low=1),
            capacities=values.numbers("capacities", data.get("capacities", Plan.capacities), low=0, empty=True),
            seeds=_seeds(data.get("seeds", Plan.seeds)),
            rates=values.numbers("rates", data.get("rates", Plan.rates), low=0, whole=False, empty=True),
            grid_replays=values.numbers("grid_replays", data.get("grid_replays", Plan.grid_replays), low=1),
            grid_seeds=values.numbers("grid_seeds", data.get("grid_seeds", Plan.grid_seeds), low=0),
            settings=dict(values.mapping("settings", data.get("settings", {}))),
            note=values.text("note", data.get("note", Plan.note)),
        )
        plan._check()
        return plan

    def to_dict(self) -> dict[str, Any]:
        """Return the whole plan as plain data, from which :meth:`from_dict` makes it again."""
        data: dict[str, Any] = asdict(self)
        data |= {key: list(value) for key, value in data.items() if isinstance(value, tuple)}
        for entry in data["agents"].values():
            own = entry.pop("replays")
            entry |= {} if own is None else {"replays": list(own)}
        return data

    @cached_property
    def tuned(self) -> dict[str, Any] | None:
        """The experiment with the task's tuned settings, where there is one."""
        return experiments.find(self.env)

    @cached_property
    def names(self) -> dict[str, str]:
        """The labels as they stand in the names of runs' directories."""
        return values.file_names(self.agents)

    @property
    def has_grid(self) -> bool:
        """Whether there are rates to pick from."""
        return len(self.rates) > 1

    def replays_of(self, label: str) -> tuple[int, ...]:
        """Return the numbers of replays at which a label is reported."""
        entry = self.agents[label]
        if entry.fixed_replays is not None:
            return (entry.fixed_replays,)
        return entry.replays or self.replays

    @property
    def held(self) -> tuple[int | None, ...]:
        """The capacities at which every label is reported; None is that of its settings."""
        return self.capacities or (None,)

    def tuned_at(self, label: str, replays: int) -> int:
        """Return the number of replays whose rate holds at ``replays``: the nearest of the grid's, as a ratio."""
        if self.agents[label].fixed_replays is not None:
            return replays
        return min(self.grid_replays, key=lambda at: abs(math.log(at / replays)))

    def _check(self) -> None:
        """Raise UserError where keys do not fit each other."""
        if self.baseline not in self.agents:
            raise UserError(f"baseline wants one of the labels {', '.join(self.agents)}, got {self.baseline!r}")
        if both := set(self.peers) & set(self.agents):
            raise UserError(f"peers and agents must not share the name {min(both)}")
        if self.has_grid and set(self.seeds) & set(self.grid_seeds):
            raise UserError("seeds and grid_seeds must not share a seed")
        own = {"rule.replays"} | ({"rule.lr_readout", "rule.lr_hidden"} if self.rates else set())
        own |= {"replay.capacity"} if self.capacities else set()
        for label, entry in self.agents.items():
            if taken := sorted(own & (set(entry.settings) | set(self.settings))):
                raise UserError(
                    f"settings cannot have {', '.join(taken)}: replays, capacities and rates are the comparison's own"
                )
            only = entry.fixed_replays
            if only is not None and entry.replays not in (None, (only,)):
                raise UserError(f"replays of {label}: {entry.agent} stands for R = {only}")


def _task(data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the environment of a plan and the experiment with its tuned settings, ``{}`` where there is none."""
    name = data.get("experiment")
    found = {} if name is None else experiments.find(values.text("experiment", name))
    if found is None:
        known = [settings["name"] for settings in experiments.literals("SETTINGS").values()]
        raise UserError(f"no experiment {name!r}{nearest(str(name), known)}; known: {', '.join(known)}")
    env = values.text("env", data.get("env", found.get("env", "")))
    if not env:
        raise UserError("a plan needs env or experiment")
    of_env = experiments.find(env) or {}
    if found and found != of_env:
        raise UserError(f"env {env!r} is not that of experiment {name!r}: give one of them")
    return of_env.get("env", env), of_env


def _seeds(given: Any) -> tuple[int, ...]:
    """Return seeds, given as a list or as how many there are."""
    if type(given) is int and 1 <= given <= values.MOST_SEEDS:
        return tuple(range(FIRST_SEED, FIRST_SEED + given))
    if type(given) is int:
        raise UserError(f"seeds wants a number of seeds from 1 to {values.MOST_SEEDS:,}, got {values.brief(given)}")
    return values.numbers("seeds", given, low=0)


def _entries(given: Any) -> dict[str, Entry]:
    """Return what each label stands for; an agent is named by its label where it is not said."""
    if isinstance(given, list | tuple):
        given = {name: {} for name in values.names("agents", given)}
    entries = {}
    for label, of_label in values.mapping("agents", given).items():
        data = values.mapping(f"agents: {label}", of_label)
        values.known(f"key of {label}", data, [f.name for f in fields(Entry)])
        own = data.get("replays")
        entry = Entry(
            agent=values.text(f"agent of {label}", data.get("agent", label)),
            settings=dict(values.mapping(f"settings of {label}", data.get("settings", {}))),
            replays=None if own is None else values.numbers(f"replays of {label}", own, low=1),
        )
        fixed_settings(entry.agent)  # an unknown agent is said here, not after hours of runs
        entries[label] = entry
    if not entries:
        raise UserError("agents must not be empty")
    return entries
