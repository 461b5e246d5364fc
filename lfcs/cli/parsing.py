"""What the commands share: a parser that is short, and the help that lists every setting."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from lfcs.errors import UserError

# name, what is called, help, and what else argparse is given -> the parser of a command
Command = Callable[..., argparse.ArgumentParser]


MOST = 10**15  # of a whole number


class Parser(argparse.ArgumentParser):
    """Says what is wrong in two lines, without the whole usage."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and leave with an error at an argument that is not UTF-8 or has a NUL: none could be said or kept."""
        for text in sys.argv[1:] if args is None else args:
            try:
                encoded = str(text).encode()
            except UnicodeEncodeError:
                self.error(f"an argument is not UTF-8: {text!r}")
            if b"\0" in encoded:
                self.error(f"an argument has a NUL in it: {text!r}")
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the error and where the help is; exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message}\nsee {self.prog} --help\n")


def whole(text: str) -> int:
    """Return a whole number of a flag. Raises ArgumentTypeError on anything else, and where nothing counts so far."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid int value: {text[:40]!r}") from None
    if abs(value) > MOST:
        raise argparse.ArgumentTypeError(f"must be at most {MOST:g}, got {text[:40]}")
    return value


class Settings(argparse.Action):
    """``--help`` of a training command: its flags, and every setting with its default."""

    def __init__(self, option_strings: Sequence[str], dest: str = argparse.SUPPRESS, **kwargs: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help="show this and all settings")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print the help and leave."""
        from lfcs import catalogue

        lines = [f"  {name}: {line}" for name, line in catalogue.settings()]
        parser.epilog = "settings (default):\n" + "\n".join(lines)
        parser.print_help()
        parser.exit()


def pair(text: str) -> tuple[str, str]:
    """Return key and value of ``section.key=value``. Raises UserError."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set wants section.key=value, got {text!r}")
    return key, value


def kwargs_of(texts: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of ``KEY=VALUE``s; a value that is no literal of Python is text. Raises UserError."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise UserError(f"--env-kwargs wants KEY=VALUE, got {text!r}")
        try:
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):  # what Python's own parser gives up on
            found[key] = {"true": True, "false": False}.get(value, value)
    return found
