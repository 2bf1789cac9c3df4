"""What kind of model some tensors are: sizes from their shapes, the family from their names, never from a file's name.

What shapes can't tell are facts, from a checkpoint's own metadata or from a diffusers folder's configuration; for
what neither tells, the published families' values stand.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from ..autoencoder import AutoencoderConfig
from ..latent_diffusion import ModelConfig
from ..text.encoder import TextConfig
from ..unet import UNetConfig
from .tensor_file import CheckpointError

__all__ = [
    "ALONE",
    "AUTOENCODER",
    "A_CONTROLNET",
    "CONTROL",
    "METADATA",
    "TEXT",
    "UNET",
    "Facts",
    "Shapes",
    "autoencoder_config",
    "config_of",
    "controlnet_config",
    "facts_of",
    "foreign",
    "model_config",
    "predicts_v",
    "read_facts",
    "unet_config",
    "unet_facts",
]

UNET, AUTOENCODER, CONTROL = "model.diffusion_model.", "first_stage_model.", "control_model."
TEXT = "cond_stage_model.transformer.text_model."
METADATA = "comfyui_ddim"

Shapes = Mapping[str, Sequence[int]]
Facts = Mapping[str, object]
"""`unet_heads` or `unet_head_width`, `text_` with a TextConfig's `heads`, `activation`, `skip`, `cut` or `pad`,
and any of a ModelConfig's numbers, `parameterization` and `vocabulary`."""

V_MARK, V_SPREAD = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias", 0.09
TEXT_FACTS = ("heads", "activation", "skip", "cut", "pad")
SD2_HEAD_WIDTH = CLIP_HEAD_WIDTH = 64
MODEL_FACTS = ("parameterization", "scale_factor", "timesteps", "beta_start", "beta_end")


class Mark(NamedTuple):
    """A pattern that names of a kind of file begin with, what the file is, and what to do with it."""

    pattern: str
    kind: str
    instead: str = "run with --comfyui"


A_CONTROLNET, ALONE = "a ControlNet", "an autoencoder alone"
# The first that fits counts. Tensor names are those of the models' own publications.
MARKS = (
    Mark(r"lora_|.*\.(lora_|lokr_|hada_)", "a LoRA"),
    Mark(r"(string_to_param|emb_params)", "a text embedding"),
    Mark(r"conditioner\.embedders\.1\.", "an SDXL checkpoint"),
    Mark(r"conditioner\.embedders\.0\.model\.transformer\.resblocks\.31\.", "an SDXL refiner checkpoint"),
    Mark(r"(.*\.)?add_embedding\.linear_1\.", "a part of an SDXL model"),
    Mark(r"(.*\.)?(time_stack|temporal_transformer|time_mixer)", "a video model"),
    Mark(r"(.*\.)?joint_blocks\.\d", "an SD3 model"),
    Mark(r"(.*\.)?distilled_guidance_layer\.", "a Chroma model"),
    Mark(r"(.*\.)?(single_stream_modulation|double_stream_modulation)", "a Flux 2 model"),
    Mark(r"(.*\.)?txt_in\.individual_token_refiner\.", "a Hunyuan Video model"),
    Mark(r"(.*\.)?double_blocks\.\d|(.*\.)?single_transformer_blocks\.\d", "a Flux model"),
    Mark(r"(.*\.)?double_layers\.\d", "an AuraFlow model"),
    Mark(r"(.*\.)?cap_embedder\.", "a Lumina model"),
    Mark(r"(.*\.)?head\.modulation", "a Wan model"),
    Mark(r"(.*\.)?(patchify_proj|adaln_single)\.", "an LTX or PixArt model"),
    Mark(r"(.*\.)?(clip_txt_mapper|effnet_mapper)\.", "a Stable Cascade model"),
    Mark(r"(model\.diffusion_model\.)?label_emb\.", "an SDXL or unCLIP model"),
    Mark(r"adapter\.(body|unet)\.", "a T2I adapter"),
    Mark(r"(control_model\.)?input_hint_block\.|controlnet_cond_embedding\.", A_CONTROLNET, "use ControlNetLoader"),
    Mark(r"(encoder|decoder)\.conv_in\.", ALONE, "use VAELoader"),
    Mark(r"(text_model\.)?(embeddings|encoder\.layers|final_layer_norm)\.", "a text encoder alone", "it has no UNet"),
    Mark(r"(input|down)_blocks\.", "a UNet alone", "it has neither text encoder nor autoencoder"),
)
# Channels that a UNet takes besides its four, by how many it takes in all.
OTHER_INPUTS = {5: "a depth", 7: "an upscaling", 8: "an instruct-pix2pix"}


