"""Latent diffusion networks, named after the published checkpoints' keys, and loading them."""

from .autoencoder import Autoencoder, AutoencoderConfig
from .blocks import Shared
from .checkpoint import (
    CheckpointError,
    load_checkpoint,
    load_controlnet,
    model_config,
    save_checkpoint,
    save_controlnet,
)
from .controlnet import ControlledDiffusion, ControlNet
from .latent_diffusion import LatentDiffusion, ModelConfig
from .text import TextConfig, TextTransformer
from .tokenizer import WordTokenizer
from .unet import UNet, UNetConfig

__all__ = [
    "Autoencoder",
    "AutoencoderConfig",
    "CheckpointError",
    "ControlNet",
    "ControlledDiffusion",
    "LatentDiffusion",
    "ModelConfig",
    "Shared",
    "TextConfig",
    "TextTransformer",
    "UNet",
    "UNetConfig",
    "WordTokenizer",
    "load_checkpoint",
    "load_controlnet",
    "model_config",
    "save_checkpoint",
    "save_controlnet",
]
