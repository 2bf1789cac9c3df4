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
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import torch
from torch import Tensor, nn

from .autoencoder import Autoencoder
from .openvino_graph import Code, EngineError, Entry, converted, flat
from .reuse import Shared
from .unet import UNet, shared
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
        """The result in float32; inputs of a shape that hasn't come yet are compiled for."""
        request = self._request(inputs, lambda entry: self._code(self.network, *(entry(x.shape) for x in inputs)))
        return self._result(request, inputs)

    def _request(self, inputs: Sequence[Tensor], code: Code) -> Any:
        """What `code` was compiled to for inputs of these shapes, or is now."""
        shapes = tuple(x.shape for x in inputs)
        if shapes not in self._requests:
            size = shapes[0][2:]
            same = [(known, request) for known, request in self._requests.items() if known[0][2:] == size]
            self._requests = dict(same[1 - MOST :])  # before there are more
            log.info("compiling with OpenVINO for inputs of %s", list(map(list, shapes)))
            self._requests[shapes] = self._compiled(code)
        return self._requests[shapes]

    def _compiled(self, code: Code) -> Any:
        ov, dtype = _openvino(), self._dtype
        options = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": HINTS[dtype]}
        with self._weights():
            return ov.Core().compile_model(converted(ov, code, dtype), "CPU", options).create_infer_request()

    def _result(self, request: Any, inputs: Sequence[Tensor]) -> Tensor:
        request.infer([x.float().contiguous().numpy() for x in inputs], share_inputs=True)
        return torch.from_numpy(request.get_output_tensor().data.copy())

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.network.parameters()).dtype

    def _weights(self) -> AbstractContextManager:
        """Moves them into a file that is read while OpenVINO packs them, unless there's no room for one."""
        try:
            return WeightsFile(self.network, self._folder).dropping()
        except OSError as error:
            log.warning("OpenVINO takes more memory, with the weights there twice: %s", error)
            return nullcontext()


class CompiledUNet(Compiled):
    """What takes the place of a UNet's `forward`.

    What its layers make of the timesteps' embedding and the text is left to torch, which keeps it for a whole run.
    """

    network: UNet

    def __init__(self, unet: UNet, folder: Path | None = None) -> None:
        super().__init__(unet, UNet.forward, folder)
        self._asked: list[tuple[int, nn.Module, Callable]] = []

    def __call__(
        self, x: Tensor, t: Tensor | Shared, context: Tensor | Shared, control: Sequence[Tensor] | None = None
    ) -> Tensor:
        """As `UNet.forward`."""
        given = t if isinstance(t, Shared) else Shared(self.network.embed(t)), shared(context)
        inputs = [x, *(control or ())]

        def code(entry: Entry) -> Tensor:
            self._asked = []
            x, *control = (entry(each.shape) for each in inputs)
            emb, context = (Asked(i, each, entry, self._asked) for i, each in enumerate(given))
            return self._code(self.network, x, emb, context, control or None)

        request = self._request([*inputs, *(each.value for each in given)], code)
        made = [given[which].of(layer, make) for which, layer, make in self._asked]
        return self._result(request, [*inputs, *flat(made)])


class Asked(Shared):
    """In the place of a `Shared` while a network is traced: what layers make of it is noted, and becomes inputs."""

    def __init__(self, which: int, given: Shared, entry: Entry, notes: list) -> None:
        super().__init__(given.value)
        self._which, self._given, self._entry, self._notes = which, given, entry, notes

    def of(self, layer: nn.Module, make: Callable[[Tensor], Any]) -> Any:
        """Inputs of the shapes of what `layer` makes of it."""
        self._notes.append((self._which, layer, make))
        made = self._given.of(layer, make)
        return tuple(self._entry(x.shape) for x in made) if isinstance(made, tuple) else self._entry(made.shape)
