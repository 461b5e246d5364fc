"""What TensorBoard is pointed at, so that it calls every run by its own name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def named(runs: Path) -> Iterator[Path]:
    """Give a folder for TensorBoard: ``runs`` if it holds many, or one that holds nothing but the run ``runs``.

    TensorBoard names runs by their place in that folder, and the folder itself by a dot.
    """
    if not (runs / "config.json").exists():
        yield runs
        return
    with TemporaryDirectory(prefix="lfcs_watch_") as folder:
        link = Path(folder) / runs.resolve().name
        link.symlink_to(runs.resolve(), target_is_directory=True)
        yield Path(folder)
