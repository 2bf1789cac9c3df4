"""Files that are written whole or not at all: beside their place, flushed to the disk, then moved there in one step.

Whoever reads sees the old file or the new one, never a part; a full disk, a failing encoder or a kill at any moment
leaves an existing file as it was. Only a kill can leave something behind: a hidden `.*.part` file, which nothing reads.
"""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["replacing", "write_numbered", "write_whole"]

# A link is the one way to give a file a name that must be free; these say that a file system has none.
NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EACCES)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; what is there when the block ends well takes the place of `path` in one step.

    It lies in the same folder, which must exist. A link is followed, an existing file's mode is kept, and what is no
    regular file (a device, a pipe) is written to directly. Raises OSError, `path` untouched, for what can't be written.
    """
    place = Path(os.path.realpath(path))
    if place.exists() and not place.is_file():
        yield path
        return
    with _beside(place) as part:
        yield part
        _flush(part)
        if place.exists():
            shutil.copymode(place, part)
        part.replace(place)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file's bytes, as `replacing` does."""
    with replacing(path) as part:
        part.write_bytes(data)


def write_numbered(data: bytes, name: Callable[[int], Path], first: int) -> int:
    """Write bytes to the first `name(number)` from `first` on that is free; returns the number.

    The name is taken in the step that puts the whole file there, so that processes which count at the same time never
    get the same one. Raises OSError, with nothing written, for what can't be.
    """
    with _beside(name(first)) as part:
        part.write_bytes(data)
        _flush(part)
        number = first
        while not _moved(part, name(number)):
            number += 1
        return number


@contextlib.contextmanager
def _beside(place: Path) -> Iterator[Path]:
    """A new name in the same folder, gone afterwards; short, for the real one may be as long as a name can be."""
    part = place.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Have the disk hold what was written, before a name says that it does."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _moved(part: Path, target: Path) -> bool:
    """Give a file a name, unless it is taken."""
    try:
        if os.name == "nt":
            part.rename(target)  # which refuses there what is taken
        else:
            os.link(part, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _moved_without_links(part, target)
    return True


def _moved_without_links(part: Path, target: Path) -> bool:
    """The same where there are no links: the name is taken by an empty file first."""
    try:
        target.open("xb").close()
    except FileExistsError:
        return False
    try:
        part.replace(target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return True
