"""Experiments: one script per environment with its tuned settings as data."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any


def find(env: str) -> dict[str, Any] | None:
    """Return the settings of the experiment for an environment id or an experiment's name, or None."""
    for module in pkgutil.iter_modules(__path__):
        loaded = importlib.import_module(f"experiments.{module.name}")
        found = getattr(loaded, "SETTINGS", None)
        if found and env in (found["name"], found["env"]):
            return found
    return None
