"""The emulated device itself: as strict as torch's own rules, and a fault in the loop is noticed."""

import pytest
import torch
from comfyui_ddim.sampler import KeyedNoise, ddim_steps, make_schedule
from gpu import meant
from gpu.emulated import DEVICE, emulated
from models import ALPHA_BAR, drawn
from torch._subclasses.fake_tensor import FakeTensorMode

MIXTURES = {
    "a number": lambda x: x * torch.tensor(2.0),
    "a tensor": lambda x: x + torch.zeros(3, 4),
    "a row": lambda x: x * torch.ones(4),
    "a number, the tensor on the CPU": lambda x: torch.ones(3) * x.sum(),
    "joined": lambda x: torch.cat([x, torch.zeros(3, 4)]),
    "stacked": lambda x: torch.stack([x, torch.zeros(3, 4)]),
    "chosen": lambda x: torch.where(x > 0, x, 0.0),
    "chosen from a tensor": lambda x: torch.where(x > 0, x, torch.zeros(3, 4)),
    "multiplied": lambda x: x @ torch.zeros(4, 2),
    "interpolated": lambda x: torch.lerp(x, torch.zeros(3, 4), 0.5),
    "changed": lambda x: x.add_(torch.zeros(3, 4)),
    "copied": lambda x: x.copy_(torch.zeros(3, 4)),
    "copied back": lambda x: torch.zeros(3, 4).copy_(x),
    "a change on the CPU": lambda x: torch.zeros(3, 4).add_(x),
    "looked up": lambda x: x[torch.tensor([0, 2])],
    "gathered": lambda x: x.gather(0, torch.zeros(1, 4, dtype=torch.int64)),
    "embedded": lambda x: torch.embedding(x, torch.tensor([0, 2])),
    "sent": lambda x: x + torch.zeros(3, 4).to(x.device),
    "made there": lambda x: x + torch.arange(4, device=x.device) + torch.zeros_like(x) + x.new_ones(4),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_devices_mix_where_torch_lets_them(name):
    """By torch's FakeTensorMode, which knows its own rules but has no numbers."""
    with FakeTensorMode():
        theirs = outcome(MIXTURES[name], torch.empty(3, 4, device=DEVICE))
    with emulated():
        assert outcome(MIXTURES[name], torch.zeros(3, 4).to(DEVICE)) == theirs


def outcome(mix, x):
    try:
        return mix(x).device
    except RuntimeError:
        return "refused"


READS = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "if": lambda x: bool((x > 0).any()),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "numpy": lambda x: x.cpu().numpy(),
    "to": lambda x: x.to("cpu"),
    "equal": lambda x: torch.equal(x, x),
    "nonzero": lambda x: x.nonzero(),
    "by a mask": lambda x: x[x > 0],
    "a range over a value": lambda x: range(int(x.sum())),
    "in print": lambda x: f"{x.sum():.3f}",
}


@pytest.mark.parametrize("name", READS)
def test_a_wait_is_noted(name):
    with emulated() as gpu:
        x = torch.zeros(3, 4).to(DEVICE)
        assert not gpu.reads
        READS[name](x)
        assert gpu.reads and gpu.reads[0].place.startswith("tests/gpu/check_emulated.py")


def test_numbers_of_the_cpu():
    with emulated():
        x = torch.arange(6.0, device=DEVICE).reshape(2, 3)
        y = x[:, 1:]
        y.mul_(10)
        assert x.cpu().tolist() == [[0, 10, 20], [3, 40, 50]] and torch.tensor([1, 2], device=DEVICE).device == DEVICE


def test_a_generator_has_its_device():
    with emulated():
        torch.randn(3, generator=torch.Generator(DEVICE), device=DEVICE)
        with pytest.raises(RuntimeError, match="expected device type"):
            torch.randn(3, generator=torch.Generator(), device=DEVICE)
        with pytest.raises(RuntimeError, match="expected device type"):
            torch.empty(3).normal_(generator=torch.Generator(DEVICE))


def test_no_float64_where_there_is_none():
    with emulated(doubles=False), pytest.raises(TypeError, match="float64"):
        torch.zeros(3, dtype=torch.float64).to(DEVICE)


FAULTS = {
    "a tensor made on the CPU": lambda x, i: x + torch.zeros(x.shape),
    "a value read back": lambda x, i: x * (1.0 if x.mean().item() < 1e9 else 0.0),
    "a copy to look at": lambda x, i: (x.cpu(), x)[1],
    "noise of the CPU": lambda x, i: x + torch.randn(x.shape),
    "a generator of the CPU": lambda x, i: x + torch.randn(x.shape, device=x.device, generator=torch.Generator()),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_loop_is_noticed(name):
    with emulated() as gpu:
        schedule = make_schedule(ALPHA_BAR, 4, eta=0.5)

        def predict(x, i):
            gpu.calls += 1
            return x * 0.5, x * 0.1

        x = drawn(1, 4, 6, 6).to(DEVICE)
        with pytest.raises((RuntimeError, AssertionError)):
            list(ddim_steps(predict, x, schedule, noise=KeyedNoise.batch(1, 1), after=FAULTS[name]))
            meant.check(gpu)
