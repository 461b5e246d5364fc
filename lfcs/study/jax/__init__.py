"""The benchmark's peers in JAX, where the extra ``peers-jax`` is installed.

Nothing is imported here that needs JAX: its settings are read when it is first imported.
"""

from __future__ import annotations

import importlib.util
import os

INSTALLED = all(importlib.util.find_spec(name) for name in ("jax", "jaxlib"))


def set_threads(threads: int) -> None:
    """Let XLA use so many threads of the CPU; has no effect once JAX has begun to compute."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ["NPROC"] = str(threads)  # the size of XLA's pool; its flags of that kind leave it at all cores
