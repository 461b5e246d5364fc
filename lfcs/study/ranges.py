"""Where settings are searched: the ranges of their declarations, or those that a user gives in the same form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lfcs.config import parse, settings
from lfcs.errors import UserError

FORM = "LOW..HIGH, LOW..HIGH:log or values with commas between"
DEFAULT = "default"  # stands for all declared ranges


@dataclass(frozen=True)
class Range:
    """The values that a setting may take: between two numbers, both included, or one of ``values``."""

    key: str
    low: Any = None
    high: Any = None
    log: bool = False
    values: tuple[Any, ...] = ()

    def ends(self) -> tuple[Any, ...]:
        """Return the values that settle whether the range can be built: its two ends, or all of its values."""
        return self.values or (self.low, self.high)

    def suggest(self, trial: Any) -> Any:
        """Return the value that an Optuna trial has; a number between two others has three digits."""
        if self.values:
            return trial.suggest_categorical(self.key, list(self.values))
        if isinstance(self.low, int):
            return trial.suggest_int(self.key, self.low, self.high, log=self.log)
        return self.rounded(trial.suggest_float(self.key, self.low, self.high, log=self.log))

    def rounded(self, value: Any) -> Any:
        """Return a number between two others as it is used; anything else as it is."""
        if self.values or isinstance(value, int):
            return value
        return min(max(float(f"{value:.3g}"), self.low), self.high)

    def nearest(self, value: Any) -> Any:
        """Return the value of the range that is nearest to ``value``; the first of others than numbers."""
        if not self.values:
            return min(max(value, self.low), self.high)
        if value in self.values or isinstance(value, bool | str):
            return value if value in self.values else self.values[0]
        return min(self.values, key=lambda one: abs(one - value))

    def holding(self, value: Any) -> Range:
        """Return the range, widened to hold ``value``."""
        if self.values:
            more = () if value in self.values else (value,)
            return Range(self.key, values=(*self.values, *more))
        log = self.log and value > 0
        return Range(self.key, min(self.low, value), max(self.high, value), log)

    def __str__(self) -> str:
        if self.values:
            return ",".join(str(one).lower() if isinstance(one, bool) else str(one) for one in self.values)
        return f"{self.low:g}..{self.high:g}" + (":log" if self.log else "")


def read_range(key: str, text: str, options: type, declared: str = "") -> Range:
    """Return the range that a text of :data:`FORM` means; without a scale it has that of the ``declared`` one.

    Raises UserError on another form, an unknown setting, or values that it cannot have.
    """
    between, colon, scale = text.partition(":")
    low, dots, high = between.partition("..")
    if not dots:
        values = tuple(parse(key, one.strip(), options) for one in text.split(","))
        if len(set(values)) < max(2, len(values)):
            raise UserError(f"range of {key} wants at least two different values, got {text!r}")
        return Range(key, values=values)
    ends = parse(key, low, options), parse(key, high, options)
    if not all(type(end) in (int, float) for end in ends) or scale not in ("", "log") or (colon and not scale):
        raise UserError(f"range of {key} wants {FORM}, got {text!r}")
    log = scale == "log" or (not scale and declared.endswith(":log") and min(ends) > 0)
    if not ends[0] < ends[1]:
        raise UserError(f"range of {key} is empty: {low} is not less than {high}")
    if log and ends[0] <= 0:
        raise UserError(f"range of {key} is logarithmic: it must begin above 0, got {low}")
    return Range(key, *ends, log)


def declared(options: type) -> dict[str, Range]:
    """Return the range of every setting that declares one."""
    found = {key: field.metadata["search"] for key, field in settings(options).items()}
    return {key: read_range(key, text, options) for key, text in found.items() if text}


def given(texts: Sequence[str], options: type) -> tuple[dict[str, Range], bool]:
    """Return the ranges of texts ``key=range``, and whether the declared ones are wanted beside them.

    ``key`` alone is the declared range of that setting, ``default`` all of them. Raises UserError on a text that is
    neither.
    """
    known, found, all_of_them = declared(options), {}, False
    for text in texts:
        key, equals, form = text.partition("=")
        if key == DEFAULT and not equals:
            all_of_them = True
            continue
        if equals:
            meta = settings(options)[key].metadata["search"] if key in settings(options) else ""
            found[key] = read_range(key, form, options, meta)
        elif key in known:
            found[key] = known[key]
        elif key in settings(options):
            raise UserError(f"--ranges: {key} has no declared range; give one as {key}=LOW..HIGH")
        else:
            parse(key, "", options)  # says what is near
    return found, all_of_them
