"""Latent diffusion networks, named after the published checkpoints' keys, and loading them."""

from .autoencoder import Autoencoder, AutoencoderConfig
from .controlnet import ControlledDiffusion, ControlNet, control_scales
from .device import NotEnoughMemory, best_dtype, cpu_has_bfloat16
from .diffusion_run import DiffusionRun
from .latent_diffusion import LatentDiffusion, ModelConfig
from .loading.checkpoint import load_autoencoder, load_checkpoint, load_controlnet, save_checkpoint, save_controlnet
from .loading.detection import model_config
from .loading.lora import load_lora
from .loading.tensor_file import CheckpointError
from .lora import lora_weights, with_loras
from .openvino import use_openvino
from .reuse import Kept, Shared
from .text.encoder import TextConfig, TextTransformer
from .text.word_tokenizer import WordTokenizer
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
    "load_lora",
    "lora_weights",
    "model_config",
    "save_checkpoint",
    "save_controlnet",
    "use_openvino",
    "with_loras",
]
