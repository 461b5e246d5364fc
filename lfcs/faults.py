"""What a run says of an environment that failed: one line, with the traceback in a file of its directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lfcs.errors import EnvironmentFailed

FILE = "environment_error.txt"


@contextmanager
def kept(run_dir: Path | None, step: int | None = None) -> Iterator[None]:
    """Keep the traceback of an environment that fails within, and say where it is and how the run goes on.

    ``step`` is the environment step of the run. Raises EnvironmentFailed for that.
    """
    try:
        yield
    except EnvironmentFailed as error:
        raise told(error, run_dir, step) from error


def told(error: EnvironmentFailed, run_dir: Path | None, step: int | None) -> EnvironmentFailed:
    """Write an environment's traceback into a run's directory; return what is said of it."""
    line = str(error)
    if step is not None:
        line += f" (environment step {step:,} of the run)"
    if error.trace and run_dir is not None:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / FILE).write_text(f"{error}\n\n{error.trace}", errors="backslashreplace")
        line += f"; its traceback is in {run_dir / FILE}"
    if run_dir is not None and (run_dir / "config.json").exists():
        line += f"; when it is mended: lfcs resume {run_dir}"
    return EnvironmentFailed(line, error.trace)
