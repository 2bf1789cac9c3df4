"""The nodes of Comfy-Org/ComfyUI-test-framework, for where that pack isn't: the same names, inputs and verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from .measures import is_tensor
from .taps import ANYTHING

__all__ = ["ASSERT_CLASS_MAPPINGS"]

Inputs = dict[str, dict[str, tuple]]


class _Assertion:
    """An output node that raises AssertionError, or gives nothing."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "testing", "check", (), True
    REQUIRED: dict[str, tuple]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {"required": dict(cls.REQUIRED)}


def difference_hash(image: Any) -> str:
    """64 bits of the first picture: of 8 x 9 grey values, whether each but the first is above its left one."""
    bytes_ = (image[0].cpu().numpy() * 255).astype(np.uint8)
    small = Image.fromarray(bytes_).convert("L").resize((9, 8), Image.Resampling.LANCZOS)
    grey = np.asarray(small)
    return "".join("01"[int(bit)] for bit in (grey[:, 1:] > grey[:, :-1]).ravel())


class AssertImageMatch(_Assertion):
    """The picture's difference hash is this one, up to a fraction `delta` of its bits."""

    REQUIRED = {
        "image": ("IMAGE",),
        "perceptual_hash": ("STRING", {"default": ""}),
        "delta": ("FLOAT", {"default": 0.05, "min": 0.0, "max": 1.0, "step": 0.01}),
        "hash_function": (["dhash"],),
    }

    def check(self, image: Any, perceptual_hash: str, delta: float, hash_function: str = "dhash") -> tuple:
        got, wanted = difference_hash(image), perceptual_hash.strip()
        if not wanted:
            raise AssertionError(f"no hash to compare with; the image's hash is {got}")
        if len(wanted) != len(got):
            raise AssertionError(f"a hash of {len(wanted)} bits, expected {len(got)}")
        share = sum(a != b for a, b in zip(got, wanted, strict=True)) / len(got)
        if share > delta:
            raise AssertionError(
                f"the image's hash differs in {share:.3f} of its bits, expected at most {delta:g}: {got}"
            )
        return ()


def _color(text: str) -> tuple[int, ...]:
    plain = text.strip()
    try:
        if "," in plain:
            parts = tuple(int(part) for part in plain.strip("()[] ").split(","))
        else:
            parts = tuple(bytes.fromhex(plain.removeprefix("#")))
    except ValueError:
        parts = ()
    if len(parts) != 3:
        raise ValueError(f"color is {text!r}, expected #RRGGBB or R,G,B")
    return parts


class AssertContainsColor(_Assertion):
    """At least `min_pixels` of the first picture are of a colour, up to a distance in RGB of 0 to 255."""

    REQUIRED = {
        "image": ("IMAGE",),
        "color": ("STRING", {"default": "#FF0000"}),
        "tolerance": ("INT", {"default": 10, "min": 0, "max": 255}),
        "min_pixels": ("INT", {"default": 1, "min": 1, "max": 1000000}),
    }

    def check(self, image: Any, color: str, tolerance: int, min_pixels: int) -> tuple:
        bytes_ = (image[0].cpu().numpy() * 255).astype(np.uint8)[..., :3].astype(np.float64)
        count = int((np.linalg.norm(bytes_ - _color(color), axis=-1) <= tolerance).sum())
        if count < min_pixels:
            raise AssertionError(f"{count} pixels of {color} within {tolerance}, expected at least {min_pixels}")
        return ()


def _tensor(value: Any) -> Any:
    if not is_tensor(value):
        raise AssertionError(f"a {type(value).__name__}, expected a tensor")
    return value


class AssertTensorShape(_Assertion):
    """An image's or mask's sizes; -1 is any."""

    REQUIRED = {
        "tensor": (ANYTHING,),
        **{
            name: ("INT", {"default": -1, "min": -1, "max": highest})
            for name, highest in (("batch", 1024), ("height", 16384), ("width", 16384), ("channels", 1024))
        },
    }

    def check(self, tensor: Any, batch: int, height: int, width: int, channels: int) -> tuple:
        shape = list(_tensor(tensor).shape)
        if len(shape) not in (3, 4):
            raise AssertionError(f"shape {shape}, expected 3 or 4 sizes")
        wanted = {"batch": batch, "height": height, "width": width, "channels": channels}
        for (name, size), got in zip(wanted.items(), [*shape, None][:4], strict=True):
            if size not in (-1, got):
                raise AssertionError(f"{name} is {got}, expected {size}; the shape is {shape}")
        return ()


