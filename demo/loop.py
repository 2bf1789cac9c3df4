"""One training loop for all of the demo's networks: time budget, cosine learning rate, moving average, resumable."""

import copy
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..atomic import replacing

__all__ = ["Budget", "train"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Budget:
    """How long to train (seconds of wall time, over all resumed runs) and how fast (peak learning rate)."""

    seconds: float
    learning_rate: float
    warmup: int = 100
    average: float = 0.998
    weight_decay: float = 0.01
    save_every: float = 120.0


def train(network: nn.Module, loss: Callable[[int, float], Tensor], budget: Budget, path: Path) -> nn.Module:
    """Minimise `loss(step, share)` over the network's parameters; returns the moving average of the network.

    `share` is the part of the budget spent, 0 to 1. The state goes to `path` every `budget.save_every` seconds,
    the loss to `path` with the ending `.log`, one JSON line each 20 steps; an existing state is gone on from.
    """
    average = copy.deepcopy(network).requires_grad_(False).eval()
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, budget.learning_rate, (0.9, 0.99), weight_decay=budget.weight_decay)
    step, spent = _resume(path, network, average, optimizer)
    started = saved = time.monotonic() - spent
    network.train()
    seen: list[float] = []
    while (spent := time.monotonic() - started) < budget.seconds:
        share = spent / budget.seconds
        rate = budget.learning_rate * min((step + 1) / budget.warmup, 0.5 * (1 + math.cos(math.pi * share)) + 0.005)
        for group in optimizer.param_groups:
            group["lr"] = rate
        value = loss(step, share)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _follow(average, network, min(budget.average, (step + 1) / (step + 10)))
        seen.append(value.item())
        step += 1
        if step % 20 == 0:
            line = {"step": step, "seconds": round(spent), "loss": round(sum(seen) / len(seen), 6), "lr": rate}
            with path.with_suffix(".log").open("a") as file:
                file.write(json.dumps(line) + "\n")
            log.info("%s", line)
            seen.clear()
        if time.monotonic() - saved > budget.save_every:
            saved = time.monotonic()
            _save(path, network, average, optimizer, step, saved - started)
    _save(path, network, average, optimizer, step, spent)
    return average


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    pairs = zip(average.parameters(), network.parameters(), strict=True)
    old, new = zip(*pairs, strict=True)
    torch._foreach_lerp_(list(old), [p.detach() for p in new], 1 - decay)


def _resume(path: Path, network: nn.Module, average: nn.Module, optimizer) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, map_location=next(network.parameters()).device, weights_only=True)
    network.load_state_dict(state["network"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["spent"]


def _save(path: Path, network: nn.Module, average: nn.Module, optimizer, step: int, spent: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"network": network.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
    with replacing(path) as part:
        torch.save({**state, "step": step, "spent": spent}, part)
