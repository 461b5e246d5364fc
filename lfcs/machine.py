"""What this machine has: memory, which is asked for before it is allocated."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from lfcs.errors import UserError

MEMINFO, LIMIT, USED = (
    Path(name) for name in ("/proc/meminfo", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current")
)


def available_memory() -> int | None:
    """Return how many bytes may still be allocated, None where that is unknown."""
    found = []
    try:
        for line in MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except (OSError, ValueError, IndexError):  # no Linux
        if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(OSError, ValueError):  # "max", or none
        found.append(int(LIMIT.read_text()) - int(USED.read_text()))  # of a container
    return max(0, min(found)) if found else None


def check_memory(needed: float, what: str, hint: str = "") -> None:
    """Raise UserError where ``what`` needs more bytes than may be allocated."""
    free = available_memory()
    if free is not None and needed > free:
        asked = f"about {needed / 1e9:,.1f} GB" if needed < 1e18 else "more memory than any machine has"
        raise UserError(f"{what} needs {asked}, and this machine has {free / 1e9:,.1f} GB left{hint}")
