"""Finding tensors in a file, told by its content: safetensors, or a pickle that holds only weights."""

import contextlib
import json
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..device import NotEnoughMemory, loading
from .stored import CheckpointError, OpenFile, Stored

__all__ = ["CheckpointError", "Contents", "TensorLike", "read_file", "read_nested", "tensor"]

TensorLike = Tensor | Stored
"""A tensor, in memory or in its file."""

MAX_HEADER = 100_000_000
"""Bytes of a safetensors file's header, the format's own limit."""
MAX_DEPTH = 16
"""How many times a pickle's `state_dict` may hold another."""
TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Contents:
    """Tensors by name, and what a safetensors file says about them."""

    tensors: dict[str, TensorLike]
    metadata: Mapping[str, str] = field(default_factory=dict)


def tensor(value: TensorLike) -> Tensor:
    """The tensor itself, read where it is still in its file."""
    return value.read() if isinstance(value, Stored) else value


def read_file(path: Path) -> Contents:
    """The tensors of a safetensors file or of a pickle as torch writes them, still in the file where that can be.

    From a pickle nothing is taken but tensors in dicts and lists, plain values, and what `INERT` names, which becomes
    an empty object; with `state_dict` in it, that counts. Raises CheckpointError that names the file for one that
    isn't there, is neither, is cut off, or is a pickle that wants more.
    """
    file = _opened(path)
    start = file.read(0, min(64, file.size)).numpy().tobytes()
    if _is_pickle(start):
        return Contents(_read_pickle(path, file, zipped=start[:2] == b"PK"))
    if start[8:9] != b"{":
        if start.startswith(b"version https://git-lfs"):
            raise CheckpointError(f"{path}: a Git LFS pointer, expected the file it points to: run git lfs pull")
        # A text; a safetensors file begins with a length, which has zeros in it.
        if start and start.isascii() and start.decode().replace("\n", " ").strip().isprintable():
            page = ", a web page" if start.lstrip()[:1] == b"<" else ""
            text = f"a text{page} that begins {' '.join(start.decode().split())[:30]!r}"
            raise CheckpointError(f"{path}: {text}, expected a safetensors or torch file: download it again")
    try:
        return _safetensors(file)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: expected a whole safetensors or torch file, {_plain(error)}") from error


def read_nested(path: Path) -> object:
    """All that is in a file, its tensors read: dicts and lists in one another, in a pickle even in themselves."""
    file = _opened(path)
    if _is_pickle(file.read(0, min(64, file.size)).numpy().tobytes()):
        with _plainly(path):
            return _loaded(file, "cpu")
    with loading(path):
        return {name: tensor(value) for name, value in read_file(path).tensors.items()}


def _is_pickle(start: bytes) -> bool:
    """Whether a file that begins so is a pickle, zipped or not; a safetensors file's length may have the same bytes."""
    return (start[:2] == b"PK" or start[:1] == b"\x80") and start[8:9] != b"{"


def _opened(path: Path) -> OpenFile:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, expected a checkpoint")
    return OpenFile(path)


def _safetensors(file: OpenFile) -> Contents:
    """A header of names, types, shapes and places, then the values; any error for what isn't one."""
    if file.size < 8:
        raise ValueError(f"it has {file.size} bytes")
    length = int.from_bytes(file.read(0, 8).numpy().tobytes(), "little")
    if length > min(MAX_HEADER, file.size - 8):
        raise ValueError(f"its header of {length} bytes doesn't fit into its {file.size} bytes")
    header = json.loads(file.read(8, length).numpy().tobytes())
    metadata = header.pop("__metadata__", None) or {}
    if not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its metadata has values that aren't text")
    entries = [(name, entry, *entry["data_offsets"]) for name, entry in header.items()]
    end = 0
    tensors: dict[str, TensorLike] = {}
    for name, entry, start, stop in sorted(entries, key=lambda entry: entry[2:]):
        if entry["dtype"] not in TYPES:
            raise ValueError(f"tensor {name!r} has the unknown dtype {entry['dtype']!r}")
        dtype, shape = TYPES[entry["dtype"]], entry["shape"]
        size = prod(shape) * dtype.itemsize
        if not all(type(n) is int and n >= 0 for n in (*shape, start, stop)) or (start, stop) != (end, end + size):
            expected = f"expected {end} to {end + size}"
            raise ValueError(f"tensor {name!r} is declared at bytes {start!r} to {stop!r}, {expected}")
        tensors[name] = Stored(file, 8 + length + start, dtype, torch.Size(shape))
        end = stop
    if 8 + length + end != file.size:
        raise ValueError(f"its tensors need {8 + length + end} bytes, it has {file.size}")
    return Contents(tensors, metadata)


