"""Latent diffusion networks, named after the published checkpoints' keys, and loading them."""

from .autoencoder import Autoencoder, AutoencoderConfig
from .checkpoint import CheckpointError, load_checkpoint, model_config, save_checkpoint
from .latent_diffusion import LatentDiffusion, ModelConfig
from .text import TextConfig, TextTransformer
from .tokenizer import WordTokenizer
from .unet import UNet, UNetConfig

__all__ = [
    "Autoencoder",
    "AutoencoderConfig",
    "CheckpointError",
    "LatentDiffusion",
    "ModelConfig",
    "TextConfig",
    "TextTransformer",
    "UNet",
    "UNetConfig",
    "WordTokenizer",
    "load_checkpoint",
    "model_config",
    "save_checkpoint",
]