def foreign(names: Iterable[str], wanted: str) -> str | None:
    """What a file with such tensors looks like, if it is of a known kind and not the wanted one; for the error."""
    names = list(names)
    for mark in (mark for mark in MARKS if mark.kind != wanted):
        for name in names:
            if re.match(mark.pattern, name):
                return f"this looks like {mark.kind} (it has {name!r}): {mark.instead}"
    return None


def read_facts(metadata: Mapping[str, str]) -> Facts:
    """The facts in a safetensors file's metadata; CheckpointError where they can't be read."""
    try:
        facts = json.loads(metadata.get(METADATA, "{}"))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"metadata {METADATA!r}: expected JSON, {error}") from error
    if not isinstance(facts, dict):
        raise CheckpointError(f"metadata {METADATA!r}: a {type(facts).__name__}, expected an object")
    return facts


def predicts_v(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a Stable Diffusion 2.x model predicts v: told, as ComfyUI does, by how spread one of its biases is."""
    bias, stem = tensors.get(V_MARK), tensors.get(f"{UNET}input_blocks.0.0.weight")
    if bias is None or stem is None or f"{UNET}input_blocks.1.1.proj_in.weight" not in tensors:
        return False
    second = tensors[f"{UNET}input_blocks.1.1.proj_in.weight"].ndim == 2
    return second and stem.shape[1] == 4 and bias.float().std(correction=0).item() > V_SPREAD


def facts_of(config: ModelConfig) -> dict[str, object]:
    """What `config_of` needs to be told of a model, to be written into its metadata."""
    facts = {f"text_{name}": getattr(config.text, name) for name in TEXT_FACTS}
    facts |= {name: getattr(config, name) for name in MODEL_FACTS}
    return unet_facts(config.unet) | facts | {"vocabulary": list(config.vocabulary)}


def unet_facts(config: UNetConfig) -> dict[str, object]:
    """What `unet_config` needs to be told."""
    return {"unet_head_width": config.head_width} if config.head_width else {"unet_heads": config.heads}


def model_config(shapes: Shapes, metadata: Mapping[str, str] | None = None) -> ModelConfig:
    """A model's configuration from its tensors' shapes {published name: shape} and a file's metadata.

    Raises CheckpointError, naming a tensor, when the shapes aren't those of a Stable Diffusion 1.x or 2.x kind of
    model.
    """
    return config_of(shapes, read_facts(metadata or {}))


def config_of(shapes: Shapes, facts: Facts) -> ModelConfig:
    """The same, with the facts as they are."""
    unet = unet_config(shapes, facts, UNET)
    if unet.in_channels in OTHER_INPUTS:
        kind, channels = OTHER_INPUTS[unet.in_channels], unet.in_channels
        raise CheckpointError(f"this looks like {kind} model (its UNet takes {channels} channels): run with --comfyui")
    known = {name: facts[name] for name in MODEL_FACTS if name in facts}
    vocabulary = tuple(facts.get("vocabulary", ()))
    return ModelConfig(unet, autoencoder_config(shapes), text_config(shapes, facts), vocabulary=vocabulary, **known)


def unet_config(shapes: Shapes, facts: Facts, prefix: str = "") -> UNetConfig:
    """A UNet's sizes, or those that a ControlNet shares with one."""
    stem = _shape(shapes, f"{prefix}input_blocks.0.0.weight", 4)
    levels: list[list[int]] = [[]]  # the widths of each level's blocks
    attention: list[bool] = [False]
    for i in range(1, _count(shapes, re.escape(prefix) + r"input_blocks\.(\d+)\.")):
        block = f"{prefix}input_blocks.{i}."
        if f"{block}0.op.weight" in shapes:
            levels.append([])
            attention.append(False)
            continue
        levels[-1].append(_shape(shapes, f"{block}0.in_layers.2.weight", 4)[0])
        attention[-1] = f"{block}1.norm.weight" in shapes
    if not all(levels):
        raise CheckpointError(f"{prefix}input_blocks: expected residual blocks at every level")
    middle = f"{prefix}middle_block.1."
    linear = len(shapes.get(f"{middle}proj_in.weight", ())) == 2
    heads: dict[str, object] = {"heads": facts.get("unet_heads", UNetConfig.heads)}
    if "unet_head_width" in facts or (linear and "unet_heads" not in facts):
        heads = {"head_width": facts.get("unet_head_width", SD2_HEAD_WIDTH)}
    return UNetConfig(
        in_channels=stem[1],
        out_channels=shapes.get(f"{prefix}out.2.weight", stem)[0 if f"{prefix}out.2.weight" in shapes else 1],
        channels=tuple(widths[-1] for widths in levels),
        blocks=len(levels[0]),
        attention=tuple(attention),
        depth=_count(shapes, re.escape(middle) + r"transformer_blocks\.(\d+)\."),
        context=_shape(shapes, f"{middle}transformer_blocks.0.attn2.to_k.weight", 2)[1],
        linear_projection=linear,
        **heads,
    )


def controlnet_config(shapes: Shapes, facts: Facts) -> tuple[UNetConfig, int]:
    """The sizes of a ControlNet's UNet, and its hint's channels."""
    return unet_config(shapes, facts), _shape(shapes, "input_hint_block.0.weight", 4)[1]


def autoencoder_config(shapes: Shapes, prefix: str = AUTOENCODER) -> AutoencoderConfig:
    """An autoencoder's sizes."""
    encoder = f"{prefix}encoder."
    levels = _count(shapes, re.escape(encoder) + r"down\.(\d+)\.")
    return AutoencoderConfig(
        channels=tuple(_shape(shapes, f"{encoder}down.{i}.block.0.conv1.weight", 4)[0] for i in range(levels)),
        blocks=_count(shapes, re.escape(encoder) + r"down\.0\.block\.(\d+)\."),
        latent_channels=_shape(shapes, f"{prefix}decoder.conv_in.weight", 4)[1],
        embed_channels=_shape(shapes, f"{prefix}post_quant_conv.weight", 4)[1],
        image_channels=_shape(shapes, f"{encoder}conv_in.weight", 4)[1],
    )


def text_config(shapes: Shapes, facts: Facts) -> TextConfig:
    """A text transformer's sizes."""
    vocabulary, width = _shape(shapes, f"{TEXT}embeddings.token_embedding.weight", 2)
    return TextConfig(
        vocabulary=vocabulary,
        positions=_shape(shapes, f"{TEXT}embeddings.position_embedding.weight", 2)[0],
        width=width,
        layers=_count(shapes, re.escape(TEXT) + r"encoder\.layers\.(\d+)\."),
        inner=_shape(shapes, f"{TEXT}encoder.layers.0.mlp.fc1.weight", 2)[0],
        **{"heads": max(1, width // CLIP_HEAD_WIDTH)}
        | {name: facts[f"text_{name}"] for name in TEXT_FACTS if f"text_{name}" in facts},
    )


def _shape(shapes: Shapes, name: str, ndim: int) -> Sequence[int]:
    if name not in shapes:
        raise CheckpointError(f"no tensor {name!r}: expected a Stable Diffusion 1.x or 2.x kind of model")
    if len(shapes[name]) != ndim:
        raise CheckpointError(f"tensor {name!r} has shape {list(shapes[name])}, expected {ndim} dimensions")
    return shapes[name]


def _count(shapes: Shapes, pattern: str) -> int:
    """How many numbers, counted from 0, stand at the group of a pattern."""
    found = {int(match[1]) for name in shapes if (match := re.match(pattern, name))}
    return len(found)
