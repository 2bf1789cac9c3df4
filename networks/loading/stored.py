"""Tensors that are still in their file: type, shape and place; read when they are wanted, never mapped.

A mapped file that somebody cuts off or writes anew ends the process without a word (SIGBUS). What is read here is read
once, a tensor at a time, and a file that changes meanwhile is an error.
"""

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

__all__ = ["CheckpointError", "OpenFile", "Stored"]


class CheckpointError(ValueError):
    """A checkpoint that can't be used, and why."""


class OpenFile:
    """A file held open for reading, as it was when it was opened; raises CheckpointError where it isn't any more."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise CheckpointError(f"{path}: can't be read: {error.strerror}") from error
        self._path = path
        self._state = self._now()
        self.size = self._state[0]

    def _now(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def handle(self) -> BinaryIO:
        """Another handle of the same file, whatever bears its name by now; to be closed."""
        return os.fdopen(os.dup(self._file.fileno()), "rb")

    def check(self) -> None:
        """Raises CheckpointError where the file has changed since it was opened."""
        if self._now() != self._state:
            raise CheckpointError(f"{self._path}: it was changed or cut off while it was read: load it again")

    def read(self, start: int, count: int) -> Tensor:
        """So many bytes from there, as a tensor (count,) of uint8."""
        data = torch.empty(count, dtype=torch.uint8)
        left = memoryview(data.numpy())
        try:
            self._file.seek(start)
            while left and (done := self._file.readinto(left)):
                left = left[done:]
        except OSError as error:
            raise CheckpointError(f"{self._path}: can't be read: {error.strerror}") from error
        self.check()
        if left:
            raise CheckpointError(f"{self._path}: it ends before byte {start + count}, expected a whole file")
        return data


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, its values one after the other from byte `start` on.

    It answers to what is asked of a tensor's form, and gives the tensor itself by `read`.
    """

    file: OpenFile
    start: int
    dtype: torch.dtype
    shape: torch.Size

    @property
    def ndim(self) -> int:
        """How many dimensions."""
        return len(self.shape)

    def read(self) -> Tensor:
        """The tensor; CheckpointError where the file has changed since it was opened."""
        count = prod(self.shape) * self.dtype.itemsize
        return self.file.read(self.start, count).view(self.dtype).reshape(self.shape)

    def reshape(self, shape: torch.Size) -> "Stored":
        """The same values in another shape of as many."""
        return Stored(self.file, self.start, self.dtype, shape)

    def chunk(self, count: int) -> tuple["Stored", ...]:
        """So many parts along the first dimension, whose length is a multiple of that."""
        shape = torch.Size((self.shape[0] // count, *self.shape[1:]))
        size = prod(shape) * self.dtype.itemsize
        return tuple(Stored(self.file, self.start + i * size, self.dtype, shape) for i in range(count))
