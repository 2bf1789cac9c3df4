"""One training loop for all of the demo's networks: time budget, cosine learning rate, moving average, resumable."""

import copy
import json
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..atomic import replacing

__all__ = ["Budget", "train"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Budget:
    """How long to train (seconds of wall time, over all resumed runs) and how fast (peak learning rate).

    `workers` batches make a step, each in a thread of its own. Torch's threads wait for each other in every layer,
    some of them spinning: on cores that other programs use as well, a thread a batch gets more done.
    """

    seconds: float
    learning_rate: float
    warmup: int = 100
    average: float = 0.998
    weight_decay: float = 0.01
    save_every: float = 120.0
    workers: int = 0


def train(network: nn.Module, loss: Callable[[int, float], Tensor], budget: Budget, path: Path) -> nn.Module:
    """Minimise `loss(batch, share)` over the network's parameters; returns the moving average of the network.

    `batch` counts up from 0, `share` is the part of the budget spent, 0 to 1. The state goes to `path` every
    `budget.save_every` seconds, the loss to `path` with the ending `.log`, one JSON line each 20 steps; an existing
    state is gone on from.
    """
    average = copy.deepcopy(network).requires_grad_(False).eval()
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, budget.learning_rate, (0.9, 0.99), weight_decay=budget.weight_decay)
    step, spent = _resume(path, network, average, optimizer)
    started = saved = time.monotonic() - spent
    network.train()
    gradients = _Gradients(loss, parameters, budget.workers)
    seen: list[float] = []
    while (spent := time.monotonic() - started) < budget.seconds:
        share = spent / budget.seconds
        rate = budget.learning_rate * min((step + 1) / budget.warmup, 0.5 * (1 + math.cos(math.pi * share)) + 0.005)
        for group in optimizer.param_groups:
            group["lr"] = rate
        seen.append(gradients(step, share))
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _follow(average, network, min(budget.average, (step + 1) / (step + 10)))
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


class _Gradients:
    """Sets the parameters' gradients: of one batch, or the mean over as many batches as there are workers."""

    def __init__(self, loss: Callable[[int, float], Tensor], parameters: list[nn.Parameter], workers: int) -> None:
        self.loss, self.parameters, self.workers = loss, parameters, workers
        # `set_num_threads` holds for the thread that calls it.
        self.pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) if workers else None

    def __call__(self, step: int, share: float) -> float:
        """The loss of a step."""
        if self.pool is None:
            return self._set([self._batch(step, share)])
        batches = range(step * self.workers, (step + 1) * self.workers)
        return self._set(list(self.pool.map(self._batch, batches, [share] * self.workers)))

    def _batch(self, batch: int, share: float) -> tuple[float, tuple[Tensor, ...]]:
        value = self.loss(batch, share)
        return value.item(), torch.autograd.grad(value, self.parameters)

    def _set(self, results: list[tuple[float, tuple[Tensor, ...]]]) -> float:
        values, gradients = zip(*results, strict=True)
        for parameter, *parts in zip(self.parameters, *gradients, strict=True):
            parameter.grad = sum(parts[1:], parts[0]) / len(parts)
        return sum(values) / len(values)


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
