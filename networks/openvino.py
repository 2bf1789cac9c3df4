"""Networks through OpenVINO, which computes them faster on a CPU: traced once, compiled, kept in a cache folder.

The layers aren't written a second time: a network's own `forward` runs once on tensors without values, and each torch
function that it calls becomes one of OpenVINO's operations. What isn't in `OPERATIONS` can't be converted.
"""

import importlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .autoencoder import Autoencoder
from .reuse import Shared
from .unet import UNet

__all__ = ["Compiled", "EngineError", "use_openvino"]

log = logging.getLogger(__name__)

HINTS = {torch.float32: "f32", torch.bfloat16: "bf16"}
MOST = 2
"""Shapes of inputs for which a network is held compiled at once."""


class EngineError(ValueError):
    """What this engine can't do, and what to do instead."""


def use_openvino(network: nn.Module, folder: Path | None = None) -> None:
    """Have OpenVINO compute each UNet and autoencoder in a network; what else there is in it stays with torch.

    Their weights must be float32 or bfloat16, on the CPU, and not change any more. `folder` is where compiled networks
    are kept, None for $XDG_CACHE_HOME/comfyui-ddim/openvino, usually below ~/.cache. Raises EngineError.
    """
    for part in network.modules():
        if isinstance(part, UNet):
            part.forward = _unet(part, folder)
        elif isinstance(part, Autoencoder):
            part.encode, part.decode = (Compiled(part, code, folder) for code in (part.encode, part.decode))


def _unet(unet: UNet, folder: Path | None) -> Callable[..., Tensor]:
    """What takes the place of a UNet's `forward`, its embedding of the timesteps left to torch."""

    def code(x: Tensor, emb: Tensor, context: Tensor, *control: Tensor) -> Tensor:
        return UNet.forward(unet, x, Shared(emb), context, control or None)

    compiled = Compiled(unet, code, folder)

    def forward(
        x: Tensor, t: Tensor | Shared, context: Tensor | Shared, control: Sequence[Tensor] | None = None
    ) -> Tensor:
        emb = t.value if isinstance(t, Shared) else unet.embed(t)
        context = context.value if isinstance(context, Shared) else context
        return compiled(x, emb.expand(len(x), -1), context, *(control or ()))

    return forward


def _openvino() -> ModuleType:
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise EngineError('OpenVINO isn\'t installed: pip install "comfyui-ddim[openvino]"') from error


