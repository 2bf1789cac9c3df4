"""Which results a run keeps: `--cache`, and the same by the names of ComfyUI's own options."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

from ..executor.cache import make_cache
from ..executor.errors import WorkflowError

USUAL_SIZES = {"lru": 100.0}
"""What a cache takes where nothing is said; of "ram" 0 stands for a tenth of the memory."""


def add_cache_options(parser: argparse.ArgumentParser) -> None:
    """At most one of them may be given."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--cache",
        choices=("classic", "lru", "ram", "none"),
        help="which results to keep: those of the latest file (classic, the default), the 100 last used (lru), all "
        "while there is memory (ram), none",
    )
    group.add_argument("--cache-classic", action="store_true", help="keep the results of the latest file")
    group.add_argument(
        "--cache-lru", metavar="N", type=_number("a whole number from 1", 1, True), help="keep the N results last used"
    )
    group.add_argument(
        "--cache-ram",
        metavar="GB",
        nargs="?",
        const=0.0,
        type=_number("GiB of memory, 0 or more", 0, False),
        help="keep results until less than GB GiB of memory are free (default: a tenth of it, but 2 to 10)",
    )
    group.add_argument("--cache-none", action="store_true", help="keep no result for longer than the run needs it")


def chosen_cache(arguments: argparse.Namespace) -> tuple[str, float]:
    """The cache's kind and size, as `Executor` takes them; raises WorkflowError where it can't be had here."""
    for kind in ("lru", "ram"):
        if (size := getattr(arguments, f"cache_{kind}")) is not None:
            return _checked(kind, size)
    kind = "none" if arguments.cache_none else arguments.cache or "classic"
    return _checked(kind, USUAL_SIZES.get(kind, 0))


def _checked(kind: str, size: float) -> tuple[str, float]:
    try:
        make_cache(kind, size)
    except ValueError as error:
        raise WorkflowError(f"--cache-{kind}: {error}") from None
    return kind, size


def _number(expected: str, least: float, is_whole: bool) -> Callable[[str], float]:
    """A type for argparse."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or number < least or (is_whole and number != int(number)):
            raise argparse.ArgumentTypeError(f"{text[:40]!r}, expected {expected}")
        return number

    return read
