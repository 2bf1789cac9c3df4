"""A narrow model, and its weights as a diffusers folder written by diffusers and transformers."""

import json
from pathlib import Path

import torch
from comfyui_ddim.networks import AutoencoderConfig, LatentDiffusion, ModelConfig, TextConfig, UNetConfig
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from transformers import CLIPTextConfig, CLIPTextModel

NARROW = ModelConfig(
    unet=UNetConfig(channels=(32, 64), blocks=1, attention=(True, False), context=64, heads=8),
    autoencoder=AutoencoderConfig(channels=(32, 32), blocks=1),
    text=TextConfig(vocabulary=20, positions=9, width=64, layers=2, heads=1, inner=96),
)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def write_folder(model: LatentDiffusion, folder: Path, prediction: str, ending: str) -> None:
    """A diffusers folder of the model's weights, written by diffusers and transformers."""
    config, state = model.config, model.state_dict()
    unet = UNet2DConditionModel(
        block_out_channels=config.unet.channels,
        layers_per_block=1,
        down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
        cross_attention_dim=64,
        attention_head_dim=8,
    )
    unet.load_state_dict(convert_ldm_unet_checkpoint(state, unet.config))
    vae = AutoencoderKL(
        block_out_channels=(32, 32),
        layers_per_block=1,
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        scaling_factor=0.2,
    )
    vae.load_state_dict(convert_ldm_vae_checkpoint(state, vae.config))
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=20,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=1,
            max_position_embeddings=9,
            eos_token_id=1,
        )
    )
    prefix = "cond_stage_model.transformer.text_model."
    own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    text.load_state_dict({name: own[name.removeprefix("text_model.")] for name in text.state_dict()})
    safe, variant = "safetensors" in ending, "fp16" if "fp16" in ending else None
    unet.save_pretrained(folder / "unet", safe_serialization=safe, variant=variant)
    vae.save_pretrained(folder / "vae", safe_serialization=safe, variant=variant)
    text.save_pretrained(folder / "text_encoder")
    scheduler = DDIMScheduler(
        beta_start=0.0008, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction
    )
    scheduler.save_pretrained(folder / "scheduler")
    parts = {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    index = {"_class_name": "StableDiffusionPipeline", "text_encoder": ["transformers", "CLIPTextModel"], **parts}
    (folder / "model_index.json").write_text(json.dumps(index))
