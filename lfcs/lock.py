"""One writer at a time: a directory is held by one process, and the system lets go of it when that process dies."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from weakref import WeakSet

from lfcs import stopping
from lfcs.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

NAME = ".lock"  # the file, below the directory
MOMENT = 0.3  # seconds in which a holder that has just been killed is gone
ORPHANS = 60.0  # seconds after which a worker whose parent is gone has left, and written its checkpoint
FAR = 1 << 30  # where Windows locks a byte: what it locks cannot be read
TAKEN = errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK


class Lock:
    """A directory that is ours until :meth:`release`, or until the process ends, however it ends."""

    def __init__(self, folder: Path, file: IO[bytes], made: list[Path]) -> None:
        self.path, self.file, self.made = folder / NAME, file, made
        HELD.add(self)

    def release(self) -> None:
        """Let go, and take away the file, and the directories that were made for it and hold nothing."""
        if self.file.closed:
            return
        HELD.discard(self)
        if os.name == "nt":  # which does not remove what is open
            self.file.close()
        with suppress(OSError):
            if self.file.closed or _same(self.file, self.path):
                self.path.unlink()
        self.file.close()
        with suppress(OSError):
            for folder in self.made:
                folder.rmdir()


HELD: WeakSet[Lock] = WeakSet()


def _release_all() -> None:
    for lock in list(HELD):
        lock.release()


stopping.UNDO.append(_release_all)


def _forget() -> None:
    """In a forked child: the parent's locks are not its own, and end with the parent."""
    for lock in list(HELD):
        lock.file.close()
    HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def hold(folder: Path, patience: float = MOMENT) -> Lock:
    """Return the lock of a directory, which is made where it is missing; wait ``patience`` seconds for another's end.

    Raises UserError, one line that names the holder, where another process or thread has it, where the file system has
    no locks, and where ``folder`` cannot be a directory.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    end = time.monotonic() + patience
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = open(folder / NAME, "a+b")  # noqa: SIM115, it stays open
        except FileNotFoundError:  # another has just taken the directory away
            file = None
        except (FileExistsError, NotADirectoryError):
            raise UserError(f"{folder} is not a directory and cannot be one: choose another place") from None
        if file is not None:
            if _taken(file, folder) and _same(file, folder / NAME):
                _sign(file)
                return Lock(folder, file, made)
            file.close()
        if time.monotonic() >= end:
            raise UserError(f"{folder} is in use by {_holder(folder)}: wait until it ends, or choose another directory")
        time.sleep(0.02)


@contextmanager
def held(folder: Path, patience: float = MOMENT) -> Iterator[Lock]:
    """Hold a directory for a while. Raises as :func:`hold`."""
    lock = hold(folder, patience)
    try:
        with stopping.undone(lock.release):
            yield lock
    finally:
        lock.release()


def _taken(file: IO[bytes], folder: Path) -> bool:
    """Lock a file; return whether it is ours. Raises UserError where the file system has no locks."""
    try:
        if os.name == "nt":
            windows: Any = msvcrt
            file.seek(FAR)
            windows.locking(file.fileno(), windows.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in TAKEN:
            return False
        raise UserError(f"{folder}: its file system keeps no locks ({error}): choose a directory on another") from None
    return True


def _same(file: IO[bytes], path: Path) -> bool:
    """Return whether an open file is still the one of that name: who let go may have taken it away."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _sign(file: IO[bytes]) -> None:
    """Write who holds it."""
    file.truncate(0)
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode())
    file.flush()


def _holder(folder: Path) -> str:
    """Return in words who holds a directory."""
    try:
        found = json.loads((folder / NAME).read_bytes())
        return f"process {found['pid']} on {found['host']} since {found['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has just come or gone
        return "another process"
