"""What was chosen by itself: said in a line each, and kept in ``config.json`` beside the settings."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from lfcs import __version__, envs
from lfcs.compiled.learner import CompiledLearner
from lfcs.compiled.rollout import CompiledRollout
from lfcs.device_rollout import DeviceRollout
from lfcs.online import OnlineLearner
from lfcs.trainer import Trainer

MANY = 5_000  # inputs


def notes_of(trainer: Trainer) -> dict[str, Any]:
    """Return what ``config.json`` says of a new run beside its settings."""
    versions = {name: metadata.version(name) for name in ("torch", "snntorch", "gymnasium", "numpy")}
    versions |= {"lfcs": __version__, "python": platform.python_version()}
    return {"environments": envs.described(trainer.envs), "versions": versions, "notes": choices(trainer)}


def choices(trainer: Trainer) -> dict[str, str]:
    """Return, by what they are of, the choices that were made for a run."""
    config = trainer.config
    found = {
        "environments": f"{envs.described(trainer.envs)}{_why_plain(trainer)}",
        "observations": _observations(trainer),
        "encoder": f"{config.encoder.kind}, {trainer.policy.encoder.size:,} inputs",
        "engine": _engine(trainer),
    }
    return {name: text for name, text in found.items() if text}


def _why_plain(trainer: Trainer) -> str:
    """Return that arguments are why environments are not compiled, where that is so."""
    config = trainer.config
    if not config.env_kwargs:
        return ""
    made = f" with {envs.in_words(config.env_kwargs)}"
    plain = config.train.env_kind == "auto" and envs.described(trainer.envs).partition(", ")[2].startswith("plain")
    return f"{made}, of which there is no compiled form" if plain and envs.has_compiled(config.env) else made


def _observations(trainer: Trainer) -> str:
    """Return what was made of observations, nothing where they are as the environment gives them."""
    given, config = envs.flattening(trainer.envs), trainer.config
    ram = {key: value for key, value in envs.defaults(config.env).items() if key not in config.env_kwargs}
    told = [f"the bytes of the RAM ({envs.in_words(ram)}): images have no front end yet"] if ram else []
    return "; ".join([*told, *([given.removeprefix("observations ")] if given else [])])


def _engine(trainer: Trainer) -> str:
    """Return what advances the network and what learns."""
    acts: dict[type, str] = {CompiledRollout: "acts in compiled loops", DeviceRollout: "acts on the device"}
    learns: dict[type, str] = {CompiledLearner: "learns in compiled loops", OnlineLearner: "learns online, by traces"}
    how = acts.get(type(trainer.rollout), "acts a step at a time")
    what = learns.get(type(trainer.learner), "learns by PyTorch")
    return f"{trainer.config.engine} on {trainer.config.device}: {how}, {what}"


def warnings(trainer: Trainer) -> list[str]:
    """Return what a user should know before hours of training."""
    inputs = trainer.policy.encoder.size
    if inputs <= MANY:
        return []
    return [
        f"the encoder makes {inputs:,} inputs, more than {MANY:,}: a step costs in proportion; "
        "encoder.kind=standardised makes one of each number, encoder.cells=5 a third"
    ]
