"""What kind of model some tensors are: sizes from their shapes, the family from their names, never from a file's name.

What shapes can't tell are facts, from a checkpoint's own metadata or from a diffusers folder's configuration; for
what neither tells, the published families' values stand.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..autoencoder import AutoencoderConfig
from ..latent_diffusion import ModelConfig
from ..text.encoder import TextConfig
from ..unet import UNetConfig
from .facts import MODEL_FACTS, TEXT_FACTS, Facts, read_facts
from .tensor_file import CheckpointError, TensorLike, tensor

__all__ = [
    "ALONE",
    "AUTOENCODER",
    "A_CONTROLNET",
    "CONTROL",
    "TEXT",
    "TEXT_PART",
    "UNET",
    "Shapes",
    "autoencoder_config",
    "config_of",
    "controlnet_config",
    "foreign",
    "model_config",
    "predicts_v",
    "unet_config",
]

UNET, AUTOENCODER, CONTROL = "model.diffusion_model.", "first_stage_model.", "control_model."
TEXT_PART = "cond_stage_model."
TEXT = f"{TEXT_PART}transformer.text_model."

Shapes = Mapping[str, Sequence[int]]
V_MARK, V_SPREAD = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias", 0.09
SD2_HEAD_WIDTH = CLIP_HEAD_WIDTH = 64


class Mark(NamedTuple):
    """A pattern that names of a kind of file begin with, what the file is, and what to do with it."""

    pattern: str
    kind: str
    instead: str = "run with --comfyui"
    alone: bool = False
    """Whether it never comes with a whole UNet: then a name beside one is no sign of it."""


STEM = f"{UNET}input_blocks.0.0.weight"
A_CONTROLNET, ALONE = "a ControlNet", "an autoencoder alone"
# The first that fits counts. Tensor names are those of the models' own publications.
MARKS = (
    Mark(r"lora_|.*\.(lora_|lokr_|hada_)", "a LoRA", "use LoraLoader", alone=True),
    Mark(r"(string_to_param|emb_params)", "a text embedding", alone=True),
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
    Mark(r"adapter\.(body|unet)\.", "a T2I adapter", alone=True),
    Mark(
        r"(control_model\.)?input_hint_block\.|controlnet_cond_embedding\.", A_CONTROLNET, "use ControlNetLoader", True
    ),
    Mark(r"(encoder|decoder)\.conv_in\.", ALONE, "use VAELoader", True),
    Mark(
        r"(text_model\.)?(embeddings|encoder\.layers|final_layer_norm)\.",
        "a text encoder alone",
        "it has no UNet",
        True,
    ),
)
# Channels that a UNet takes besides its four, by how many it takes in all.
OTHER_INPUTS = {5: "a depth", 7: "an upscaling", 8: "an instruct-pix2pix"}


def foreign(names: Iterable[str], wanted: str = "") -> str | None:
    """What a file with such tensors looks like, if it is of a known kind and not the wanted one; for the error."""
    names = list(names)
    whole = not wanted and STEM in names
    for mark in (mark for mark in MARKS if mark.kind != wanted and not (whole and mark.alone)):
        for name in names:
            if re.match(mark.pattern, name):
                return f"this looks like {mark.kind} (it has {name!r}): {mark.instead}"
    return None


def predicts_v(tensors: Mapping[str, TensorLike]) -> bool:
    """Whether a Stable Diffusion 2.x model predicts v: told, as ComfyUI does, by how spread one of its biases is."""
    bias, stem = tensors.get(V_MARK), tensors.get(f"{UNET}input_blocks.0.0.weight")
    if bias is None or stem is None or f"{UNET}input_blocks.1.1.proj_in.weight" not in tensors:
        return False
    second = tensors[f"{UNET}input_blocks.1.1.proj_in.weight"].ndim == 2
    return second and stem.shape[1] == 4 and tensor(bias).float().std(correction=0).item() > V_SPREAD


def model_config(shapes: Shapes, metadata: Mapping[str, str] | None = None) -> ModelConfig:
    """A model's configuration from its tensors' shapes {published name: shape} and a file's metadata.

    Raises CheckpointError, naming a tensor, when the shapes aren't those of a Stable Diffusion 1.x or 2.x kind of
    model.
    """
    return config_of(shapes, read_facts(metadata or {}))


def config_of(shapes: Shapes, facts: Facts) -> ModelConfig:
    """The same, with the facts as they are. A part of which there is no tensor at all is None."""
    there = {prefix: any(name.startswith(prefix) for name in shapes) for prefix in (UNET, AUTOENCODER, TEXT_PART)}
    if not any(there.values()):
        _shape(shapes, STEM, 4)
    unet = unet_config(shapes, facts, UNET) if there[UNET] else None
    if unet is not None and unet.in_channels in OTHER_INPUTS:
        kind, channels = OTHER_INPUTS[unet.in_channels], unet.in_channels
        raise CheckpointError(f"this looks like {kind} model (its UNet takes {channels} channels): run with --comfyui")
    text = text_config(shapes, facts) if there[TEXT_PART] else None
    vocabulary = tuple(facts.get("vocabulary", ()))
    if text is not None and vocabulary and not 2 <= len(vocabulary) <= text.vocabulary:
        raise CheckpointError(f"a vocabulary of {len(vocabulary)} words, expected 2 to {text.vocabulary}")
    known = {name: facts[name] for name in MODEL_FACTS if name in facts}
    autoencoder = autoencoder_config(shapes) if there[AUTOENCODER] else None
    return ModelConfig(unet, autoencoder, text, vocabulary=vocabulary, **known)


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
    config = UNetConfig(
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
    _check_heads(config)
    return config


def _check_heads(config: UNetConfig) -> None:
    for width in {width for width, has in zip(config.channels, (*config.attention[:-1], True), strict=True) if has}:
        if width % (config.head_width or config.heads):
            name, count = ("unet_head_width", config.head_width) if config.head_width else ("unet_heads", config.heads)
            raise CheckpointError(f"{name} {count}, expected a divisor of the UNet's {width} channels")


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
    config = TextConfig(
        vocabulary=vocabulary,
        positions=_shape(shapes, f"{TEXT}embeddings.position_embedding.weight", 2)[0],
        width=width,
        layers=_count(shapes, re.escape(TEXT) + r"encoder\.layers\.(\d+)\."),
        inner=_shape(shapes, f"{TEXT}encoder.layers.0.mlp.fc1.weight", 2)[0],
        **{"heads": max(1, width // CLIP_HEAD_WIDTH)}
        | {name: facts[f"text_{name}"] for name in TEXT_FACTS if f"text_{name}" in facts},
    )
    if width % config.heads:
        raise CheckpointError(f"text_heads {config.heads}, expected a divisor of the text encoder's width {width}")
    if config.skip > config.layers + config.cut:
        raise CheckpointError(f"text_skip {config.skip}, expected at most {config.layers + config.cut} layers")
    if (config.pad or 0) >= config.vocabulary:
        raise CheckpointError(f"text_pad {config.pad}, expected less than the vocabulary's size, {config.vocabulary}")
    return config


def _shape(shapes: Shapes, name: str, ndim: int) -> Sequence[int]:
    if name not in shapes:
        raise CheckpointError(f"no tensor {name!r}: expected a model like Stable Diffusion 1.x or 2.x")
    if len(shapes[name]) != ndim:
        raise CheckpointError(f"tensor {name!r} has shape {list(shapes[name])}, expected {ndim} dimensions")
    return shapes[name]


def _count(shapes: Shapes, pattern: str) -> int:
    """How many numbers, counted from 0, stand at the group of a pattern."""
    found = {int(match[1]) for name in shapes if (match := re.match(pattern, name))}
    return len(found)
