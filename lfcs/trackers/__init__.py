"""Where a run is shown, by name. A new tracker is one file and one entry here, or a package.module:Class."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from lfcs.errors import UserError
from lfcs.names import lookup
from lfcs.trackers.base import Charts, Tracker

__all__ = ["METHODS", "TRACKERS", "Charts", "Tracker", "begin", "find"]

HOMES = {
    "tensorboard": "lfcs.trackers.tensorboard:TensorBoard",
    "wandb": "lfcs.trackers.wandb:WandB",
    "trackio": "lfcs.trackers.trackio:Trackio",
}
TRACKERS = *HOMES, "none"
METHODS = "scalars", "histogram", "image", "text", "video", "hparams", "layout", "flush", "close"


def find(name: str) -> Any:
    """Return the class of a tracker, None for ``none``. Raises UserError on an unknown one, or a missing package."""
    if name == "none":
        return None
    module, _, made = HOMES.get(name, "").partition(":")
    found = (
        getattr(importlib.import_module(module), made) if module else lookup(name, dict.fromkeys(TRACKERS), "tracker")
    )
    if not all(hasattr(found, method) for method in METHODS):
        raise UserError(f"tracker {name!r} is not a tracker: see lfcs.trackers.Tracker")
    if hasattr(found, "check"):
        found.check()
    return found


def begin(name: str, run_dir: Path, start: int) -> Tracker | None:
    """Return a tracker that shows the run of a directory from environment step ``start`` on; None for ``none``.

    What it was told beyond that step, by a process that was cut, is told again. Raises UserError as :func:`find`.
    """
    found = find(name)
    return None if found is None else found(run_dir, start)
