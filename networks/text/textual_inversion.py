"""Textual inversions (Gal et al. 2022, arXiv 2208.01618): vectors from small files, which a prompt calls by name."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from torch import Tensor

from ..loading.tensor_file import CheckpointError, read_nested

__all__ = ["find_vectors"]

log = logging.getLogger(__name__)

MAX_DEPTH, MAX_ENTRIES, MAX_VECTORS = 8, 10_000, 1000
"""How deep a file of one may nest, how much may be in it, and how many vectors make one embedding."""
ENDINGS = ("", ".safetensors", ".pt", ".bin")


def find_vectors(name: str, folders: Iterable[Path], width: int) -> Tensor | None:
    """Vectors (n, width) of the embedding of a name, whose file lies in one of the folders or below.

    The name may lack the file's ending and may lead through folders. None, after a warning that names it, where there
    is no such file, or none of that width in it, as in ComfyUI. Raises CheckpointError for a file that is no embedding:
    the picture would be another one than was asked for.
    """
    path = next(_places(name, folders), None)
    if path is None:
        log.warning("embedding %r: no such file in the embeddings folder, left out", name)
        return None
    try:
        found = list(_tensors(read_nested(path), path, 0, [MAX_ENTRIES]))
    except ValueError as error:
        raise CheckpointError(f"embedding {name!r}: {error}") from error
    if not any(_is_vectors(t) for t in found):
        raise CheckpointError(f"embedding {name!r}: {path}: expected vectors, got no tensor of floating point numbers")
    fitting = next((t for t in found if _is_vectors(t) and t.shape[-1] == width), None)
    if fitting is None:
        widths = ", ".join(str(t.shape[-1]) for t in found if _is_vectors(t))
        log.warning("embedding %r: made for another model (width %s, expected %d), left out", name, widths, width)
        return None
    return _checked(fitting, f"embedding {name!r}: {path}")


def _places(name: str, folders: Iterable[Path]) -> Iterator[Path]:
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        return
    for folder in folders:
        below = sorted(path for path in folder.rglob("*") if path.is_dir())
        for place in (folder, *below):
            yield from (path for ending in ENDINGS if (path := place / f"{name}{ending}").is_file())


def _is_vectors(found: Tensor) -> bool:
    return found.ndim > 0 and found.shape[-1] > 0 and found.is_floating_point()


def _checked(found: Tensor, what: str) -> Tensor:
    vectors = found.reshape(-1, found.shape[-1])
    if not 0 < len(vectors) <= MAX_VECTORS:
        raise CheckpointError(f"{what}: {len(vectors)} vectors, expected 1 to {MAX_VECTORS}")
    vectors = vectors.float()
    if not vectors.isfinite().all():
        raise CheckpointError(f"{what}: NaN or infinity in it, expected finite numbers")
    return vectors


def _tensors(content: object, path: Path, depth: int, left: list[int]) -> Iterator[Tensor]:
    """Every tensor in what a file holds: files of one inversion nest it in one way or another; `left` is counted down.

    A few bytes of pickle may hold themselves, or each level the one below twice.
    """
    left[0] -= 1
    if depth > MAX_DEPTH or left[0] < 0:
        raise CheckpointError(
            f"{path}: dicts and lists nested more than {MAX_DEPTH} deep, or of more than {MAX_ENTRIES} entries, "
            "expected vectors"
        )
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, dict | list | tuple):
        for entry in content.values() if isinstance(content, dict) else content:
            yield from _tensors(entry, path, depth + 1, left)
