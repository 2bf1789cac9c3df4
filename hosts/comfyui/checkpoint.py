"""Checkpoints inside ComfyUI: its own way for all but this package's small ones, whose sizes it can't guess.

A small checkpoint is one with this package's metadata. It becomes ComfyUI's own objects, of the kind that a Stable
Diffusion 1.5 checkpoint becomes, with the file's sizes, heads and words in place of those.
"""

from functools import partial
from pathlib import Path

import comfy.clip_model
import comfy.latent_formats
import comfy.model_base
import comfy.model_detection
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import comfy.utils
import folder_paths
import torch
from einops import rearrange
from safetensors import safe_open

from ...networks import AutoencoderConfig, CheckpointError, ModelConfig, TextConfig, WordTokenizer, model_config

__all__ = ["load_checkpoint"]

METADATA, UNET, AUTOENCODER = "comfyui_ddim", "model.diffusion_model.", "first_stage_model."


def load_checkpoint(path: Path) -> tuple:
    """ComfyUI's MODEL, CLIP and VAE of a file; CheckpointError (a ValueError) for one that isn't there."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, expected a checkpoint")
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            if METADATA in (file.metadata() or {}):
                return load_small(path)
    embeddings = folder_paths.get_folder_paths("embeddings")
    return comfy.sd.load_checkpoint_guess_config(str(path), embedding_directory=embeddings)[:3]


def load_small(path: Path) -> tuple:
    """MODEL, CLIP and VAE of a checkpoint with this package's metadata; None for a CLIP or VAE that it doesn't have."""
    tensors, metadata = comfy.utils.load_torch_file(str(path), return_metadata=True)
    try:
        config = model_config({name: tensor.shape for name, tensor in tensors.items()}, metadata)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if config.unet is None:
        raise CheckpointError(f"{path}: no UNet in it, expected a checkpoint with one")
    known = SmallModel(config, comfy.model_detection.detect_unet_config(tensors, UNET))
    clip = load_clip(config, known.process_clip_state_dict(tensors)) if config.text else None
    vae = load_vae(config.autoencoder, tensors) if config.autoencoder else None
    known.latent_format.taesd_decoder_name = None  # Stable Diffusion's, of other latents
    if vae is not None:
        known.latent_format.latent_rgb_factors, known.latent_format.latent_rgb_factors_bias = preview_colours(
            vae, config.scale_factor
        )
    return load_model(known, tensors), clip, vae


class SmallModel(comfy.supported_models.SD15):
    """What ComfyUI knows of a family of models, from a small model's configuration."""

    def __init__(self, config: ModelConfig, unet_config: dict) -> None:
        super().__init__(unet_config)
        self.unet_config["num_heads"] = config.unet.heads
        self.latent_format = comfy.latent_formats.SD15(config.scale_factor)
        self.parameterization = config.parameterization

    def model_type(self, state_dict: dict, prefix: str = "") -> comfy.model_base.ModelType:
        """What the UNet predicts."""
        types = comfy.model_base.ModelType
        return types.V_PREDICTION if self.parameterization == "v" else types.EPS


def load_model(known: SmallModel, tensors: dict) -> comfy.model_patcher.ModelPatcher:
    """MODEL, from the checkpoint's tensors (taken out of the dict)."""
    management = comfy.model_management
    device, size = management.get_torch_device(), comfy.utils.calculate_parameters(tensors, UNET)
    supported = known.supported_inference_dtypes
    dtype = management.unet_dtype(
        model_params=size, supported_dtypes=supported, weight_dtype=comfy.utils.weight_dtype(tensors, UNET)
    )
    known.set_inference_dtype(dtype, management.unet_manual_cast(dtype, device, supported))
    model = known.get_model(tensors, UNET, device=management.unet_inital_load_device(size, dtype))
    model.load_model_weights(tensors, UNET)
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=management.unet_offload_device())


