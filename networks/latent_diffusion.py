"""A latent diffusion model as one object: UNet, autoencoder, text transformer, and the training noise schedule."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from .autoencoder import Autoencoder, AutoencoderConfig
from .missing import Missing
from .reuse import Kept, Shared
from .text.clip_tokenizer import ClipTokenizer
from .text.encoder import TextConfig, TextTransformer
from .text.prompt import Chunk, Tokenizer, encode, tokenize
from .text.word_tokenizer import WordTokenizer
from .unet import UNet, UNetConfig

__all__ = ["Conditioning", "LatentDiffusion", "ModelConfig"]

NO_UNET = "UNet", "take MODEL from a checkpoint that has one"
NO_AUTOENCODER = "autoencoder", "load one with VAELoader, and take VAE from there"
NO_TEXT = "text encoder", "take CLIP from a checkpoint that has one"

Conditioning = Tensor | Mapping[str, Sequence[Tensor] | None]
"""Text alone, or the published dict: see `LatentDiffusion.apply_model`."""


@dataclass(frozen=True)
class ModelConfig:
    """What a latent diffusion model consists of; the defaults are Stable Diffusion 1.x.

    `parameterization` is what the UNet predicts ("eps", "v"); `scale_factor` turns the autoencoder's latents into
    the UNet's (unit variance); `vocabulary` is the word list of a `WordTokenizer`, empty for a model that reads CLIP's.
    A network that is None isn't there: using it raises MissingPart, a ValueError.
    """

    unet: UNetConfig | None = field(default_factory=UNetConfig)
    autoencoder: AutoencoderConfig | None = field(default_factory=AutoencoderConfig)
    text: TextConfig | None = field(default_factory=TextConfig)
    parameterization: str = "eps"
    scale_factor: float = 0.18215
    timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    vocabulary: tuple[str, ...] = ()


class _Wrapped(nn.Module):
    """Holds one network under the name that published checkpoints give it."""

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        setattr(self, name, network)


def _tokenizer(config: ModelConfig) -> Tokenizer:
    length = config.text.positions
    return WordTokenizer(config.vocabulary, length) if config.vocabulary else ClipTokenizer(length, config.text.pad)


class LatentDiffusion(nn.Module):
    """Answers to what a DDIM sampler asks of a model: `apply_model`, `q_sample`, the betas and their products.

    Latents are (b, 4, h/8, w/8); those of `apply_model` and `q_sample` are scaled, those of `encode_picture` and
    `decode_latent` are not. The schedule is the scaled-linear one of Stable Diffusion: betas are the squares of
    numbers evenly spaced from sqrt(beta_start) to sqrt(beta_end), in float64.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        unet, autoencoder, text = config.unet, config.autoencoder, config.text
        self.model = _Wrapped("diffusion_model", Missing(*NO_UNET) if unet is None else UNet(unet))
        self.first_stage_model = Missing(*NO_AUTOENCODER) if autoencoder is None else Autoencoder(autoencoder)
        self.cond_stage_model = _Wrapped("transformer", Missing(*NO_TEXT) if text is None else TextTransformer(text))
        self.parameterization = config.parameterization
        self.scale_factor = config.scale_factor
        self.num_timesteps = config.timesteps
        self.tokenizer: Tokenizer = _tokenizer(config) if text is not None else self.cond_stage_model.transformer
        betas = np.linspace(config.beta_start**0.5, config.beta_end**0.5, config.timesteps) ** 2
        alphas_cumprod = np.cumprod(1 - betas)
        # Plain attributes, not buffers: on the meta device, or after .half(), buffers would lose them.
        self.betas = torch.from_numpy(betas)
        self.alphas_cumprod = torch.from_numpy(alphas_cumprod)
        self.alphas_cumprod_prev = torch.from_numpy(np.append(1.0, alphas_cumprod[:-1]))

    @property
    def device(self) -> torch.device:
        """Where the UNet's weights are."""
        return self._weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the UNet's weights."""
        return self._weight.dtype

    @property
    def _weight(self) -> Tensor:
        """The UNet's first one, or that of what there is in its place."""
        return next(itertools.chain(self.model.parameters(), self.parameters()))

    def apply_model(self, x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """The UNet's prediction for scaled latents x (b, c, h, w) at timesteps t (b,), like x.

        `cond` is the text (b or 1, n, width) or a dict of `c_crossattn`: [texts, joined along n]; `c_concat`:
        [(b or 1, c, h, w), joined to x's channels] for models that were trained for it; `control`: residuals as a
        ControlNet gives them, scaled and summed. Raises ValueError where the channels don't add up.
        """
        return self.predict(x, t, cond)

    def predict(self, x: Tensor, t: Tensor | Shared, cond: Conditioning, texts: Kept | None = None) -> Tensor:
        """`apply_model`, with timesteps that may be shared embeddings already, and texts that are kept for a run."""
        parts = cond if isinstance(cond, Mapping) else {"c_crossattn": [cond]}
        given, control = parts["c_crossattn"], parts.get("control")
        given = list(given) if isinstance(given, list | tuple) else [given]

        def context() -> Tensor:
            joined = given[0] if len(given) == 1 else torch.cat(given, dim=1)
            return joined.expand(len(x), -1, -1).to(self.dtype)

        if control is not None:
            control = [residual.to(self.dtype) for residual in control]
        text = context() if texts is None else texts.shared(given, len(x), context)
        return self.model.diffusion_model(self._input(x, parts.get("c_concat")), t, text, control).to(x.dtype)

    def _input(self, x: Tensor, concat: Sequence[Tensor] | None) -> Tensor:
        """x and what is joined to its channels."""
        parts = [x, *(part.expand(len(x), -1, -1, -1) for part in concat or ())]
        channels, expected = [part.shape[1] for part in parts], self.model.diffusion_model.config.in_channels
        if sum(channels) != expected:
            more = ": an inpainting model needs c_concat, the mask and the masked image's latent"
            raise ValueError(
                f"latents and c_concat of {channels} channels, expected {expected} in all"
                + (more if len(parts) == 1 and expected > channels[0] else "")
            )
        return torch.cat([part.to(x.dtype) for part in parts], dim=1) if len(parts) > 1 else x

    def q_sample(self, x_start: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """x_t of scaled latents x_start at timesteps t (b,): sqrt(a) x0 + sqrt(1 - a) noise (Ho et al. 2020, eq. 4)."""
        noise = torch.randn_like(x_start) if noise is None else noise
        shape, a = (-1,) + (1,) * (x_start.ndim - 1), self.alphas_cumprod
        signal, sigma = (level.to(x_start)[t.to(x_start.device)].reshape(shape) for level in (a.sqrt(), (1 - a).sqrt()))
        return signal * x_start + sigma * noise

    def encode_text(self, texts: Sequence[str], skip: int | None = None) -> Tensor:
        """Prompts to conditioning (b, n, width) in float32: weights, long texts and `skip` as `encode_tokens` has them.

        Raises ValueError where the model needs a vocabulary that isn't installed.
        """
        return self.encode_tokens([tokenize(text, self.tokenizer) for text in texts], skip)

    @torch.no_grad()
    def encode_tokens(self, prompts: Sequence[Sequence[Chunk]], skip: int | None = None) -> Tensor:
        """Prompts that `prompt.tokenize` laid out, to conditioning (b, n, width) in float32.

        `skip` counts the text encoder's layers from the end, 1 is the last; None is what the model was trained on.
        """
        skip = self.cond_stage_model.transformer.config.skip if skip is None else skip
        return encode(self.cond_stage_model.transformer, prompts, self.tokenizer, skip)

    def encode_picture(self, x: Tensor) -> Tensor:
        """Pictures (b, 3, h, w) in [-1, 1] to unscaled latents: the mean, without noise."""
        return self.first_stage_model.latent(x)

    def decode_latent(self, z: Tensor) -> Tensor:
        """Unscaled latents to pictures (b, 3, h, w), clamped to [-1, 1]."""
        return self.first_stage_model.picture(z)
