"""Checkpoints: nested state in one file, without pickle, written atomically.

A checkpoint is a NumPy ``.npz`` archive: one array per tensor, and one JSON text that holds the tree of plain values
with references to the arrays, and of every array its dtype, shape and digest. ``seal`` is the digest of that text.
Nothing is compressed, so that a file never holds more than its size on disk.

Settings and summaries of a run are JSON with a digest of their own: what was changed since it was written is noticed.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import secrets
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch

from lfcs import machine
from lfcs.errors import UserError

FORMAT, UNSEALED = "lfcs-checkpoint-2", "lfcs-checkpoint-1"  # that of before has no digests
SEALED = 2  # the format of JSON files with a digest; without a format there is none
LARGEST_JSON = 1 << 26  # bytes, far beyond any settings or summary
HEADER = 10_000  # characters of an array's header that are read at most
# what reading a file of any content may raise, from zip to the tree of values
DAMAGED = (
    OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, RuntimeError, ArithmeticError, MemoryError,
    zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip


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


def _unpack(value: Any, arrays: dict[str, np.ndarray], device: torch.device) -> Any:
    if isinstance(value, list):
        raise ValueError("a list of its own")  # it is written as {"list": ...}
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        if len(found := {k: _unpack(v, arrays, device) for k, v in content}) < len(content):
            raise ValueError("a key twice")
        return found
    if kind == "list":
        return [_unpack(v, arrays, device) for v in content]
    if kind == "array":
        return arrays[content]
    if kind != "tensor":
        raise ValueError(f"a value of kind {kind}")
    array = arrays[content]
    # random generators keep their state on the host
    return torch.from_numpy(array).to("cpu" if array.dtype == np.uint8 else device)


def _digest(data: bytes | np.ndarray) -> str:
    return hashlib.sha256(data).hexdigest()[:32]  # type: ignore[arg-type]  # processors have instructions for it


def digest_of(path: Path) -> str:
    """Return the digest of what a file holds."""
    return _digest(path.read_bytes())


def _in_order(array: np.ndarray) -> np.ndarray:
    """Return the bytes of an array, row after row however it lies in memory."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (nested dicts and lists of tensors, arrays and plain values): either whole or not at all."""
    text, arrays = packed(state)
    tree = text.encode()
    members = {"tree": np.frombuffer(tree, np.uint8), "seal": np.frombuffer(_digest(tree).encode(), np.uint8)}
    with whole(path) as file:
        np.savez(file, **members, **arrays)  # type: ignore[arg-type]


def packed(state: dict[str, Any]) -> tuple[str, dict[str, np.ndarray]]:
    """Return ``state`` as a JSON text that refers to arrays, and these by name, for a file of any kind."""
    arrays: dict[str, np.ndarray] = {}
    tree = _pack(state, arrays)
    manifest = {name: [a.dtype.str, list(a.shape), _digest(_in_order(a))] for name, a in arrays.items()}
    return json.dumps({"format": FORMAT, "arrays": manifest, "state": tree}), arrays


def unpacked(
    text: str | bytes, arrays: dict[str, np.ndarray], device: torch.device, path: Path, sealed: bool = True
) -> dict[str, Any]:
    """Return the state of :func:`packed`, found in ``path``; one of before there were digests is not ``sealed``.

    Raises UserError on another format, one of DAMAGED on anything else that is wrong.
    """
    tree = json.loads(text, object_pairs_hook=_once)
    if tree["format"] != (FORMAT if sealed else UNSEALED):
        raise UserError(f"{path} is a checkpoint of another format: {str(tree['format'])[:40]!r}")
    if sealed:
        _check(tree["arrays"], arrays)
    state = _unpack(tree["state"], arrays, device)
    if not isinstance(state, dict):
        raise ValueError("no dictionary")
    return state


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


def write_sealed(path: Path, data: dict[str, Any]) -> None:
    """Write plain values as :func:`write_json` does, with a digest of them that :func:`read_sealed` checks."""
    plain = json.loads(json.dumps(data, default=lambda value: value.item())) | {"format": SEALED}
    write_json(path, plain | {"digest": _seal(plain)})


def _seal(plain: dict[str, Any]) -> str:
    return _digest(json.dumps(plain, sort_keys=True).encode())


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file says. Raises UserError where it is damaged, or says anything but a dictionary."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise UserError(f"{path} is damaged: it is larger than {LARGEST_JSON:,} bytes")
        found = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: it is not JSON ({' '.join(str(error).split())[:80]})") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged: it holds no dictionary")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a key twice")
    return found


def read_sealed(path: Path) -> dict[str, Any]:
    """Return what :func:`write_sealed` was given. Raises UserError where it is damaged or was changed since.

    A file without a format is of before there were digests: what it says is only checked by whoever reads it.
    """
    found = read_json(path)
    digest = found.pop("digest", None)
    if "format" not in found and digest is None:
        return found
    if found.get("format") != SEALED:
        raise UserError(f"{path} is damaged, or of a later version of lfcs: its format is not {SEALED}")
    if digest != _seal(found):
        raise UserError(f"{path} is damaged, or was changed since it was written: its digest does not fit")
    del found["format"]
    return found


def with_ending(path: str | Path, ending: str = ".npz") -> Path:
    """Return a path that ends in ``ending``. Raises UserError on one without a name."""
    path = Path(path)
    if not path.name:
        raise UserError(f"{str(path)!r} is not the name of a file")
    return path if path.name.endswith(ending) else path.with_name(path.name + ending)


