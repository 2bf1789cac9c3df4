"""Weights in a file that only this process sees, mapped: they take memory only while something reads them."""

import ctypes
import mmap
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["WeightsFile"]

ALIGNMENT = 64
"""Bytes; a line of the CPU's cache."""


class WeightsFile:
    """The weights of a network, on the CPU, moved into a file that has no name and goes with them.

    Weights that are in such a file already stay there. Raises OSError where there is no room, and nothing has moved.
    """

    def __init__(self, network: nn.Module, folder: Path) -> None:
        parameters = list(network.parameters())
        moving = [parameter for parameter in parameters if not hasattr(parameter, "mapped")]
        if moving:
            self._move(moving, folder)
        self._maps: list[mmap.mmap] = list({id(p.mapped): p.mapped for p in parameters}.values())

    def _move(self, parameters: list[nn.Parameter], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        places = []
        with tempfile.TemporaryFile(dir=folder) as file:
            for parameter in parameters:
                file.write(bytes(-file.tell() % ALIGNMENT))
                places.append(file.tell())
                file.write(_bytes(parameter))
            file.flush()
            mapped = mmap.mmap(file.fileno(), 0)
        for parameter, place in zip(parameters, places, strict=True):
            values = torch.frombuffer(mapped, dtype=parameter.dtype, count=parameter.numel(), offset=place)
            parameter.data = values.view(parameter.shape)
            parameter.mapped = mapped
        _give_back()

    def drop(self) -> None:
        """Give back the memory of what has been read; what is read again comes from the file."""
        for mapped in self._maps:
            if hasattr(mapped, "madvise"):  # Windows has none, and gives memory back as it is needed
                mapped.madvise(mmap.MADV_DONTNEED)

    @contextmanager
    def dropping(self, seconds: float = 0.1) -> Iterator[None]:
        """Keep giving it back while something in the block reads all of the weights."""
        over = threading.Event()

        def work() -> None:
            while not over.wait(seconds):
                self.drop()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.drop()


def _give_back() -> None:
    """Have the C library return what was freed; glibc keeps it, for tensors of a few MB."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def _bytes(parameter: Tensor) -> memoryview:
    return memoryview(parameter.detach().contiguous().view(-1).view(torch.uint8).numpy())
