"""lfcs: learning fast, changing slow. Recurrent spiking policies that learn online from local traces.

    import lfcs

    run = lfcs.train("CartPole-v1", steps=50_000, seed=0)      # a Run: path, config, summary, metrics, policy
    policy = lfcs.load(run.path)                               # a Policy, from a run's directory or a saved file
    action, state = policy.predict(obs, state, episode_start)  # as in Stable-Baselines3, one observation or many

    train      train a policy: an environment by id, class or maker; a rule by name or class; settings; callbacks
    resume     continue a run that was cut, bit for bit
    load       the policy of a run, without its environment
    load_nir   the policy of a NIR file that lfcs wrote
    compare    learning rules side by side, over replays and seeds, with a report
    profile    what a policy computes while it acts: spikes, operations, memory, by NeuroBench's definitions
    Policy     what acts: predict, act, save
    Run        what train returns
    Agent      the base of learning rules; yours is a subclass with one method
    setting    declares an option of a rule, with its meaning and bounds
    Callback   the base of what looks on; StopAt and Recorder are two
    Recording  episodes as labelled arrays, which Policy.record makes and a Recorder saves
    UserError  anything that you can mend, said in one line

The equations stand in lfcs.rules, the learning rules in lfcs.agents, the neuron models in lfcs.neurons.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lfcs.agent import Agent
    from lfcs.callbacks import Callback, StopAt
    from lfcs.config import setting
    from lfcs.errors import UserError
    from lfcs.hardware.profile import profile
    from lfcs.hardware.reading import load_nir
    from lfcs.policy import Policy
    from lfcs.recorder import Recorder
    from lfcs.recording import Recording
    from lfcs.run import Run, load, resume, train
    from lfcs.study.compare import side_by_side as compare

HOMES = {  # where each name of the face stands
    "train": "run.train", "resume": "run.resume", "load": "run.load", "load_nir": "hardware.reading.load_nir",
    "Run": "run.Run", "Policy": "policy.Policy", "compare": "study.compare.side_by_side",
    "profile": "hardware.profile.profile", "Agent": "agent.Agent", "setting": "config.setting",
    "Callback": "callbacks.Callback", "StopAt": "callbacks.StopAt", "Recorder": "recorder.Recorder",
    "Recording": "recording.Recording", "UserError": "errors.UserError",
}  # fmt: skip
__all__ = [
    "Agent", "Callback", "Policy", "Recorder", "Recording", "Run", "StopAt", "UserError", "compare", "load", "load_nir",
    "profile", "resume", "setting", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: ``import lfcs`` alone is quick."""
    if name not in HOMES:
        raise AttributeError(f"module 'lfcs' has no attribute {name!r}")
    module, _, attribute = HOMES[name].rpartition(".")
    return getattr(importlib.import_module(f"lfcs.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
