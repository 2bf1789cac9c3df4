"""What a device can do: which dtype is fast on it, how much memory is free."""

import contextlib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import torch

__all__ = ["SMALL", "NotEnoughMemory", "available", "best_dtype", "check_fits", "cpu_has_bfloat16", "loading"]

GIB = 1024**3


class NotEnoughMemory(ValueError):
    """Something needs more memory than there is; the message says how much."""


@contextlib.contextmanager
def loading(path: Path) -> Iterator[None]:
    """Raises NotEnoughMemory, which names the file, where the memory runs out while it is loaded.

    It goes inside whatever else says what is wrong with a file: torch raises a bare RuntimeError.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _NO_MEMORY.search(str(error)):
            raise
        wanted = _BYTES.search(str(error))
        size = f": {int(wanted[1]) / GIB:.1f} GiB more were needed" if wanted else ""
        raise NotEnoughMemory(f"{path}: there is not enough memory to load it{size}") from error


_NO_MEMORY = re.compile("can't allocate memory|out of memory|not enough memory")
_BYTES = re.compile(r"tried to allocate (\d+) bytes")


def available(device: torch.device | str) -> int | None:
    """Bytes that may still be used on a device, by this machine's and this process's limits; None where none tells."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    told = [left for left in (_machine(), _control_group(), _address_space()) if left is not None]
    return max(0, min(told)) if told else None


def _machine() -> int | None:
    """What Linux says of the whole machine."""
    rows = _rows(Path("/proc/meminfo"), ":")
    if "MemAvailable" not in rows:
        return None
    return 1024 * sum(int(rows[name].split()[0]) for name in ("MemAvailable", "SwapFree") if name in rows)


def _control_group(root: Path = Path("/sys/fs/cgroup"), process: Path = Path("/proc/self/cgroup")) -> int | None:
    """What is left of a container's or a service's limit (Linux control groups, version 2): the kernel would kill."""
    try:
        place = next(line.split("::", 1)[1] for line in process.read_text().splitlines() if line.startswith("0::"))
        folder = root / place.lstrip("/")
        groups = [group for group in (folder, *folder.parents) if group.is_relative_to(root)]
        return min(
            (
                int(limit) - int((group / "memory.current").read_text()) + _unused_cache(group)
                for group in groups
                if (group / "memory.max").is_file() and (limit := (group / "memory.max").read_text().strip()) != "max"
            ),
            default=None,
        )
    except (OSError, StopIteration, ValueError):
        return None


def _unused_cache(group: Path) -> int:
    """What the group holds of files that nothing has used lately, and gives back."""
    return int(_rows(group / "memory.stat", " ").get("inactive_file", "0"))


def _address_space() -> int | None:
    """What `ulimit -v` leaves."""
    try:
        resource = importlib.import_module("resource")  # Windows has none
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return None
    return None if limit == resource.RLIM_INFINITY else limit - used


def _rows(path: Path, separator: str) -> dict[str, str]:
    try:
        return dict(line.split(separator, 1) for line in path.read_text().splitlines() if separator in line)
    except OSError:
        return {}


def check_fits(what: str, needed: int, device: torch.device | str, instead: str) -> None:
    """Raises NotEnoughMemory for `needed` bytes that aren't there; the message ends in what to do `instead`."""
    free = available(device)
    if free is not None and needed > free:
        raise NotEnoughMemory(
            f"{what} needs {needed / GIB:.1f} GiB on {device}, and {free / GIB:.1f} GiB are free: {instead}"
        )


SMALL = 50_000_000
"""Models of fewer weights than this are fast enough in float32."""


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices itself (AVX512_BF16 or AMX)."""
    tests = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(test() for test in tests if test is not None)


def best_dtype(device: str, weights: int) -> torch.dtype:
    """The dtype for a model of so many weights: float32 for a small one, else half the bits where that's fast."""
    if weights < SMALL:
        return torch.float32
    if torch.device(device).type != "cpu":
        return torch.float16
    return torch.bfloat16 if cpu_has_bfloat16() else torch.float32
