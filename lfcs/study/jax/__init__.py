"""The benchmark's peers in JAX, where the extra ``peers-jax`` is installed.

Nothing is imported here that needs JAX: its settings are read when it is first imported.
"""

from __future__ import annotations

import importlib.util
import os

INSTALLED = all(importlib.util.find_spec(name) for name in ("jax", "jaxlib"))


def single_threaded() -> None:
    """Let XLA use one thread on the CPU; has no effect once JAX has begun to compute."""
    flag = "--xla_cpu_multi_thread_eigen=false"
    given = os.environ.get("XLA_FLAGS", "")
    if flag not in given:
        os.environ["XLA_FLAGS"] = f"{given} {flag}".strip()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ["NPROC"] = "1"  # the size of its pool of threads
