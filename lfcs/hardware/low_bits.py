"""A run quantised: a run directory of its own, and what the return is over numbers of bits."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lfcs import checkpoint
from lfcs.errors import UserError
from lfcs.hardware.quantise import Format, quantise
from lfcs.pictures import style
from lfcs.policy import Policy
from lfcs.run import load_config, newest_policy, score
from lfcs.trainer import set_device

CURVE = range(2, 9)  # bits

Returns = Mapping[str, np.ndarray]  # [episodes] sampled and greedy


class Trained:
    """The newest policy of a run in full precision, and its task. Raises UserError where there is no such run."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.config = load_config(run_dir)
        device = set_device(self.config.device, self.config.train.threads)
        self.policy, self.steps, self.saved = newest_policy(run_dir, device, self.config.engine)
        if self.policy.fixed is not None:
            raise UserError(f"{run_dir} is quantised already: quantise the run that it was made of")

    def score(self, policy: Policy, episodes: int, seed: int, **given: Any) -> dict[str, np.ndarray]:
        """Return the returns of a policy in the run's task; see :func:`lfcs.run.score`."""
        return score(policy, self.config, self.steps, episodes, seed, **given)

    def write(self, out: Path, policy: Policy, form: Format, before: Returns, after: Returns) -> None:
        """Write the run directory of a quantised policy with its returns: settings, a checkpoint and a summary.

        Raises UserError where there is a run already.
        """
        check_free(out)
        config = dataclasses.replace(self.config, engine="fixed", device="cpu", network=policy.network.config)
        saved = {"policy": policy.state_dict(), "rollout": {"env_steps": self.steps}}
        checkpoint.save(out / "checkpoints" / f"step_{self.steps:012d}.npz", saved)
        told = {"of": str(self.run_dir), **dataclasses.asdict(form), "mean_return_before": before["greedy"].mean()}
        summary = {"env": config.env, "agent": config.agent, "seed": config.seed}
        for name, way in (("", "greedy"), ("_sampled", "sampled")):
            summary |= {f"mean_return{name}": after[way].mean(), f"std_return{name}": after[way].std()}
        summary |= {
            "episodes": len(after["greedy"]),
            "env_steps": self.steps,
            "weight_updates": self.saved["learner"]["update"]["optimiser"]["steps"],
            "seconds": self.saved["seconds"],
            "evaluation_seconds": self.saved.get("evaluation_seconds", 0.0),
            "stopped": self.saved["stopped"],
            "diverged": None,
            "quantised": told,
        }
        if (self.run_dir / "metrics.csv").exists():  # how it was trained
            shutil.copy(self.run_dir / "metrics.csv", out)
        checkpoint.write_sealed(out / "summary.json", summary)
        checkpoint.write_sealed(out / "config.json", config.to_dict())


def check_free(out: Path) -> None:
    """Raise UserError where a directory already holds a run."""
    if (out / "config.json").exists():
        raise UserError(f"{out} already holds a run: choose another --run-dir")


def beside(run_dir: Path, form: Format) -> Path:
    """Return where a quantised run goes unless it is said otherwise: beside the run that it is made of."""
    parts = f"{form.bits}bit", "per-neuron" if form.per_neuron else "", "decay-shift" if form.decay_shift else ""
    return run_dir.with_name("_".join([run_dir.name, *filter(None, parts)]))


def kept(before: float, after: float) -> float:
    """Return the share of a mean return that is kept, 1 - (before - after)/|before|; NaN where that is 0."""
    return 1.0 - (before - after) / abs(before) if before else float("nan")


def over_bits(trained: Trained, form: Format, play: Callable[[Policy], Returns]) -> Iterator[tuple[int, Returns]]:
    """Yield the returns of a run's policy in 2 to 8 bits, otherwise quantised as ``form`` says."""
    for bits in CURVE:
        yield bits, play(quantise(trained.policy, dataclasses.replace(form, bits=bits)))


def draw(curve: Mapping[int, Returns], before: Returns, title: str) -> Any:
    """Return a figure of the returns over bits, beside those in full precision. Raises UserError without matplotlib."""
    figure = style.figure()
    axis = figure.subplots()
    for way, colour in (("greedy", style.BLUE), ("sampled", style.RED)):
        mean, half = (np.array([of(r[way]) for r in curve.values()]) for of in (np.mean, standard_error))
        axis.errorbar(list(curve), mean, half, color=colour, marker="o", markersize=3, linewidth=1.2, label=way)
        axis.axhline(before[way].mean(), color=colour, linewidth=0.8, linestyle="--")
    axis.set_xlabel("bits of a weight")
    axis.set_ylabel("return ± standard error")
    axis.set_title(title)
    axis.legend(frameon=False, title="dashed: full precision", title_fontsize=style.SMALL)
    style.dress(figure)
    return figure


def standard_error(returns: np.ndarray) -> float:
    """Return the standard error of the mean of returns."""
    return float(returns.std(ddof=1) / len(returns) ** 0.5) if len(returns) > 1 else 0.0
