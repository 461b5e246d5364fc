"""``python -m lfcs.cli``."""

from lfcs.cli import console

if __name__ == "__main__":
    console()
