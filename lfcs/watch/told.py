"""What is told of a run beside its curves: its settings in words, its scores, and which curves stand together."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from lfcs.config import SECTIONS, Config, settings
from lfcs.trackers import Charts

FIRST = "agent", "rule", "replay", "network", "encoder", "train"  # sections, those of the rule first
SCORES = "mean_return", "std_return", "mean_return_sampled", "std_return_sampled"
CURVES: dict[str, dict[str, tuple[str, ...]]] = {
    "learning": {
        "return of evaluations": ("eval/mean_reward", "eval/mean_reward_sampled"),
        "return while learning": ("rollout/ep_rew_mean",),
        "entropy of the policy": ("train/entropy",),
        "explained variance of the critic": ("train/explained_variance",),
    },
    "fast and slow": {
        "ratio to the reference": ("train/ratio_p05", "train/ratio_mean", "train/ratio_p95"),
        "effective sample size": ("train/ess",),
    },
    "neurons": {
        "firing rate in spikes per tick": ("spikes/rate_mean",),
        "dead neurons": ("spikes/dead_fraction",),
    },
    "weights": {
        "gradient before clipping": ("train/grad_norm",),
        "change of the readout in a pass": ("train/update_norm",),
    },
}
LOOKED: dict[str, dict[str, tuple[str, ...]]] = {  # in place of some of those where passes are looked at
    "fast and slow": {
        "KL within windows": ("passes/kl_reference_new", "passes/kl_new_acting"),
        "share masked": ("passes/share_masked",),
    },
    "neurons": {"dead and saturated neurons": ("spikes/dead_fraction", "spikes/saturated_fraction")},
}


def charts(looked: bool) -> Charts:
    """Return which curves stand together, with those of passes where these are ``looked`` at."""
    if not looked:
        return CURVES
    return {page: LOOKED.get(page, {}) | shown for page, shown in CURVES.items()}


def flat(config: Config) -> dict[str, str | int | float | bool]:
    """Return every setting by its name, those of the rule first, then what the run is."""
    nested = config.to_dict()
    nested["agent"], name = nested.pop("options"), nested["agent"]
    told: dict[str, Any] = {"agent": name, "env": nested["env"]}
    told |= {f"env_kwargs.{key}": str(value) for key, value in nested.pop("env_kwargs").items()}
    told |= {f"{section}.{key}": value for section in FIRST for key, value in nested[section].items()}
    return told | {key: nested[key] for key in nested if key not in (*FIRST, "env") and key not in SECTIONS}


def differing(config: Config) -> dict[str, Any]:
    """Return the settings that are not the defaults, with those by name."""
    options = type(config.options)
    defaults = {key: field.default for key, field in settings(options).items()}
    defaults |= {field.name: field.default for field in dataclasses.fields(Config) if field.name in ("steps", "agent")}
    return {key: defaults[key] for key, value in flat(config).items() if key in defaults and value != defaults[key]}


def in_words(config: Config) -> str:
    """Return the settings as Markdown: what the run is, what differs from the defaults, and then the rest."""
    every, changed = flat(config), differing(config)
    lines = [f"**{config.agent}** on **{config.env}**, {config.steps:,} steps, seed {config.seed}", ""]
    if changed:
        lines += ["| not the default | value | default |", "|---|---|---|"]
        lines += [f"| `{key}` | **{plain(every[key])}** | {plain(value)} |" for key, value in changed.items()]
    else:
        lines += ["All settings are the defaults."]
    lines += ["", "| as by default | value |", "|---|---|"]
    return "\n".join(lines + [f"| `{key}` | {plain(value)} |" for key, value in every.items() if key not in changed])


def scores(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return a run's final numbers."""
    return {key: float(summary[key]) for key in SCORES} | {
        "seconds": float(summary["seconds"]),
        "diverged": float(summary["diverged"] is not None),
    }


def ending(summary: Mapping[str, Any]) -> str:
    """Return a run's summary as Markdown."""
    lines = [f"| {key} | {plain(value)} |" for key, value in summary.items() if value is not None]
    return "\n".join(("| at the end | |", "|---|---|", *lines))


def plain(value: Any) -> str:
    """Return a setting or a score as people write it."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)
