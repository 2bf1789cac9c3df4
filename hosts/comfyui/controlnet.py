"""ControlNets inside ComfyUI: its own way for all but this package's small ones, whose heads it can't guess."""

from pathlib import Path

import comfy.cldm.cldm
import comfy.controlnet
import comfy.model_detection
import comfy.model_management
import comfy.ops
import comfy.utils
import torch
from safetensors import safe_open

from ...networks import CheckpointError, control_scales
from ...networks.loading.detection import CONTROL
from ...networks.loading.facts import METADATA, read_facts

__all__ = ["load_controlnet"]


def load_controlnet(path: Path, guess: bool = False) -> comfy.controlnet.ControlBase:
    """CONTROL_NET of a file, in guess mode or not.

    Raises CheckpointError (a ValueError) for one that isn't there or is no ControlNet, or knows no guess mode.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, expected a ControlNet")
    net = _load(path)
    if guess:
        network = getattr(net, "control_model", None)
        if not isinstance(network, comfy.cldm.cldm.ControlNet):
            raise CheckpointError(f"{path}: a {type(net).__name__} has no guess mode, expected a ControlNet of a UNet")
        network.register_forward_hook(_guessing)
    return net


def _guessing(network: torch.nn.Module, inputs: tuple, control: dict[str, list]) -> dict[str, list]:
    """What a ControlNet says, scaled as in guess mode. ComfyUI's copies of a CONTROL_NET share the network."""
    finest_first = [*control["output"], *control["middle"]]
    scales = control_scales(len(finest_first), 1.0, guess=True)
    *output, middle = (scale * residual for scale, residual in zip(scales, finest_first, strict=True))
    return {**control, "output": output, "middle": [middle]}


def _load(path: Path) -> comfy.controlnet.ControlBase:
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        if METADATA in metadata:
            return load_small(path, read_facts(metadata)["unet_heads"])
    net = comfy.controlnet.load_controlnet(str(path))
    if net is None:
        raise CheckpointError(f"{path}: no ControlNet that ComfyUI knows")
    return net


def load_small(path: Path, heads: int) -> comfy.controlnet.ControlNet:
    """CONTROL_NET of a file with this package's metadata."""
    tensors = comfy.utils.load_torch_file(str(path), safe_load=True)
    management = comfy.model_management
    device = management.get_torch_device()
    dtype = management.unet_dtype(
        supported_dtypes=[torch.float16, torch.bfloat16, torch.float32],
        weight_dtype=comfy.utils.weight_dtype(tensors, CONTROL),
    )
    cast = management.unet_manual_cast(dtype, device)
    sizes = comfy.model_detection.detect_unet_config(tensors, CONTROL)
    del sizes["out_channels"]
    network = comfy.cldm.cldm.ControlNet(
        **sizes,
        num_heads=heads,
        hint_channels=tensors[f"{CONTROL}input_hint_block.0.weight"].shape[1],
        operations=comfy.ops.pick_operations(dtype, cast),
        dtype=dtype,
        device=management.unet_offload_device(),
    )
    network.load_state_dict({name.removeprefix(CONTROL): tensor for name, tensor in tensors.items()})
    return comfy.controlnet.ControlNet(network, load_device=device, manual_cast_dtype=cast)