class AssertInRange(_Assertion):
    """All values of a tensor lie between two."""

    REQUIRED = {
        "tensor": (ANYTHING,),
        "min_value": ("FLOAT", {"default": 0.0, "min": -1e10, "max": 1e10, "step": 0.01}),
        "max_value": ("FLOAT", {"default": 1.0, "min": -1e10, "max": 1e10, "step": 0.01}),
    }

    def check(self, tensor: Any, min_value: float, max_value: float) -> tuple:
        low, high = _tensor(tensor).min().item(), tensor.max().item()
        if not (min_value <= low and high <= max_value):
            raise AssertionError(f"values from {low:.6g} to {high:.6g}, expected {min_value:g} to {max_value:g}")
        return ()


def first_difference(one: Any, other: Any) -> str | None:
    """Where two values differ, however deep; None if they don't. Tensors may differ by 1e-5 of their values."""
    if type(one) is not type(other):
        return f"{type(one).__name__} and {type(other).__name__}"
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return f"keys {sorted(map(str, one.keys() ^ other.keys()))} in one only"
        pairs = [(f"[{key!r}]", one[key], other[key]) for key in one]
    elif isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return f"{len(one)} and {len(other)} items"
        pairs = [(f"[{i}]", *both) for i, both in enumerate(zip(one, other, strict=True))]
    elif is_tensor(one):
        if one.shape != other.shape:
            return f"shapes {list(one.shape)} and {list(other.shape)}"
        return None if one.allclose(other, rtol=1e-5, atol=1e-8) else "tensors of different values"
    else:
        return None if one == other else f"{one!r} and {other!r}"
    return next((f"{where}: {found}" for where, *both in pairs if (found := first_difference(*both))), None)


class AssertEqual(_Assertion):
    """Two values are equal, however deep."""

    REQUIRED = {"input1": (ANYTHING,), "input2": (ANYTHING,)}

    def check(self, input1: Any, input2: Any) -> tuple:
        if found := first_difference(input1, input2):
            raise AssertionError(f"the inputs differ: {found}")
        return ()


class AssertNotEqual(AssertEqual):
    """Two values differ."""

    def check(self, input1: Any, input2: Any) -> tuple:
        if first_difference(input1, input2) is None:
            raise AssertionError("the inputs are equal")
        return ()


class AssertExecuted:
    """Passes a value on. The case fails if this node isn't called."""

    CATEGORY, FUNCTION, RETURN_TYPES, RETURN_NAMES = "testing", "give", (ANYTHING,), ("output",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {"required": {"input": (ANYTHING,)}}

    def give(self, input: Any) -> tuple[Any]:
        return (input,)


class TestDefinition(_Assertion):
    """What a test is called, and what it needs."""

    __test__ = False
    REQUIRED = {
        "name": ("STRING", {"default": "", "socketless": True}),
        "description": ("STRING", {"default": "", "multiline": True, "socketless": True}),
        "requiresGPU": ("BOOLEAN", {"default": False, "socketless": True}),
        "extraTime": ("INT", {"default": 0, "min": 0, "max": 3600, "socketless": True}),
    }

    def check(self, name: str, description: str, requiresGPU: bool, extraTime: int) -> tuple:
        return ()


class TestImageGenerator:
    """A black or white picture, noise, or a rough face."""

    __test__ = False
    CATEGORY, FUNCTION, RETURN_TYPES, RETURN_NAMES = "testing", "make", ("IMAGE",), ("Image",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        size = {"default": 512, "min": 64, "max": 4096, "step": 8}
        return {
            "required": {
                "image_type": (["black", "white", "noise", "face"],),
                "width": ("INT", size),
                "height": ("INT", size),
                "seed": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFFFF}),
            }
        }

    def make(self, image_type: str, width: int, height: int, seed: int) -> tuple[Any]:
        import torch

        shape = (1, height, width, 3)
        if image_type == "noise":
            return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)),)
        image = torch.full(shape, {"black": 0.0, "white": 1.0}.get(image_type, 0.9))
        if image_type == "face":
            y, x = height // 2, width // 2
            for top, bottom, left, right in ((-6, -8, -6, -10), (-6, -8, 10, 6), (8, 6, -8, 8)):
                rows = slice(y + _part(height, top), y + _part(height, bottom))
                image[:, rows, x + _part(width, left) : x + _part(width, right)] = 0.2
        return (image,)


def _part(size: int, divisor: int) -> int:
    return size // divisor if divisor > 0 else -(size // -divisor)


ASSERT_CLASS_MAPPINGS: dict[str, type] = {
    one.__name__: one
    for one in (
        AssertExecuted,
        AssertEqual,
        AssertNotEqual,
        AssertImageMatch,
        AssertContainsColor,
        AssertTensorShape,
        AssertInRange,
        TestDefinition,
        TestImageGenerator,
    )
}