# What published files have beside their tensors: the trainer's notes. Each name becomes a class that keeps nothing.
INERT = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "numpy.dtypes.Float64DType",
)


class _Inert:
    """Takes whatever a pickle gives it, and keeps nothing."""

    def __new__(cls, *args: object) -> "_Inert":
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


def _inert(name: str) -> type:
    module, _, own = name.rpartition(".")
    return type(own, (_Inert,), {"__module__": module})


def _read_pickle(path: Path, file: OpenFile, zipped: bool) -> dict[str, TensorLike]:
    """The tensors in a pickle; of a zipped one they stay in the file, if torch says where they are (from 2.7 on)."""
    with _plainly(path):
        if zipped and _only_stored(file):
            found = _unwrapped(_loaded(file, "meta"), path)
            if all(hasattr(t.untyped_storage(), "_checkpoint_offset") for t in found.values()):
                return {name: _placed(name, t, file) for name, t in found.items()}
        return _unwrapped(_loaded(file, "cpu"), path)


def _loaded(file: OpenFile, device: str) -> Any:
    inert = torch.serialization.safe_globals([_inert(name) for name in INERT])
    with inert, file.handle() as handle:  # of a path, torch would take the ending .safetensors at its word
        handle.seek(0)
        content = torch.load(handle, map_location=device, weights_only=True)
    file.check()
    return content


def _only_stored(file: OpenFile) -> bool:
    with file.handle() as handle, zipfile.ZipFile(handle) as archive:
        return all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())


def _placed(name: str, found: Tensor, file: OpenFile) -> TensorLike:
    """The tensor in the file that one on the meta device stands for."""
    storage, first = found.untyped_storage(), found.storage_offset() * found.itemsize
    begin = storage._checkpoint_offset  # type: ignore[attr-defined]
    if first + found.nbytes > storage.nbytes() or begin + storage.nbytes() > file.size:
        raise ValueError(f"tensor {name!r} of shape {list(found.shape)} reaches beyond its data")
    if found.is_contiguous():
        return Stored(file, begin + first, found.dtype, found.shape)
    whole = Stored(file, begin, torch.uint8, torch.Size([storage.nbytes()])).read()
    return whole.view(found.dtype).as_strided(found.shape, found.stride(), found.storage_offset())


@contextlib.contextmanager
def _plainly(path: Path) -> Iterator[None]:
    """Whatever stops torch's unpickler, as a CheckpointError of one line that says what to do."""
    try:
        with loading(path):
            yield
    except (CheckpointError, NotEnoughMemory):
        raise
    except pickle.UnpicklingError as error:
        wanted, said = (re.search(p, str(error)) for p in (r"GLOBAL ([\w.]+)", r"Unpickler error: (.*)"))
        reason = f"it needs {wanted[1]!r}" if wanted else said[1] if said else _plain(error)
        raise CheckpointError(
            f"{path}: a pickle with more than weights in it ({reason}), which may run code: "
            "expected tensors only; if you trust the file, convert it to safetensors"
        ) from error
    except Exception as error:  # a damaged pickle stops the unpickler in any way it likes
        raise CheckpointError(f"{path}: expected a whole torch file, {_plain(error)}") from error


def _unwrapped(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of a pickle, or of the `state_dict` in it."""
    for _ in range(MAX_DEPTH):
        if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
            break
        content = content["state_dict"]
    else:
        raise CheckpointError(f"{path}: 'state_dict' nested more than {MAX_DEPTH} deep, expected tensors")
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: a pickle of a {type(content).__name__}, expected a dict of tensors")
    return {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _plain(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