def load_vae(config: AutoencoderConfig, tensors: dict) -> comfy.sd.VAE:
    """VAE, from the checkpoint's tensors (taken out of the dict)."""
    width = config.channels[0]
    if any(channels % width for channels in config.channels):
        raise CheckpointError(f"an autoencoder of {config.channels} channels, expected multiples of the first")
    sizes = {
        "double_z": True,
        "z_channels": config.latent_channels,
        "resolution": 256,
        "in_channels": config.image_channels,
        "out_ch": config.image_channels,
        "ch": width,
        "ch_mult": [channels // width for channels in config.channels],
        "num_res_blocks": config.blocks,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    own = comfy.utils.state_dict_prefix_replace(tensors, {AUTOENCODER: ""}, filter_keys=True)
    vae = comfy.sd.VAE(sd=own, config={"params": {"ddconfig": sizes, "embed_dim": config.embed_channels}})
    vae.downscale_ratio = vae.upscale_ratio = config.factor
    vae.latent_channels = config.latent_channels
    return vae


@torch.no_grad()
def preview_colours(vae: comfy.sd.VAE, scale: float) -> tuple[list[list[float]], list[float]]:
    """Factors (channels, 3) and bias (3) from scaled latents to colours in [-1, 1], for ComfyUI's live preview.

    Fitted to what the encoder makes of 64 squares of random colours: latents as images have them.
    """
    squares = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    colours = torch.nn.functional.interpolate(squares, scale_factor=2)  # a square is two latents wide
    pixels = torch.nn.functional.interpolate(colours, scale_factor=vae.downscale_ratio)
    latents = vae.encode(pixels.movedim(1, -1)).cpu().float() * scale
    rows, wanted = (rearrange(grid, "b c h w -> (b h w) c") for grid in (latents, colours * 2 - 1))
    fit = torch.linalg.lstsq(torch.nn.functional.pad(rows, (0, 1), value=1.0), wanted).solution
    return fit[:-1].tolist(), fit[-1].tolist()


class SmallTextModel(comfy.clip_model.CLIPTextModel):
    """ComfyUI's text transformer with a vocabulary of another size than CLIP's."""

    def __init__(self, config: dict, dtype, device, operations) -> None:
        super().__init__(config, dtype, device, operations)
        size, width = config["vocab_size"], config["hidden_size"]
        self.set_input_embeddings(operations.Embedding(size, width, dtype=dtype, device=device))


class Words:
    """A `WordTokenizer` that answers as the tokenizers do which ComfyUI's `SDTokenizer` loads."""

    def __init__(self, config: ModelConfig) -> None:
        self.tokenizer = WordTokenizer(config.vocabulary, config.text.positions)

    def from_pretrained(self, path: str) -> "Words":
        """Itself: its words came with the checkpoint."""
        return self

    def __call__(self, text: str) -> dict[str, list[int]]:
        """Ids, from the start token to the end token."""
        return {"input_ids": [0, *self.tokenizer.words(text), 1]}

    def get_vocab(self) -> dict[str, int]:
        """Ids by word."""
        return {word: i for i, word in enumerate(self.tokenizer.vocabulary)}


def load_clip(config: ModelConfig, tensors: dict) -> comfy.sd.CLIP:
    """CLIP, from the text encoder's tensors as ComfyUI names them."""
    text = config.text
    encoder = partial(
        comfy.sd1_clip.SDClipModel,
        max_length=text.positions,
        textmodel_json_config=text_sizes(text),
        model_class=SmallTextModel,
        special_tokens={"start": 0, "end": 1, "pad": 1},
        return_projected_pooled=False,
    )
    tokenizer = partial(
        comfy.sd1_clip.SDTokenizer,
        max_length=text.positions,
        embedding_size=text.width,
        tokenizer_class=Words(config),
    )
    clip = comfy.sd.CLIP(
        comfy.supported_models_base.ClipTarget(
            partial(comfy.sd1_clip.SD1Tokenizer, tokenizer=tokenizer),
            partial(comfy.sd1_clip.SD1ClipModel, clip_model=encoder),
        ),
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        parameters=comfy.utils.calculate_parameters(tensors),
    )
    clip.load_sd(tensors, full_model=True)
    return clip


def text_sizes(config: TextConfig) -> dict:
    """A text transformer's sizes, by the names that ComfyUI reads."""
    return {
        "hidden_size": config.width,
        "intermediate_size": config.inner,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "max_position_embeddings": config.positions,
        "vocab_size": config.vocabulary,
        "eos_token_id": 1,
        "hidden_act": "quick_gelu",
    }
