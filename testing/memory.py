"""How much memory a run takes: what the process grows to, and what CUDA hands out."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """`with Peak() as peak: ...`; then `peak.megabytes`, the most beyond what there was, None where nobody knows."""

    megabytes: float | None = None

    def __enter__(self) -> Peak:
        gc.collect()
        self._before = self._start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: TracebackType | None) -> None:
        if self._before is not None:
            self.megabytes = max(0.0, _field("VmHWM") - self._before) + _cuda_peak()

    def _start(self) -> float | None:
        cuda = _cuda()
        if cuda is not None:
            cuda.reset_peak_memory_stats()
        try:
            _RESET.write_text("5")
            return _field("VmRSS")
        except OSError:
            return None


def _field(name: str) -> float:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"{_STATUS} has no {name}")


def _cuda() -> Any:
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def _cuda_peak() -> float:
    cuda = _cuda()
    return 0.0 if cuda is None else cuda.max_memory_allocated() / 2**20
