"""Networks through OpenVINO, which computes them faster on a CPU: traced and compiled in some seconds.

The layers aren't written a second time: OpenVINO is told what a network's own `forward` does (`openvino_graph.py`).
It packs the weights as its products read them; the network's own then wait in a file (`weights_file.py`).
"""

import copy
import importlib
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import torch
from torch import Tensor, nn

from .autoencoder import Autoencoder
from .openvino_graph import EngineError, converted
from .reuse import Shared
from .unet import UNet
from .weights_file import WeightsFile

__all__ = ["Compiled", "EngineError", "use_openvino"]

log = logging.getLogger(__name__)

HINTS = {torch.float32: "f32", torch.bfloat16: "bf16"}
MOST = 2
"""Batches, or lengths of a text, for which a network is held compiled at once, each with the weights packed anew."""


def use_openvino(network: nn.Module, folder: Path | None = None) -> None:
    """Have OpenVINO compute each UNet and autoencoder in a network; what else there is in it stays with torch.

    Their weights must be float32 or bfloat16, on the CPU, and not change in place any more; copies of the network are
    computed by OpenVINO too. `folder` is on the disk where the weights wait, in files without a name, None for
    $XDG_CACHE_HOME/comfyui-ddim, usually below ~/.cache. Raises EngineError.
    """
    _openvino()
    for part in network.modules():
        if isinstance(part, UNet | Autoencoder):
            weight = next(part.parameters())
            if weight.device.type != "cpu" or weight.dtype not in HINTS:
                raise EngineError(
                    f"weights of {weight.dtype} on {weight.device}, expected float32 or bfloat16 on the CPU, which is "
                    "what OpenVINO is used for"
                )
            part.to(memory_format=torch.contiguous_format)  # so that OpenVINO's constants can share their memory
        if isinstance(part, UNet):
            part.forward = CompiledUNet(part, folder)
        elif isinstance(part, Autoencoder):
            part.encode, part.decode = (
                Compiled(part, code, folder) for code in (Autoencoder.encode, Autoencoder.decode)
            )


def _openvino() -> ModuleType:
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise EngineError('OpenVINO isn\'t installed: pip install "comfyui-ddim[openvino]"') from error


class Compiled:
    """`code(network, *tensors) -> tensor` of a network with fixed weights, compiled for each shape of the tensors.

    The network's own weights are then on the disk, in `folder`. A deep copy is the same of the network's copy.
    """

    def __init__(self, network: nn.Module, code: Callable[..., Tensor], folder: Path | None = None) -> None:
        usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "comfyui-ddim"
        self.network, self._code, self._folder = network, code, folder or usual
        self._requests: dict[tuple[torch.Size, ...], Any] = {}

    def __deepcopy__(self, memo: dict) -> Self:
        copied = memo[id(self)] = copy.copy(self)
        copied.network, copied._requests = copy.deepcopy(self.network, memo), {}
        return copied

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The result, of the network's dtype; inputs of a shape that hasn't come yet are compiled for."""
        shapes, dtype = tuple(x.shape for x in inputs), next(self.network.parameters()).dtype
        if shapes not in self._requests:
            size = shapes[0][2:]
            same = [(known, request) for known, request in self._requests.items() if known[0][2:] == size]
            self._requests = dict(same[1 - MOST :])  # before there are more
            self._requests[shapes] = self._compiled(shapes, dtype)
        request = self._requests[shapes]
        request.infer([x.float().contiguous().numpy() for x in inputs], share_inputs=True)
        return torch.from_numpy(request.get_output_tensor().data.copy()).to(dtype)

    def _compiled(self, shapes: Sequence[torch.Size], dtype: torch.dtype) -> Any:
        ov = _openvino()
        options = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": HINTS[dtype]}
        log.info("compiling with OpenVINO for inputs of %s", list(map(list, shapes)))
        with self._weights():
            model = converted(ov, partial(self._code, self.network), shapes, dtype)
            return ov.Core().compile_model(model, "CPU", options).create_infer_request()

    def _weights(self) -> AbstractContextManager:
        """Moves them into a file that is read while OpenVINO packs them, unless there's no room for one."""
        try:
            return WeightsFile(self.network, self._folder).dropping()
        except OSError as error:
            log.warning("OpenVINO takes more memory, with the weights there twice: %s", error)
            return nullcontext()


class CompiledUNet(Compiled):
    """What takes the place of a UNet's `forward`; the embedding of the timesteps is left to torch."""

    network: UNet

    def __init__(self, unet: UNet, folder: Path | None = None) -> None:
        def code(unet: UNet, x: Tensor, emb: Tensor, context: Tensor, *control: Tensor) -> Tensor:
            return UNet.forward(unet, x, Shared(emb), context, control or None)

        super().__init__(unet, code, folder)

    def __call__(
        self, x: Tensor, t: Tensor | Shared, context: Tensor | Shared, control: Sequence[Tensor] | None = None
    ) -> Tensor:
        """As `UNet.forward`."""
        emb = t.value if isinstance(t, Shared) else self.network.embed(t)
        context = context.value if isinstance(context, Shared) else context
        return super().__call__(x, emb.expand(len(x), -1), context, *(control or ()))