class Compiled:
    """`code(*tensors) -> tensor` of a network with fixed weights, on the CPU, compiled for each shape of its inputs.

    `network` holds the weights (float32 or bfloat16) that `code` uses. What was compiled is kept in `folder`, by what
    OpenVINO makes of the weights, the shapes and its version, and read from there the next time.
    """

    def __init__(self, network: nn.Module, code: Callable[..., Tensor], folder: Path | None = None) -> None:
        self._ov = _openvino()
        weight = next(network.parameters())
        if weight.device.type != "cpu" or weight.dtype not in HINTS:
            raise EngineError(
                f"weights of {weight.dtype} on {weight.device}, expected float32 or bfloat16 on the CPU, which is what "
                "OpenVINO is used for"
            )
        network.to(memory_format=torch.contiguous_format)  # so that the constants can share the weights' memory
        usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "comfyui-ddim" / "openvino"
        self.dtype, self._code, self._folder = weight.dtype, code, folder or usual
        self._requests: dict[tuple[torch.Size, ...], Any] = {}

    def __deepcopy__(self, memo: dict) -> "Compiled":
        return self  # a copy of the network in another dtype is computed by the same

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The result, of the network's dtype; inputs of a shape that hasn't come yet are compiled for."""
        shapes = tuple(x.shape for x in inputs)
        request = self._requests.pop(shapes, None) or self._compiled(shapes).create_infer_request()
        self._requests = dict([*self._requests.items(), (shapes, request)][-MOST:])
        request.infer([x.float().contiguous().numpy() for x in inputs], share_inputs=True)
        return torch.from_numpy(request.get_output_tensor().data.copy()).to(self.dtype)

    def _compiled(self, shapes: Sequence[torch.Size]) -> Any:
        options = {
            "CACHE_DIR": str(self._folder),
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": HINTS[self.dtype],
        }
        log.info("compiling with OpenVINO, or taking from %s, for inputs of %s", self._folder, list(map(list, shapes)))
        model = _converted(self._ov, self._code, shapes, self.dtype)
        return self._ov.Core().compile_model(model, "CPU", options)


def _converted(ov: ModuleType, code: Callable[..., Tensor], shapes: Sequence[torch.Size], dtype: torch.dtype) -> Any:
    """OpenVINO's model of what `code` does with inputs of these shapes."""
    parameters = [ov.opset13.parameter(list(shape), ov.Type.f32) for shape in shapes]
    inputs = [
        _with(torch.empty(shape, dtype=dtype, device="meta"), p.output(0))
        for shape, p in zip(shapes, parameters, strict=True)
    ]
    with torch.no_grad(), _Tracing(ov):
        result = code(*inputs)
    model = ov.Model([result.node], parameters, "network")
    # The names it finds count on and on, and are part of what the cache goes by.
    for i, operation in enumerate(model.get_ordered_ops()):
        operation.set_friendly_name(str(i))
    for port in (*model.inputs, *model.outputs):
        port.set_names({f"{port.node.friendly_name} of the network"})
    return model


def _with(value: Tensor, node: Any) -> Tensor:
    value.node = node
    return value


class _Tracing(TorchFunctionMode):
    """Gives tensors without values the operation that makes them, as `node`."""

    def __init__(self, ov: ModuleType) -> None:
        super().__init__()
        self._ov = ov

    def __torch_function__(self, func: Callable, types: Any, args: Sequence = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        nodes = any(hasattr(x, "node") for x in _flat([*args, *kwargs.values()]))
        result = func(*_meta(args, nodes), **dict(zip(kwargs, _meta(list(kwargs.values()), nodes), strict=True)))
        made = [x for x in _flat([result]) if isinstance(x, Tensor)]
        if not nodes or not made:
            return result
        if func not in OPERATIONS:
            raise EngineError(f"OpenVINO isn't told how to do {getattr(func, '__name__', func)}: use --engine torch")
        outputs = OPERATIONS[func](Operations(self._ov), result, *args, **kwargs)
        for tensor, output in zip(made, outputs if isinstance(outputs, list) else [outputs], strict=True):
            tensor.node = output
        return result


def _flat(values: Sequence) -> list:
    return [x for value in values for x in (_flat(value) if isinstance(value, list | tuple) else [value])]


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
        """A tensor's operation; of one with values, a constant that shares its memory."""
        if not isinstance(x, Tensor):
            return self._ops.constant(x, self._ov.Type.f32)
        if hasattr(x, "node"):
            return x.node
        x = x.detach().contiguous()
        if x.dtype != torch.bfloat16:
            return self._ov.op.Constant(x.numpy(), shared_memory=True)
        shared = self._ov.Tensor(x.view(torch.uint16).numpy(), list(x.shape), self._ov.Type.bf16)
        return self._ops.convert(self._ov.op.Constant(shared, shared_memory=True), "f32").output(0)

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

    def unsqueezed(self, out, x, index):
        if not all(i is None or i == slice(None) for i in index):
            raise EngineError(f"OpenVINO isn't told how to take {index} of a tensor: use --engine torch")
        return self.reshape(out, x)

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
    Tensor.__getitem__: Operations.unsqueezed,
    Tensor.permute: Operations.permute,
    F.interpolate: Operations.upsample,
    F.pad: Operations.pad,
    Tensor.clamp: Operations.clamp,
    Tensor.contiguous: Operations.same,
}
