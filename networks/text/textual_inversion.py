"""Textual inversions (Gal et al. 2022, arXiv 2208.01618): vectors from small files, which a prompt calls by name."""

import logging
import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

__all__ = ["find_vectors"]

log = logging.getLogger(__name__)

ENDINGS = ("", ".safetensors", ".pt", ".bin")


def find_vectors(name: str, folders: Iterable[Path], width: int) -> Tensor | None:
    """Vectors (n, width) of the embedding of a name, whose file lies in one of the folders or below.

    The name may lack the file's ending and may lead through folders. None, after a warning that names it, where there
    is no such file, or none of that width in it.
    """
    path = next(_places(name, folders), None)
    if path is None:
        log.warning("embedding %r: no such file in the embeddings folder, left out", name)
        return None
    try:
        return _read(path, width)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        log.warning("embedding %r: %s: %s, left out", name, path, str(error).splitlines()[0])
        return None


def _places(name: str, folders: Iterable[Path]) -> Iterator[Path]:
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        return
    for folder in folders:
        below = sorted(path for path in folder.rglob("*") if path.is_dir())
        for place in (folder, *below):
            yield from (path for ending in ENDINGS if (path := place / f"{name}{ending}").is_file())


def _read(path: Path, width: int) -> Tensor:
    if path.suffix == ".safetensors":
        content = load_file(path)
    else:
        content = torch.load(path, map_location="cpu", weights_only=True)
    fitting = [t.reshape(-1, width) for t in _tensors(content) if t.ndim and t.shape[-1] == width]
    if not fitting:
        raise ValueError(f"expected vectors of width {width}, which this model's text encoder reads")
    return fitting[0].float()


def _tensors(content: object) -> Iterator[Tensor]:
    """Every tensor in what a file holds: files of one inversion nest it in one way or another."""
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, dict):
        for entry in content.values():
            yield from _tensors(entry)
    elif isinstance(content, list | tuple):
        for entry in content:
            yield from _tensors(entry)
