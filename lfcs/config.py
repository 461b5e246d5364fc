"""Every setting, with its unit and its check. The command line's ``--set section.key=value`` is generated from here."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from lfcs.errors import UserError, brief, nearest

MOST_WORKERS = 256
MOST_STEPS, MOST_SEED = 10**12, 2**63 - 1  # of a run; a million steps a second are twelve days


def setting(
    default: Any,
    doc: str,
    low: float = -math.inf,
    high: float = math.inf,
    choices: tuple = (),
    search: str = "",
    compare: bool = True,
) -> Any:
    """Declare a setting: its default, what it means, and its allowed values (bounds are inclusive).

    ``search`` is where ``lfcs tune`` looks unless it is told otherwise: ``"0.8..0.98"``, ``"1e-3..3e-2:log"`` on a
    logarithmic scale, ``"2,4,8"`` these values, or nothing: the setting is left alone. Runs whose settings differ only
    where ``compare`` is false are the same run.
    """
    meta = {"doc": doc, "low": low, "high": high, "choices": choices, "search": search}
    return field(default=default, metadata=meta, compare=compare)


@dataclass(frozen=True)
class NetworkConfig:
    """The recurrent spiking network; time constants are in ticks."""

    neuron: str = setting("lif", "neuron model: lif, alif (adaptive threshold), or your package.module:Class")
    neurons: int = setting(256, "number of recurrent neurons N", low=2, high=65_536)
    ticks: int = setting(1, "network ticks per environment step", low=1, high=1_000)
    tau_m: float = setting(
        3.0, "membrane time constant in ticks; beta = exp(-1/tau_m)", low=0.1, high=1e6, search="1.5..10:log"
    )
    tau_m_max: float = setting(
        0.0, "largest membrane time constant: neurons are spread from tau_m to it, evenly in log; 0: all have tau_m",
        low=0.0, high=1e6,
    )  # fmt: skip
    tau_m_groups: int = setting(
        4, "how many time constants neurons are spread over, where tau_m_max > tau_m", low=2, high=1_024
    )
    tau_out: float = setting(
        2.0, "readout time constant in ticks; kappa = exp(-1/tau_out)", low=0.01, high=1e6, search="1..8:log"
    )
    input_gain: float = setting(
        2.0,
        "initial input weights: normal, std input_gain/sqrt(inputs); a one-hot part as one number",
        low=0.0,
        high=1e3,
        search="0.5..4:log",
    )
    recurrent_gain: float = setting(
        0.5, "initial recurrent weights: normal, std recurrent_gain/sqrt(N)", low=1e-6, high=1e3
    )
    fan_out: int = setting(
        0, "recurrent synapses of a neuron, and onto one, the same for all seeds; 0: all with all", low=0, high=65_536
    )
    readout_gain: float = setting(0.1, "initial readout weights: normal, std readout_gain/sqrt(N)", low=0.0, high=1e3)
    dampening: float = setting(0.3, "height of the surrogate derivative", low=1e-6, high=100.0)
    memory: bool = setting(True, "whether state goes from step to step; false: the control, at rest before each")
    critic_path: bool = setting(True, "the critic also hears the encoded input, through plastic weights of its own")
    adaptation: float = setting(0.2, "alif: what a spike adds to the neuron's threshold", low=0.0, high=1e3)
    tau_a: float = setting(50.0, "alif: time constant in ticks of the threshold's return", low=0.1, high=1e6)

    def __post_init__(self) -> None:
        if 0.0 < self.tau_m_max < self.tau_m:
            raise UserError(f"network.tau_m_max={self.tau_m_max:g} must be 0 or at least network.tau_m={self.tau_m:g}")
        if self.fan_out >= self.neurons:
            raise UserError(f"network.fan_out={self.fan_out} must be less than network.neurons={self.neurons}")

    @property
    def beta(self) -> float:
        """Membrane decay per tick, the fastest where neurons differ."""
        return math.exp(-1.0 / self.tau_m)

    @property
    def betas(self) -> tuple[float, ...]:
        """Membrane decays per tick of G groups of neurons; neuron i is in group i mod G.

        τ_g = τ_m (τ_max/τ_m)^{g/(G-1)}, both ends included. They are a grid, not drawn: weights are drawn alike for all
        neurons, so that which neuron has which time constant makes no difference, and a grid has no bad draw.
        """
        groups = min(self.tau_m_groups, self.neurons)
        if self.tau_m_max <= self.tau_m:
            return (self.beta,)
        ratio = self.tau_m_max / self.tau_m
        return tuple(math.exp(-1.0 / (self.tau_m * ratio ** (g / (groups - 1)))) for g in range(groups))

    @property
    def rho(self) -> float:
        """Decay per tick of an adaptive threshold."""
        return math.exp(-1.0 / self.tau_a)

    @property
    def kappa(self) -> float:
        """Readout decay per tick."""
        return math.exp(-1.0 / self.tau_out)


@dataclass(frozen=True)
class RuleConfig:
    """The learning rule; times are in environment steps of each environment."""

    window: int = setting(64, "steps of experience collected before learning from it", low=1, high=100_000)
    form: str = setting("window", "credit: over a window at hand, or online by traces", choices=("window", "online"))
    tau_f: int = setting(
        8,
        "steps between updates of the new policy (fast time scale), at most window",
        low=1,
        high=100_000,
        search="2,4,8,16",
    )
    tau_s: int = setting(
        64, "steps between copies of the new policy into the reference (a multiple of window)", low=1, high=10**9
    )
    replays: int = setting(4, "passes R over the window", low=1, high=10_000, search="1..16:log")
    feedback: str = setting("symmetric", "feedback weights to the hidden layer", choices=("symmetric", "random"))
    gamma: float = setting(0.99, "discount per step", low=0.0, high=1.0, search="0.95,0.98,0.99,0.995")
    lam: float = setting(0.95, "decay lambda of the return's eligibility", low=0.0, high=1.0, search="0.8..0.98")
    lam_critic: float = setting(0.0, "that of the critic's targets where it is larger", low=0.0, high=1.0)
    reward_scale: float = setting(
        0.0,
        "what rewards are multiplied by before learning from them; 0: whatever keeps values within about 10",
        low=0.0,
        high=1e6,
        search="0.01..1:log",
    )
    normalise: bool = setting(True, "normalise advantages over the window to mean 0 and standard deviation 1")
    lr_readout: float = setting(
        5e-3, "Adam's learning rate of the readout weights", low=0.0, high=100.0, search="1e-3..3e-2:log"
    )
    lr_hidden: float = setting(
        2e-4, "Adam's learning rate of the input and recurrent weights", low=0.0, high=100.0, search="2e-5..2e-3:log"
    )
    lr_path: float = setting(
        5e-2, "Adam's learning rate of the critic's path from the input", low=0.0, high=100.0, search="5e-3..2e-1:log"
    )
    lr_final: float = setting(0.1, "learning rates fall linearly to this fraction at the last step", low=0.0, high=1.0)
    max_grad_norm: float = setting(0.5, "norm to which a gradient is clipped", low=1e-9, high=1e9)
    clip: str = setting(
        "apart",
        "what is clipped by one norm: hidden and readout weights, or each of hidden, policy and critic for itself; the "
        "critic's path from the input is never clipped with the others of together",
        choices=("together", "apart"),
        search="together,apart",
    )
    entropy: float = setting(0.01, "weight of the entropy bonus", low=0.0, high=1e3, search="1e-3..3e-2:log")
    entropy_final: float = setting(
        1.0, "the bonus falls linearly to this fraction at the last step", low=0.0, high=1.0, search="0,1"
    )
    value: float = setting(0.5, "weight of the critic's error", low=0.0, high=1e3)
    critic_share: float = setting(
        0.1, "the critic's share in the hidden learning signal", low=0.0, high=1e3, search="0.03..1:log"
    )
    homeostasis: float = setting(
        0.3, "strength of firing-rate homeostasis (0 switches it off)", low=0.0, high=1e3, search="0.03..3:log"
    )
    target_rate: float = setting(0.1, "firing rate that homeostasis aims at, in spikes per tick", low=0.0, high=1.0)
    rate_memory: float = setting(100.0, "time constant in ticks of each neuron's rate estimate", low=1.0, high=1e9)
    distance: float = setting(
        0.0, "total variation to the reference that learning rates are adapted to hold, 0 for none", low=0.0, high=1.0
    )
    average: int = setting(
        10,
        "the final policy is a running mean of the weights over so many copies into the reference; 0: the last",
        low=0,
        high=10**6,
    )
    tail: int = setting(
        4, "ticks before a chunk whose eligibility still counts through the readout filter", low=0, high=10_000
    )


@dataclass(frozen=True)
class NoOptions:
    """The options of a learning rule that has none of its own."""


@dataclass(frozen=True)
class ReplayConfig:
    """Older experience: the first pass is over the current window; the others may draw from what is kept."""

    capacity: int = setting(
        0, "windows kept, the current one included; 0: all passes are over the current one", low=0, high=100_000
    )
    burn_in: int = setting(
        0, "first steps of an older window that only bring the neurons' state up to date", low=0, high=100_000
    )


@dataclass(frozen=True)
class EncoderConfig:
    """How observations become input currents."""

    kind: str = setting(
        "population",
        "population, standardised, identity; in spikes bernoulli, latency, delta; or your package.module:Class",
    )
    cells: int = setting(
        15,
        "population code, bernoulli: cells per observed number; latency: ticks; delta: levels",
        low=2,
        high=10_000,
    )
    width: float = setting(
        1.5, "population code, bernoulli: tuning width in units of the cells' spacing", low=0.01, high=100.0
    )
    bounds: str = setting(
        "auto",
        "what is spanned by cells, ticks or levels: the bounds that the space declares, what was seen in training "
        "(running mean ± 3 standard deviations), or auto: declared where there are any, else seen",
        choices=("auto", "declared", "seen"),
    )
    previous_action: bool = setting(False, "the last action is observed too, zero where an episode begins")
    previous_reward: bool = setting(False, "the last reward is observed too, zero where an episode begins")
    previous_observation: bool = setting(
        False, "the last observation is observed too, zero where an episode begins: of a Box; delta needs it"
    )


@dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    num_envs: int = setting(8, "environments stepped side by side", low=1, high=10_000)
    env_workers: str = setting("0", "processes that step environments: 0 (none), a number or auto")
    env_timeout: float = setting(
        60.0,
        "seconds that a call of an environment may last before the run ends, at least 1; 0: for ever",
        low=0.0,
        high=1e9,
        compare=False,
    )
    env_kind: str = setting(
        "auto",
        "what steps environments: compiled loops, a vector form of their own, plain one by one, tensors on the device, "
        "or auto: where no number of workers is asked for, tensors if the device is a GPU, or compiled, where those "
        "are to be had, else plain",
        choices=("auto", "compiled", "vector", "plain", "device"),
    )
    threads: int = setting(1, "threads of tensor operations", low=1, high=256)
    from_nir: str = setting("", "NIR file whose weights a run starts from, and whose network it has; empty: none")
    eval_every: int = setting(10_000, "environment steps between evaluations", low=1, high=10**12)
    eval_episodes: int = setting(20, "episodes of an evaluation during training", low=1, high=10**6)
    final_episodes: int = setting(100, "episodes of the last evaluation", low=1, high=10**6)
    eval_max_steps: int = setting(
        30_000, "steps after which an episode of an evaluation counts as it stands, as if truncated", low=1, high=10**12
    )
    checkpoint_every: int = setting(10_000, "environment steps between checkpoints", low=1, high=10**12)
    watch: str = setting(
        "auto",
        "what is shown of a run: nothing (none), curves (scalars), pictures, histograms, a video at every evaluation "
        "too (full), or auto: full, but pictures only where all of watching takes at most 3 % of the run's time",
        choices=("auto", "none", "scalars", "full"),
        compare=False,
    )
    tracker: str = setting(
        "tensorboard",
        "where it is shown: tensorboard, wandb, trackio, none, or your package.module:Class",
        compare=False,
    )

    def __post_init__(self) -> None:
        digits = self.env_workers
        if digits.isdecimal() and (len(digits) > 9 or int(digits) > MOST_WORKERS):
            raise UserError(f"setting train.env_workers must be at most {MOST_WORKERS}, got {digits[:20]}")
        if 0.0 < self.env_timeout < 1.0:  # a shorter call would be over before it is interrupted
            raise UserError(f"setting train.env_timeout must be 0 or at least 1 second, got {self.env_timeout:g}")


@dataclass(frozen=True)
class Config:
    """One run, complete: with the same versions on the same machine it gives the same result."""

    env: str
    agent: str = "lf-cs"
    steps: int = 20_000
    seed: int = 0
    device: str = "cpu"
    engine: str = "fused"
    env_kwargs: dict[str, Any] = field(default_factory=dict)  # what the environment is made with: plain values
    options: Any = NoOptions()  # of the agent: an instance of its ``Options``, the settings ``agent.*``
    network: NetworkConfig = NetworkConfig()
    rule: RuleConfig = RuleConfig()
    replay: ReplayConfig = ReplayConfig()
    encoder: EncoderConfig = EncoderConfig()
    train: TrainConfig = TrainConfig()

    def __post_init__(self) -> None:
        for name in ("steps", "seed"):
            if hasattr(getattr(self, name), "item"):
                object.__setattr__(self, name, getattr(self, name).item())  # a number of NumPy
            if type(getattr(self, name)) is not int:
                raise UserError(f"{name} wants a whole number, got {brief(getattr(self, name))}")
        for name in ("env", "agent", "device", "engine"):
            if type(getattr(self, name)) is not str:
                raise UserError(f"{name} wants text, got {brief(getattr(self, name))}")
        for name, low, high in (("steps", 1, MOST_STEPS), ("seed", 0, MOST_SEED)):
            if getattr(self, name) < low:
                raise UserError(f"{name} must be at least {low}, got {brief(getattr(self, name))}")
            if getattr(self, name) > high:
                raise UserError(f"{name} must be at most {high:,}, got {brief(getattr(self, name))}")
        object.__setattr__(self, "env_kwargs", plain_kwargs(self.env_kwargs))
        rule = self.rule
        if rule.tau_f > rule.window:
            raise UserError(f"rule.tau_f={rule.tau_f} must not exceed rule.window={rule.window}")
        if rule.tau_s % rule.window:
            raise UserError(f"rule.tau_s={rule.tau_s} must be a multiple of rule.window={rule.window}")
        if self.replay.burn_in >= rule.window:
            raise UserError(f"replay.burn_in={self.replay.burn_in} must be less than rule.window={rule.window}")
        if self.replay.burn_in and not self.replay.capacity:
            raise UserError("replay.burn_in is for older windows: it needs replay.capacity")
        if rule.form == "online":
            if rule.lam_critic > rule.lam:
                raise UserError("rule.form=online has one trace for policy and critic: rule.lam_critic must be 0")
            if self.replay.capacity:
                raise UserError("rule.form=online uses every step once: it needs replay.capacity=0")
            needed = {"tau_f": rule.window, "replays": 1, "normalise": False}
            for name, value in needed.items():
                if getattr(rule, name) != value:
                    raise UserError(f"rule.form=online needs rule.{name}={str(value).lower()}")

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain data, the form that ``config.json`` holds."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any], options: type = NoOptions) -> Config:
        """Rebuild a run's settings, with the type of its agent's options.

        Raises UserError on a setting that is missing, unknown or ill-typed: none has its default in silence.
        """
        for f in fields(Config):
            if f.name not in data:
                raise UserError(f"setting {f.name} is missing")
        groups = {"agent": data["options"]} | {name: data[name] for name in SECTIONS}
        for name, kind in _sections(options).items():
            if isinstance(groups[name], dict):
                groups[name] = BEFORE.get(name, {}) | groups[name]
            _check_complete(name, groups[name], kind)
        top = {k: v for k, v in data.items() if k not in (*SECTIONS, "options")}
        flat = {f"{section}.{key}": value for section, group in groups.items() for key, value in group.items()}
        return make_config(top, flat, options)


def plain_kwargs(given: Any) -> dict[str, Any]:
    """Return arguments of an environment as config.json gives them back, so that a resumed run is made as at first.

    Tuples become lists. Raises UserError unless they are names with plain values.
    """
    if not isinstance(given, dict) or not all(isinstance(key, str) and key.isidentifier() for key in given):
        raise UserError(f"env_kwargs wants a dictionary of arguments' names and values, got {brief(given)}")
    try:
        return json.loads(json.dumps(given, default=lambda value: value.item()))
    except (AttributeError, TypeError, ValueError, RecursionError):
        raise UserError(f"env_kwargs wants plain values, which can stand in config.json, got {brief(given)}") from None


SECTIONS: dict[str, type] = {
    "network": NetworkConfig,
    "rule": RuleConfig,
    "replay": ReplayConfig,
    "encoder": EncoderConfig,
    "train": TrainConfig,
}


def settings(options: type = NoOptions) -> dict[str, dataclasses.Field]:
    """Return every ``section.key`` with its field, whose metadata holds doc, bounds and choices.

    ``options`` is the type of an agent's options, which are the section ``agent``.
    """
    return {f"{name}.{f.name}": f for name, section in _sections(options).items() for f in fields(section)}


def _sections(options: type) -> dict[str, type]:
    return SECTIONS | {"agent": options}


def _checked(key: str, value: Any, kind: type, meta: dict[str, Any]) -> Any:
    """Return ``value`` as ``kind``, from text where needed. Raises UserError if it is ill-typed or out of bounds."""
    if isinstance(value, str) and kind is not str:
        try:
            value = {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
        except (ValueError, KeyError):
            raise UserError(f"setting {key} wants {_kind_name(kind)}, got {brief(value)}") from None
    if hasattr(value, "item") and not hasattr(value, "__len__"):
        value = value.item()  # a number of NumPy
    if kind is str and type(value) is int:
        value = str(value)  # a number of workers
    if kind is float and type(value) is int and abs(value) < 1 << 1023:
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise UserError(f"setting {key} wants {_kind_name(kind)}, got {brief(value)}")
    if meta["choices"] and value not in meta["choices"]:
        raise UserError(f"setting {key} must be one of {', '.join(meta['choices'])}, got {brief(value)}")
    if kind in (int, float) and not meta["low"] <= value <= meta["high"]:
        bounds = f"at least {meta['low']:g}" if value < meta["low"] else f"at most {meta['high']:.10g}"
        raise UserError(f"setting {key} must be {bounds}, got {brief(value)}")
    return value


def _kind_name(kind: type) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]


# what runs and policies that were saved before there was such a setting are like, whatever the default is now
BEFORE: dict[str, dict[str, Any]] = {
    "network": {
        "neuron": "lif", "readout_gain": 0.1, "critic_path": False, "tau_m_max": 0.0, "tau_m_groups": 4,
        "adaptation": 0.2, "tau_a": 50.0, "memory": True, "fan_out": 0,
    },
    "encoder": {"bounds": "auto", "previous_action": False, "previous_reward": False, "previous_observation": False},
    "train": {"env_timeout": 0.0, "eval_max_steps": 10**12, "from_nir": ""},
}  # fmt: skip


def _check_complete(name: str, given: Any, kind: type) -> None:
    """Raise UserError unless a section of settings is a dictionary that holds every one."""
    if not isinstance(given, dict):
        raise UserError(f"section {name} wants a dictionary, got {brief(given)}")
    for f in fields(kind):
        if f.name not in given:
            raise UserError(f"setting {name}.{f.name} is missing")


def section(name: str, given: Any) -> Any:
    """Return the settings of a section of a saved policy. Raises UserError as :meth:`Config.from_dict` does."""
    given = BEFORE[name] | given if isinstance(given, dict) else given
    _check_complete(name, given, SECTIONS[name])
    return SECTIONS[name](**{key: parse(f"{name}.{key}", value) for key, value in given.items()})


def parse(key: str, value: Any, options: type = NoOptions) -> Any:
    """Return the value of a setting, from text where needed.

    Raises UserError on an unknown, ill-typed or out-of-bounds setting, naming it and its nearest known names.
    """
    known = settings(options)
    if key not in known:
        same = [name for name in known if name.partition(".")[2] == str(key).rpartition(".")[2]]
        hint = f"; did you mean {', '.join(same)}?" if same else nearest(str(key), known)
        raise UserError(f"unknown setting {key!r}{hint}")
    section, name = key.split(".")
    return _checked(key, value, get_type_hints(_sections(options)[section])[name], dict(known[key].metadata))


def make_config(top: dict[str, Any], flat: dict[str, Any], options: type = NoOptions) -> Config:
    """Build a Config from its top-level fields and flat ``section.key`` settings (values may be text).

    Raises UserError as :func:`parse` does, and on settings that contradict each other.
    """
    grouped: dict[str, dict[str, Any]] = {name: {} for name in _sections(options)}
    for key, value in flat.items():
        found = parse(key, value, options)
        section, name = key.split(".")
        grouped[section][name] = found
    own = options(**grouped.pop("agent"))
    return Config(**top, options=own, **{name: SECTIONS[name](**values) for name, values in grouped.items()})
