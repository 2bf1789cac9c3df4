"""How much memory is free, and the error for what doesn't fit."""

from pathlib import Path

import torch

__all__ = ["NotEnoughMemory", "available", "check_fits"]

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
