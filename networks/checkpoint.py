"""Loading a checkpoint of the published layout: sizes from the tensors' shapes, the tensors mapped from the file.

The rest that shapes can't tell (heads, vocabulary) stands in the safetensors metadata under `comfyui_ddim`, as JSON;
without it the values are those of the published Stable Diffusion checkpoints.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .autoencoder import AutoencoderConfig
from .controlnet import ControlNet
from .latent_diffusion import LatentDiffusion, ModelConfig
from .text import TextConfig
from .unet import UNetConfig

__all__ = [
    "CheckpointError",
    "load_checkpoint",
    "load_controlnet",
    "model_config",
    "save_checkpoint",
    "save_controlnet",
]

UNET, AUTOENCODER, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer.text_model."
METADATA = "comfyui_ddim"

# Published files carry these beside the weights: derived tables, the average's counters, a range of integers.
_DERIVED = re.compile(
    r"(betas|alphas_cumprod|alphas_cumprod_prev|sqrt_.*|log_one_minus_alphas_cumprod|posterior_.*|lvlb_weights|logvar"
    r"|model_ema\..*|.*position_ids)$"
)

CONTROL = "control_model."

Shapes = Mapping[str, Sequence[int]]
Network = TypeVar("Network", bound=nn.Module)


class CheckpointError(ValueError):
    """A checkpoint that can't be used, and why."""


def load_checkpoint(path: Path, device: str = "cpu", dtype: torch.dtype | None = None) -> LatentDiffusion:
    """Load a safetensors checkpoint, memory-mapped; `dtype` None keeps float32 on a CPU whatever the file holds.

    Raises CheckpointError (a ValueError) that names the file for one that is no safetensors file, is cut off, lacks
    a tensor or has one too many or of another shape.
    """
    return _load(path, device, dtype, "", lambda shapes, metadata: LatentDiffusion(model_config(shapes, metadata)))


def load_controlnet(path: Path, device: str = "cpu", dtype: torch.dtype | None = None) -> ControlNet:
    """Load a ControlNet's safetensors file; as `load_checkpoint`, with its errors."""

    def empty(shapes: Shapes, metadata: Mapping[str, str]) -> ControlNet:
        config = _unet(shapes, _extra(metadata), "")
        return ControlNet(config, _shape(shapes, "input_hint_block.0.weight", 4)[1])

    return _load(path, device, dtype, CONTROL, empty)


