"""What a network's `forward` does as a model of OpenVINO, found by running it once on tensors without values.

Each torch function that it calls becomes one of OpenVINO's operations; what isn't in `OPERATIONS` can't be converted.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["Code", "EngineError", "Entry", "converted", "flat"]


Entry = Callable[[Sequence[int]], Tensor]
"""Makes an input of a shape."""
Code = Callable[[Entry], Tensor]


class EngineError(ValueError):
    """What this engine can't do, and what to do instead."""


def converted(ov: ModuleType, code: Code, dtype: torch.dtype) -> Any:
    """OpenVINO's model of what `code` does, with its inputs in the order in which it makes them."""
    parameters = []

    def entry(shape: Sequence[int]) -> Tensor:
        parameters.append(ov.opset13.parameter(list(shape), ov.Type.f32))
        return _with(torch.empty(shape, dtype=dtype, device="meta"), parameters[-1].output(0))

    with torch.no_grad(), _Tracing(Operations(ov)):
        result = code(entry)
    return ov.Model([result.node], parameters, "network")


def _with(value: Tensor, node: Any) -> Tensor:
    value.node = node
    return value


class _Tracing(TorchFunctionMode):
    """Gives tensors without values the operation that makes them, as `node`."""

    def __init__(self, operations: "Operations") -> None:
        super().__init__()
        self._operations = operations

    def __torch_function__(self, func: Callable, types: Any, args: Sequence = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        nodes = any(hasattr(x, "node") for x in flat([*args, *kwargs.values()]))
        result = func(*_meta(args, nodes), **dict(zip(kwargs, _meta(list(kwargs.values()), nodes), strict=True)))
        made = [x for x in flat([result]) if isinstance(x, Tensor)]
        if not nodes or not made:
            return result
        if func not in OPERATIONS:
            raise EngineError(f"OpenVINO isn't told how to do {getattr(func, '__name__', func)}: use --engine torch")
        outputs = OPERATIONS[func](self._operations, result, *args, **kwargs)
        for tensor, output in zip(made, outputs if isinstance(outputs, list) else [outputs], strict=True):
            tensor.node = output
        return result


def flat(values: Sequence) -> list:
    """What lists and tuples hold, those in it too."""
    return [x for value in values for x in (flat(value) if isinstance(value, list | tuple) else [value])]


def _meta(values: Sequence, really: bool) -> list:
    """The arguments with all tensors as tensors without values, where one of them is."""
    if not really:
        return list(values)
    return [
        type(value)(_meta(value, True)) if type(value) in (list, tuple) else _without_values(value) for value in values
    ]


def _without_values(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


class Operations:
    """OpenVINO's operations by what torch's functions are given; `out` is what torch makes of the shapes."""

    def __init__(self, ov: ModuleType) -> None:
        self._ov, self._ops = ov, ov.opset13

    def _node(self, x: Tensor | float) -> Any:
        """A tensor's operation; of one with values, a constant that shares its memory if it is one of the weights."""
        if not isinstance(x, Tensor):
            return self._ops.constant(x, self._ov.Type.f32)
        if hasattr(x, "node"):
            return x.node
        lasting, x = isinstance(x, nn.Parameter), x.detach().contiguous()
        if x.dtype != torch.bfloat16:
            return self._ov.op.Constant(x.numpy(), shared_memory=lasting)
        values = self._ov.Tensor(x.view(torch.uint16).numpy(), list(x.shape), self._ov.Type.bf16)
        widened = self._ops.convert(self._ov.op.Constant(values, shared_memory=lasting), "f32")
        # A mark that OpenVINO's own compressed models have. Without it the weights would be kept in float32 too.
        widened.get_rt_info()["decompression_0"] = True
        return widened.output(0)

    def convolution(self, out, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        stride, padding, dilation = (list(_pair(value)) for value in (stride, padding, dilation))
        made = self._ops.convolution(x.node, self._node(weight), stride, padding, padding, dilation)
        return made.output(0) if bias is None else self._ops.add(made, self._node(bias[:, None, None])).output(0)

    def linear(self, out, x, weight, bias=None):
        made = self._ops.matmul(x.node, self._node(weight), False, True)
        return made.output(0) if bias is None else self._ops.add(made, self._node(bias)).output(0)

    def group_norm(self, out, x, groups, weight, bias, eps):
        return self._ops.group_normalization(x.node, self._node(weight), self._node(bias), groups, eps).output(0)

    def layer_norm(self, out, x, shape, weight, bias, eps):
        made = self._ops.mvn(x.node, [-1], True, eps, "inside_sqrt")
        return self._ops.add(self._ops.multiply(made, self._node(weight)), self._node(bias)).output(0)

    def attention(self, out, q, k, v):
        return self._ops.scaled_dot_product_attention(q.node, k.node, v.node, causal=False).output(0)

    def silu(self, out, x, **unused):
        return self._ops.swish(x.node).output(0)

    def gelu(self, out, x, **unused):
        return self._ops.gelu(x.node, "ERF").output(0)

    def add(self, out, a, b):
        return self._ops.add(self._node(a), self._node(b)).output(0)

    def multiply(self, out, a, b):
        return self._ops.multiply(self._node(a), self._node(b)).output(0)

    def cat(self, out, tensors, dim=0):
        return self._ops.concat([x.node for x in tensors], dim).output(0)

    def chunk(self, out, x, chunks, dim=0):
        return self._ops.split(x.node, dim, chunks).outputs()

    def reshape(self, out, *unused, **also_unused):
        return self._ops.reshape(unused[0].node, list(out.shape), False).output(0)

    def indexed(self, out, x, index):
        if all(i is None or i == slice(None) for i in index):
            return self.reshape(out, x)
        if not all(isinstance(i, slice) and i.step is None for i in index):
            raise EngineError(f"OpenVINO isn't told how to take {index} of a tensor: use --engine torch")
        ranges = [i.indices(size)[:2] for i, size in zip(index, x.shape, strict=False)]
        first, last, axes, steps = (
            self._ops.constant(list(each), self._ov.Type.i32)
            for each in (*zip(*ranges, strict=True), range(len(ranges)), [1] * len(ranges))
        )
        return self._ops.slice(x.node, first, last, steps, axes).output(0)

    def pixel_shuffle(self, out, x, factor):
        return self._ops.depth_to_space(x.node, "depth_first", factor).output(0)

    def permute(self, out, x, *order):
        order = order[0] if isinstance(order[0], list | tuple) else order
        return self._ops.transpose(x.node, list(order)).output(0)

    def upsample(self, out, x, **unused):
        sizes = self._ops.constant(list(out.shape[2:]), self._ov.Type.i32)
        return self._ops.interpolate(
            x.node,
            sizes,
            "nearest",
            "sizes",
            axes=[2, 3],
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ).output(0)

    def clamp(self, out, x, least, most):
        return self._ops.clamp(x.node, least, most).output(0)

    def pad(self, out, x, pads, mode="constant", value=None):
        before, after = [0] * x.ndim, [0] * x.ndim
        for i in range(len(pads) // 2):
            before[-1 - i], after[-1 - i] = pads[2 * i : 2 * i + 2]
        return self._ops.pad(x.node, before, after, "constant", 0.0).output(0)

    def same(self, out, x, *unused, **also_unused):
        return x.node


def _pair(value: int | Sequence[int]) -> Sequence[int]:
    return (value, value) if isinstance(value, int) else value


OPERATIONS: dict[Callable, Callable] = {
    F.conv2d: Operations.convolution,
    F.linear: Operations.linear,
    F.group_norm: Operations.group_norm,
    F.layer_norm: Operations.layer_norm,
    F.scaled_dot_product_attention: Operations.attention,
    F.silu: Operations.silu,
    F.gelu: Operations.gelu,
    Tensor.add: Operations.add,
    Tensor.__add__: Operations.add,
    Tensor.__mul__: Operations.multiply,
    Tensor.mul: Operations.multiply,
    torch.cat: Operations.cat,
    Tensor.chunk: Operations.chunk,
    Tensor.reshape: Operations.reshape,
    Tensor.__getitem__: Operations.indexed,
    F.pixel_shuffle: Operations.pixel_shuffle,
    Tensor.permute: Operations.permute,
    F.interpolate: Operations.upsample,
    F.pad: Operations.pad,
    Tensor.clamp: Operations.clamp,
    Tensor.contiguous: Operations.same,
    Tensor.to: Operations.same,
}
