"""Checkpoints: nested state in one file, without pickle, written atomically.

A checkpoint is a NumPy ``.npz`` archive: one array per tensor, and one JSON text that holds the tree of plain values
with references to the arrays. Zip's checksums find a damaged file.
"""

from __future__ import annotations

import json
import os
import secrets
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from lfcs.errors import UserError

FORMAT = "lfcs-checkpoint-1"


def _pack(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Replace arrays and tensors in a tree by references; dictionaries become pairs, so that keys keep their type."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        raise TypeError("a checkpoint cannot hold an array of objects")
    if isinstance(value, torch.Tensor | np.ndarray):
        name = f"a{len(arrays)}"
        if isinstance(value, torch.Tensor):
            arrays[name] = value.detach().cpu().numpy()
            return {"tensor": name}
        arrays[name] = value
        return {"array": name}
    if isinstance(value, dict):
        if odd := [k for k in value if not isinstance(k, str | int | float | bool | None)]:
            raise TypeError(f"a checkpoint cannot hold the key {odd[0]!r}")
        return {"dict": [[k, _pack(v, arrays)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_pack(v, arrays) for v in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def _unpack(value: Any, arrays: Any, device: torch.device) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {k: _unpack(v, arrays, device) for k, v in content}
    if kind == "list":
        return [_unpack(v, arrays, device) for v in content]
    array = arrays[content]
    if kind == "array":
        return array
    # random generators keep their state on the host
    return torch.from_numpy(array).to("cpu" if array.dtype == np.uint8 else device)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (nested dicts and lists of tensors, arrays and plain values): either whole or not at all."""
    arrays: dict[str, np.ndarray] = {}
    tree = json.dumps({"format": FORMAT, "state": _pack(state, arrays)})
    with whole(path) as file:
        np.savez(file, tree=np.frombuffer(tree.encode(), dtype=np.uint8), **arrays)  # type: ignore[arg-type]


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """Give a file that becomes ``path`` when all is written, and leaves nothing behind when something fails.

    Folders on the way are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # nobody else's
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what a process that was killed has left of files half written; nobody else may be writing there."""
    for path in [*folder.glob(".*.tmp"), *folder.glob("checkpoints/.*.tmp")]:
        path.unlink()


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write plain values as JSON, numbers of NumPy among them: either whole or not at all."""
    text = json.dumps(data, indent=2, default=lambda value: value.item())
    with whole(path) as file:
        file.write(f"{text}\n".encode())


def with_ending(path: str | Path, ending: str = ".npz") -> Path:
    """Return a path that ends in ``ending``. Raises UserError on one without a name."""
    path = Path(path)
    if not path.name:
        raise UserError(f"{str(path)!r} is not the name of a file")
    return path if path.name.endswith(ending) else path.with_name(path.name + ending)


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint. Raises UserError if the file is missing, damaged or not one of ours."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            tree = json.loads(arrays["tree"].tobytes())
            if tree["format"] != FORMAT:
                raise UserError(f"{path} is a checkpoint of another format: {tree['format']}")
            return _unpack(tree["state"], arrays, device)
    except FileNotFoundError:
        raise UserError(f"no checkpoint at {path}") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, json.JSONDecodeError):
        raise UserError(f"{path} is damaged or not an lfcs checkpoint") from None


def steps_of(path: Path) -> int:
    """Return the environment steps at which a run's checkpoint was written, by its name."""
    return int(path.stem.partition("_")[2])


def latest(folder: Path) -> Path:
    """Return the newest checkpoint of a run. Raises UserError if there is none."""
    found = sorted(folder.glob("step_*.npz"))
    if not found:
        raise UserError(f"no checkpoint in {folder}")
    return found[-1]
