"""A device that stands for a GPU where there is none: it computes on the CPU, and is as strict as a GPU.

- An operation on tensors of two devices raises, but for single numbers from the CPU; so does a generator of another.
- Whatever makes the host wait (a value, a copy, a shape that hangs on values) is noted, with the place that asked.
- float64 can be refused, as Apple's GPUs refuse it.

Importing this registers the device with torch for the rest of the process.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("fakegpu")

DEVICE = torch.device("fakegpu", 0)
CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
aten = torch.ops.aten
WAITS = (
    aten._local_scalar_dense,
    aten.equal,
    aten.is_nonzero,
    aten.masked_select,
    aten.nonzero,
    aten.nonzero_numpy,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten.bincount,
)
"""Operations whose result, or its shape, the host must wait for."""
INDEXES = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)
"""Indices may come from the CPU; those that are a mask hang on values."""


class Read(NamedTuple):
    """A wait of the host for the device.

    place: where in the package; operation: for what; calls: of the model, before it; inside: of a run's steps
    """

    place: str
    operation: str
    calls: int
    inside: bool


class Wrapped(torch.Tensor):
    """A tensor on the device; its numbers are in `held`."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "Wrapped":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=DEVICE,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} on a tensor of the emulated device, outside of `emulated()`")

    def __repr__(self) -> str:
        return f"on {DEVICE}: {self.held!r}"


class Generator(torch.Generator):
    """A generator of either device."""

    def __new__(cls, device: torch.device | str = "cpu") -> "Generator":
        made = super().__new__(cls)
        made.where = torch.device(device)
        return made

    @property
    def device(self) -> torch.device:
        return self.where


class Gpu(TorchDispatchMode):
    """What happens on the device: `reads` in order, and `calls` of the model, counted by whoever calls it."""

    def __init__(self, doubles: bool = True) -> None:
        super().__init__()
        self.doubles, self.reads, self.calls = doubles, [], 0
        self.places: set[str] = set()

    def __torch_dispatch__(self, func: Callable, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func._can_decompose():  # in inference mode composite operations come whole
            with self:
                return func.decompose(*args, **kwargs)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        here = [leaf for leaf in given if isinstance(leaf, Wrapped)]
        asked = kwargs.get("device")
        target = torch.device(asked) if asked is not None else (DEVICE if here else CPU)
        if not here and target.type != DEVICE.type:
            return func(*args, **kwargs)
        kind = func.overloadpacket
        if kind is aten.copy_:
            target = args[0].device
        elif kind is not aten._to_copy:
            self._check_devices(kind, given)
        if self._waits(kind, args, here, target):
            place, inside = _place()
            self.reads.append(Read(place, str(func), self.calls, inside))
            self.places.add(self.reads[-1].place)
        if asked is not None:
            kwargs["device"] = CPU
        known = {id(leaf.held): leaf for leaf in here}
        known |= {id(leaf): leaf for leaf in given if not isinstance(leaf, Wrapped)}
        args, kwargs = tree_map(_held, (args, kwargs))
        return tree_map(lambda made: self._placed(made, known, target), func(*args, **kwargs))

    def _check_devices(self, kind, given: list) -> None:
        alien = [t for t in given if not isinstance(t, Wrapped) and t.ndim > 0]
        if alien and kind not in INDEXES:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {DEVICE} and cpu, in "
                f"{kind} of {[(str(t.device), tuple(t.shape)) for t in given]}"
            )

    def _waits(self, kind, args: tuple, here: list, target: torch.device) -> bool:
        if not here:
            return False
        if kind in (aten._to_copy, aten.copy_):
            return target.type == "cpu"
        if kind in INDEXES:
            return any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1])
        return kind in WAITS or (kind is aten.repeat_interleave and not isinstance(args[-1], int))

    def _placed(self, made, known: dict[int, torch.Tensor], target: torch.device):
        if not isinstance(made, torch.Tensor) or isinstance(made, Wrapped):
            return made
        if id(made) in known:
            return known[id(made)]
        if target.type == "cpu":
            return made
        if made.dtype in (torch.float64, torch.complex128) and not self.doubles:
            raise TypeError(f"a tensor of {made.dtype}, {tuple(made.shape)}, on a device that has no float64")
        return Wrapped(made)


class _Functions(TorchFunctionMode):
    """What torch does where no operation can be seen, as operations: send a new tensor, copy one to read it."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor, torch.asarray):
            device = kwargs.pop("device", None)
            made = func(*args, **kwargs)
            return made if device is None else made.to(device)
        if func is torch.Tensor.new_tensor and isinstance(args[0], Wrapped):
            device = kwargs.get("device") or DEVICE
            return torch.tensor(args[1], dtype=kwargs.get("dtype") or args[0].dtype).to(device)
        if func is torch.Tensor.tolist and isinstance(args[0], Wrapped):
            return args[0].cpu().tolist()
        if func is torch.Tensor.__format__ and isinstance(args[0], Wrapped):
            return format(args[0].item(), args[1])
        if (generator := kwargs.get("generator")) is not None:
            given = kwargs.get("device") or (args[0].device if args and isinstance(args[0], torch.Tensor) else CPU)
            if torch.device(given).type != generator.device.type:
                raise RuntimeError(f"expected device type {given} of the generator, found {generator.device}")
        return func(*args, **kwargs)


@contextmanager
def emulated(doubles: bool = True) -> Iterator[Gpu]:
    """The device, at work; without `doubles` it has no float64."""
    gpu, generator = Gpu(doubles), torch.Generator
    torch.Generator = Generator
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # else a parameter's type would change around it
    try:
        with _Functions(), gpu:
            yield gpu
    finally:
        torch.Generator = generator
        torch.__future__.set_overwrite_module_params_on_conversion(False)


def _held(leaf: object) -> object:
    return leaf.held if isinstance(leaf, Wrapped) else leaf


STEPS = ("sampler/ddim.py:ddim_steps", "sampler/inversion.py:invert_steps")


def _place() -> tuple[str, bool]:
    """The innermost function of the package that is at work, as file:name, and whether a step is.

    Of the tests' functions, if there is none of the package.
    """
    names = list(_names(sys._getframe(1)))
    own = [name for name in names if not name.startswith("tests/")]
    return [*own, *names, "nowhere"][0], any(name in STEPS for name in names)


def _names(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and path != Path(__file__) and ".venv" not in path.parts:
            yield f"{path.relative_to(ROOT)}:{frame.f_code.co_qualname.partition('.<locals>')[0]}"
        frame = frame.f_back
