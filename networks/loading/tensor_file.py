"""Reading tensors from a file, told by its content: safetensors, memory-mapped, or a pickle that holds only weights."""

import contextlib
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

__all__ = ["CheckpointError", "Contents", "read_file"]

MAPPED_TOGETHER = 100
"""Tensors that share a mapping of their file: its pages count as used until the last of them is gone."""


class CheckpointError(ValueError):
    """A checkpoint that can't be used, and why."""


@dataclass(frozen=True)
class Contents:
    """Tensors by name, and what a safetensors file says about them."""

    tensors: dict[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_file(path: Path) -> Contents:
    """The tensors of a safetensors file or of a pickle as torch writes them; both mapped where that can be done.

    From a pickle nothing is taken but tensors in dicts and lists, plain values, and what `INERT` names, which becomes
    an empty object; with `state_dict` in it, that counts. Raises CheckpointError that names the file for one that
    isn't there, is neither, is cut off, or is a pickle that wants more.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, expected a checkpoint")
    with path.open("rb") as file:
        start = file.read(64)
    if start[8:9] != b"{":  # which comes after a safetensors file's length, whose bytes may be anything
        if start[:2] == b"PK":
            return _read_pickle(path, mapped=True)
        if start[:1] == b"\x80":
            return _read_pickle(path, mapped=False)
        if start.startswith(b"version https://git-lfs"):
            raise CheckpointError(f"{path}: a Git LFS pointer, expected the file that it stands for: run git lfs pull")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata, names = file.metadata() or {}, list(file.keys())
        tensors: dict[str, Tensor] = {}
        for start in range(0, len(names), MAPPED_TOGETHER):
            with safe_open(path, framework="pt", device="cpu") as file:
                tensors |= {name: file.get_tensor(name) for name in names[start : start + MAPPED_TOGETHER]}
        return Contents(tensors, metadata)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: expected a whole safetensors or torch file, {_plain(error)}") from error


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


@contextlib.contextmanager
def _inert_names() -> Iterator[None]:
    """Lets torch's weights-only unpickler meet the names in `INERT`; before torch 2.5 it can't, and refuses them."""
    allow = getattr(torch.serialization, "safe_globals", None)
    with allow([_inert(name) for name in INERT]) if allow else contextlib.nullcontext():
        yield


def _read_pickle(path: Path, mapped: bool) -> Contents:
    try:
        with _inert_names(), path.open("rb") as file:
            # torch maps only what it opens itself, and takes the ending .safetensors at its word.
            mapped = mapped and path.suffix != ".safetensors"
            content = torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        wanted, said = (re.search(p, str(error)) for p in (r"GLOBAL ([\w.]+)", r"Unpickler error: (.*)"))
        reason = f"it wants {wanted[1]!r}" if wanted else said[1] if said else _plain(error)
        raise CheckpointError(
            f"{path}: a pickle that can't be read as weights alone ({reason}), and anything else in a pickle may run "
            "code: expected tensors only; where you trust the file, save it as safetensors"
        ) from error
    except Exception as error:  # a damaged pickle stops the unpickler in any way it likes
        raise CheckpointError(f"{path}: expected a whole torch file, {_plain(error)}") from error
    while isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: a pickle of a {type(content).__name__}, expected a dict of tensors")
    return Contents({name: value for name, value in content.items() if isinstance(value, Tensor)})


def _plain(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
