"""What is said of installing holds together: lower bounds, exact versions, Pythons."""

from __future__ import annotations

import re

from lowest import SETUP, bounds

ROOT = SETUP.parent


def numbers(version):
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_every_package_that_is_needed_has_a_lower_bound_at_or_below_what_is_installed():
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert {"torch", "snntorch", "gymnasium", "numba", "numpy", "tensorboard"} <= set(bounds())
    for name, version in bounds().items():
        assert numbers(version) <= numbers(pinned[name]), name


def test_what_is_developed_with_has_an_exact_version():
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    extras = re.search(r"^dev =\n((?:    .+\n)+)", SETUP.read_text(), re.MULTILINE)
    assert set(extras[1].split()) <= set(pinned)


def test_the_pythons_are_those_that_are_tried():
    (lowest,) = re.findall(r"^python_requires = >=(\S+)$", SETUP.read_text(), re.MULTILINE)
    (tried,) = re.findall(r"^PYTHONS \?= (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert tried.split()[0] == lowest == "3.11"
    for path in (ROOT / "README.md", ROOT / "Makefile", SETUP):
        assert "3.10" not in path.read_text(), path
