"""NaN and infinity: refused in what comes in, noticed in what the model gives without making a device wait."""

import math
from collections.abc import Sequence

import torch


class NotFiniteError(ValueError):
    """The model returned NaN or infinity."""


def check_finite(x: torch.Tensor, name: str) -> None:
    """Raises ValueError, with `name`, if `x` has NaN or infinity."""
    if not torch.isfinite(x).all():
        raise ValueError(f"{name}, of shape {tuple(x.shape)}, has NaN or infinity")


class Watch:
    """Notices NaN without making a device wait: each step leaves a sum, all read at the end (on the CPU, at once)."""

    def __init__(self, x: torch.Tensor, timesteps: Sequence[float]) -> None:
        self.at_once, self.timesteps = x.device.type == "cpu", timesteps
        self.sums: list[tuple[int, torch.Tensor]] = []

    def add(self, i: int, x: torch.Tensor) -> None:
        """Looks at the state after step `i`."""
        if not self.at_once:
            self.sums.append((i, x.sum()))
        elif not math.isfinite(x.sum().item()):
            self.refuse(i)

    def check(self) -> None:
        """At the end of a run, raises NotFiniteError for the first step that left NaN or infinity."""
        steps, sums = zip(*self.sums, strict=True) if self.sums else ((), ())
        for i, total in zip(steps, torch.stack(sums).tolist() if sums else (), strict=True):
            if not math.isfinite(total):
                self.refuse(i)

    def refuse(self, i: int) -> None:
        """Raises NotFiniteError for step `i`."""
        raise NotFiniteError(f"the model gave NaN or infinity at step {i}, timestep {self.timesteps[i]!r}")