def read_arrays(path: Path, compressed: bool = False) -> dict[str, np.ndarray]:
    """Return the arrays of an ``.npz`` file; nothing is allocated before its size is known to be sound.

    Raises UserError where they would not fit into memory, and one of DAMAGED on anything else that is wrong.
    """
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        total = sum(info.file_size for info in infos)
        stored = all(info.compress_type == zipfile.ZIP_STORED for info in infos)
        if not compressed and not (stored and total <= path.stat().st_size):
            raise ValueError("it is compressed")
        if len({info.filename for info in infos}) < len(infos):
            raise ValueError("an array twice")
        machine.check_memory(total, f"reading {path}")
        return {info.filename.removesuffix(".npy"): _array(archive.read(info)) for info in infos}


def _array(data: bytes) -> np.ndarray:
    """Return the array of a ``.npy`` file. Raises ValueError where its header is not that of the data."""
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array of another version")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, HEADER)
    if dtype.kind not in "biufcSU" or min(shape, default=0) < 0:
        raise ValueError(f"an array of {dtype}")
    if file.tell() + math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError("an array of another size than it says")
    flat = np.frombuffer(data, dtype, math.prod(shape), file.tell()) if math.prod(shape) else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C").copy(order="K")


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint. Raises UserError if the file is missing, damaged or not one of ours."""
    try:
        arrays = read_arrays(path)
        text, seal = arrays.pop("tree").tobytes(), arrays.pop("seal", None)
        if seal is not None and seal.tobytes().decode() != _digest(text):
            raise ValueError("its manifest is not what was written")
        return unpacked(text, arrays, device, path, sealed=seal is not None)
    except FileNotFoundError:
        raise UserError(f"no checkpoint at {path}") from None
    except DAMAGED as error:
        why = " ".join(str(error).split())[:80]
        raise UserError(f"{path} is damaged or not an lfcs checkpoint{f' ({why})' if why else ''}") from None


def _check(manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Raise ValueError unless arrays are those of a manifest."""
    if manifest.keys() != arrays.keys():
        raise ValueError("other arrays than were written")
    for name, array in arrays.items():
        if manifest[name] != [array.dtype.str, list(array.shape), _digest(_in_order(array))]:
            raise ValueError(f"array {name} is not what was written")


class Restored(NamedTuple):
    """A checkpoint of a run, and where it was."""

    path: Path
    state: dict[str, Any]


def newest(folder: Path, device: torch.device) -> Restored:
    """Read the newest checkpoint of a run that is intact; one that is not is named on standard error.

    Raises UserError if there is none.
    """
    wrong: list[str] = []
    for path in reversed(_found(folder)):
        try:
            state = load(path, device)
        except UserError as error:
            wrong.append(str(error))
            continue
        if wrong:
            print(f"warning: {'; '.join(wrong)}: using {path.name}, which is intact", file=sys.stderr, flush=True)
        return Restored(path, state)
    raise UserError(f"{'; '.join(wrong)}: no checkpoint is intact" if wrong else f"no checkpoint in {folder}")


def fit(own: Any, saved: Any, name: str) -> None:
    """Raise ValueError unless ``saved`` has the form of ``own``, and no number in it is other than finite.

    They are nested dictionaries and lists of tensors, arrays and numbers; a key that only one of them has is left to
    whoever reads it.
    """
    if isinstance(own, dict) and isinstance(saved, dict):
        for key in own.keys() & saved.keys():
            fit(own[key], saved[key], f"{name}.{key}")
    elif isinstance(own, list | tuple) and isinstance(saved, list | tuple) and len(own) == len(saved):
        for number, (one, other) in enumerate(zip(own, saved, strict=True)):
            fit(one, other, f"{name}.{number}")
    elif isinstance(own, torch.Tensor | np.ndarray) and type(own) is not type(saved):
        raise ValueError(f"{name} is no array")
    elif isinstance(own, torch.Tensor | np.ndarray):
        if own.shape != saved.shape or own.dtype != saved.dtype:
            wanted = f"{saved.dtype} {tuple(saved.shape)}, not {own.dtype} {tuple(own.shape)}"
            raise ValueError(f"{name} is {wanted}")
        if not (torch.isfinite(saved) if isinstance(saved, torch.Tensor) else np.isfinite(saved)).all():
            raise ValueError(f"{name} is not finite")
    elif type(own) in (float, int) and not (type(saved) in (float, int) and math.isfinite(saved)):
        raise ValueError(f"{name} is not a finite number")
    elif isinstance(own, dict | list | tuple) or (own is None and saved is not None):
        raise ValueError(f"{name} is of another form")


def steps_of(path: Path) -> int:
    """Return the environment steps at which a run's checkpoint was written, by its name."""
    return int(path.stem.partition("_")[2])


def _found(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, the newest last."""
    return sorted(path for path in folder.glob("step_*.npz") if re.fullmatch(r"step_[0-9]{1,18}", path.stem))


def around(folder: Path, steps: int) -> tuple[list[Path], list[Path]]:
    """Return the checkpoints of a run up to a number of environment steps, and those of later ones."""
    found = _found(folder)
    return [path for path in found if steps_of(path) <= steps], [path for path in found if steps_of(path) > steps]


def latest(folder: Path) -> Path:
    """Return the newest checkpoint of a run. Raises UserError if there is none."""
    found = _found(folder)
    if not found:
        raise UserError(f"no checkpoint in {folder}")
    return found[-1]


def steps_taken(folder: Path) -> int:
    """Return the environment steps at the newest checkpoint, 0 where there is none."""
    return max(map(steps_of, _found(folder)), default=0)