def save_checkpoint(model: LatentDiffusion, path: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a model with the published key names; what shapes can't tell goes into the metadata."""
    config = model.config
    extra = {
        "unet_heads": config.unet.heads,
        "text_heads": config.text.heads,
        "parameterization": config.parameterization,
        "scale_factor": config.scale_factor,
        "vocabulary": config.vocabulary,
    }
    _save(model, "", path, dtype, extra)


def save_controlnet(net: ControlNet, path: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a ControlNet with the published key names; its number of heads goes into the metadata."""
    _save(net, CONTROL, path, dtype, {"unet_heads": net.config.heads})


def model_config(shapes: Shapes, metadata: Mapping[str, str] | None = None) -> ModelConfig:
    """Read a model's sizes off its tensors' shapes {name: shape}.

    Raises CheckpointError, naming a tensor, when the shapes aren't those of a Stable Diffusion 1.x kind of model.
    """
    extra = _extra(metadata or {})
    unet, autoencoder, text = _unet(shapes, extra, UNET), _autoencoder(shapes), _text(shapes, extra)
    known = {name: extra[name] for name in ("parameterization", "scale_factor") if name in extra}
    return ModelConfig(unet, autoencoder, text, vocabulary=tuple(extra.get("vocabulary", ())), **known)


def _plain(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _extra(metadata: Mapping[str, str]) -> dict:
    try:
        return json.loads(metadata.get(METADATA, "{}"))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"metadata {METADATA!r}: expected JSON, {error}") from error


def _save(network: nn.Module, prefix: str, path: Path, dtype: torch.dtype, extra: dict) -> None:
    state = network.state_dict().items()
    tensors = {prefix + name: tensor.detach().to(dtype).cpu().contiguous() for name, tensor in state}
    save_file(tensors, path, {METADATA: json.dumps(extra), "format": "pt"})


def _load(
    path: Path,
    device: str,
    dtype: torch.dtype | None,
    prefix: str,
    empty: Callable[[Shapes, Mapping[str, str]], Network],
) -> Network:
    """The network that `empty` makes for a file's shapes and metadata, with the file's tensors under `prefix`."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, expected a .safetensors checkpoint")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            names = [name for name in file.keys() if not _DERIVED.match(name)]  # noqa: SIM118
            tensors = {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: expected a safetensors file, {_plain(error)}") from error
    try:
        with torch.device("meta"):
            network = empty({name: tensor.shape for name, tensor in tensors.items()}, metadata)
        _assign(network, tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return network.to(device=device, dtype=dtype or torch.float32).eval().requires_grad_(False)


def _assign(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    expected = network.state_dict()
    for problem, names in (
        ("missing", expected.keys() - tensors.keys()),
        ("unexpected", tensors.keys() - expected.keys()),
    ):
        if names:
            raise CheckpointError(f"{len(names)} {problem} tensors, the first {sorted(names)[0]!r}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            came, wanted = list(tensor.shape), list(expected[name].shape)
            raise CheckpointError(f"tensor {name!r} has shape {came}, expected {wanted}")
    network.load_state_dict(tensors, assign=True)


def _shape(shapes: Shapes, name: str, ndim: int) -> Sequence[int]:
    if name not in shapes:
        raise CheckpointError(f"no tensor {name!r}: expected a Stable Diffusion 1.x kind of checkpoint")
    if len(shapes[name]) != ndim:
        raise CheckpointError(f"tensor {name!r} has shape {list(shapes[name])}, expected {ndim} dimensions")
    return shapes[name]


def _count(shapes: Shapes, pattern: str) -> int:
    """How many numbers, counted from 0, stand at the group of a pattern."""
    found = {int(match[1]) for name in shapes if (match := re.match(pattern, name))}
    return len(found)


def _unet(shapes: Shapes, extra: dict, prefix: str) -> UNetConfig:
    stem = _shape(shapes, f"{prefix}input_blocks.0.0.weight", 4)
    levels: list[list[int]] = [[]]  # the widths of each level's blocks
    attention: list[bool] = [False]
    context, depth, linear = 0, 1, False
    for i in range(1, _count(shapes, re.escape(prefix) + r"input_blocks\.(\d+)\.")):
        block = f"{prefix}input_blocks.{i}."
        if f"{block}0.op.weight" in shapes:
            levels.append([])
            attention.append(False)
            continue
        levels[-1].append(_shape(shapes, f"{block}0.in_layers.2.weight", 4)[0])
        attention[-1] = f"{block}1.norm.weight" in shapes
    middle = f"{prefix}middle_block.1."
    context = _shape(shapes, f"{middle}transformer_blocks.0.attn2.to_k.weight", 2)[1]
    depth = _count(shapes, re.escape(middle) + r"transformer_blocks\.(\d+)\.")
    linear = len(shapes.get(f"{middle}proj_in.weight", ())) == 2
    if not all(levels):
        raise CheckpointError(f"{prefix}input_blocks: expected residual blocks at every level")
    return UNetConfig(
        in_channels=stem[1],
        out_channels=_shape(shapes, f"{prefix}out.2.weight", 4)[0] if prefix else stem[1],
        channels=tuple(widths[-1] for widths in levels),
        blocks=len(levels[0]),
        attention=tuple(attention),
        depth=depth,
        context=context,
        heads=extra.get("unet_heads", UNetConfig.heads),
        linear_projection=linear,
    )


def _autoencoder(shapes: Shapes) -> AutoencoderConfig:
    encoder = f"{AUTOENCODER}encoder."
    levels = _count(shapes, re.escape(encoder) + r"down\.(\d+)\.")
    return AutoencoderConfig(
        channels=tuple(_shape(shapes, f"{encoder}down.{i}.block.0.conv1.weight", 4)[0] for i in range(levels)),
        blocks=_count(shapes, re.escape(encoder) + r"down\.0\.block\.(\d+)\."),
        latent_channels=_shape(shapes, f"{AUTOENCODER}decoder.conv_in.weight", 4)[1],
        embed_channels=_shape(shapes, f"{AUTOENCODER}post_quant_conv.weight", 4)[1],
        image_channels=_shape(shapes, f"{encoder}conv_in.weight", 4)[1],
    )


def _text(shapes: Shapes, extra: dict) -> TextConfig:
    tokens = _shape(shapes, f"{TEXT}embeddings.token_embedding.weight", 2)
    positions = _shape(shapes, f"{TEXT}embeddings.position_embedding.weight", 2)
    return TextConfig(
        vocabulary=tokens[0],
        positions=positions[0],
        width=tokens[1],
        layers=_count(shapes, re.escape(TEXT) + r"encoder\.layers\.(\d+)\."),
        heads=extra.get("text_heads", TextConfig.heads),
        inner=_shape(shapes, f"{TEXT}encoder.layers.0.mlp.fc1.weight", 2)[0],
    )
