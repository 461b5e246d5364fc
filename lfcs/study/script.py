"""The end of a script: an exit status, with what the user can mend in one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from lfcs.errors import Interrupted, UserError


def run_script(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> int:
    """Call ``main`` and return an exit status: 1 after an error that the user can mend, 130 after Ctrl-C."""
    try:
        main(args)
    except (Interrupted, KeyboardInterrupt) as stop:
        print(f"lfcs: {str(stop) or 'interrupted'}", file=sys.stderr)
        return 130
    except (UserError, OSError) as error:
        print(f"lfcs: error: {error}", file=sys.stderr)
        return 1
    return 0
