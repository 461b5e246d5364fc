"""Print what setup.cfg needs at the least as constraints for pip: ``numpy>=2.0.0`` is ``numpy==2.0.0``."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

SETUP = Path(__file__).parent.parent / "setup.cfg"


def bounds():
    """Return the lower bound of every package that is needed; raise ValueError where one has none."""
    config = configparser.ConfigParser()
    config.read(SETUP, encoding="utf-8")
    found = {}
    for line in config["options"]["install_requires"].split():
        form = re.fullmatch(r"([\w.-]+)>=([\w.]+)", line)
        if not form:
            raise ValueError(f"{line} has no lower bound of the form name>=version")
        found[form[1]] = form[2]
    return found


if __name__ == "__main__":
    for name, version in bounds().items():
        print(f"{name}=={version}")
