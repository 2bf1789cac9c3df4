"""Latent diffusion networks, named after the published checkpoints' keys, and loading them."""

from .autoencoder import Autoencoder, AutoencoderConfig
from .checkpoint import load_autoencoder, load_checkpoint, load_controlnet, save_checkpoint, save_controlnet
from .containers import CheckpointError
from .controlnet import ControlledDiffusion, ControlNet, control_scales
from .diffusion_run import DiffusionRun
from .families import model_config
from .latent_diffusion import LatentDiffusion, ModelConfig
from .memory import NotEnoughMemory
from .precision import best_dtype, cpu_has_bfloat16
from .sharing import Kept, Shared
from .text import TextConfig, TextTransformer
from .tokenizer import WordTokenizer
from .unet import UNet, UNetConfig

__all__ = [
    "Autoencoder",
    "AutoencoderConfig",
    "CheckpointError",
    "ControlNet",
    "ControlledDiffusion",
    "DiffusionRun",
    "Kept",
    "LatentDiffusion",
    "ModelConfig",
    "NotEnoughMemory",
    "Shared",
    "TextConfig",
    "TextTransformer",
    "UNet",
    "UNetConfig",
    "WordTokenizer",
    "best_dtype",
    "control_scales",
    "cpu_has_bfloat16",
    "load_autoencoder",
    "load_checkpoint",
    "load_controlnet",
    "model_config",
    "save_checkpoint",
    "save_controlnet",
]
