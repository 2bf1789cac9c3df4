"""What a device can do: which dtype is fast on it, how much memory is free."""

from pathlib import Path

import torch

__all__ = ["SMALL", "NotEnoughMemory", "available", "best_dtype", "check_fits", "cpu_has_bfloat16"]

GIB = 1024**3


class NotEnoughMemory(ValueError):
    """Something needs more memory than there is; the message says how much."""


def available(device: torch.device | str) -> int | None:
    """Bytes that may still be used on a device; None where that can't be told."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    table = Path("/proc/meminfo")
    if device.type != "cpu" or not table.is_file():
        return None
    rows = dict(line.split(":", 1) for line in table.read_text().splitlines())
    return 1024 * sum(int(rows[name].split()[0]) for name in ("MemAvailable", "SwapFree") if name in rows)


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
