"""The CLIP text transformer, its attributes named as in published checkpoints (`cond_stage_model.transformer.*`).

Architecture: Radford et al. 2021 (arXiv 2103.00020), section 2.4: causal, normalised before each part; quick GELU in
CLIP (Stable Diffusion 1.x), GELU in OpenCLIP (2.x).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

__all__ = ["OPEN_CLIP_H", "TextConfig", "TextTransformer"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "gelu": F.gelu,
}


@dataclass(frozen=True)
class TextConfig:
    """What a text transformer consists of; the defaults are those of Stable Diffusion 1.x (CLIP ViT-L/14).

    `skip` says which layer the model was trained on, counted from the end: 1 is the last one, 2 the last but one.
    `cut` is how many layers a file leaves out behind its `layers`: what is counted from the end counts them too.
    `pad` is the id that fills a row, None for the end token.
    """

    vocabulary: int = 49408
    positions: int = 77
    width: int = 768
    layers: int = 12
    heads: int = 12
    inner: int = 3072
    activation: str = "quick_gelu"
    skip: int = 1
    cut: int = 0
    pad: int | None = None


OPEN_CLIP_H = TextConfig(width=1024, layers=24, heads=16, inner=4096, activation="gelu", skip=2, pad=0)
"""The text transformer of Stable Diffusion 2.x (OpenCLIP ViT-H/14)."""


class SelfAttention(nn.Module):
    """Causal self-attention of (b, n, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            rearrange(f(x), "b n (h d) -> b h n d", h=self.heads) for f in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(rearrange(out, "b h n d -> b n (h d)"))


class Mlp(nn.Module):
    """(b, n, width) -> (b, n, width) with the activation between."""

    def __init__(self, width: int, inner: int, activation: str) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"text encoder's activation {activation!r}, expected one of {', '.join(ACTIVATIONS)}")
        self.activation = ACTIVATIONS[activation]
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class EncoderLayer(nn.Module):
    """One transformer layer."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config.width, config.heads)
        self.layer_norm1 = nn.LayerNorm(config.width)
        self.mlp = Mlp(config.width, config.inner, config.activation)
        self.layer_norm2 = nn.LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Embedding(nn.Embedding):
    """A table of vectors, not drawn on the meta device: doing that there costs torch a second of imports."""

    def reset_parameters(self) -> None:
        """Draw the vectors, where there is memory for them."""
        if not self.weight.is_meta:
            super().reset_parameters()


class Embeddings(nn.Module):
    """Token ids (b, n), or vectors (b, n, width) in their place, to vectors that know their position."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = Embedding(config.vocabulary, config.width)
        self.position_embedding = Embedding(config.positions, config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        vectors = tokens if tokens.is_floating_point() else self.token_embedding(tokens)
        return vectors + self.position_embedding.weight[: tokens.shape[1]]


class Encoder(nn.Module):
    """The transformer's layers, in order."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))

    def forward(self, x: Tensor, count: int) -> Tensor:
        for layer in islice(self.layers, count):
            x = layer(x)
        return x


class TextModel(nn.Module):
    """Embeddings, layers and the final norm."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, tokens: Tensor, count: int) -> Tensor:
        return self.final_layer_norm(self.encoder(self.embeddings(tokens), count))


class TextTransformer(nn.Module):
    """Token ids (b, n), n at most `positions`, to a hidden state (b, n, width)."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.text_model = TextModel(config)

    def forward(self, tokens: Tensor, skip: int = 1) -> Tensor:
        """What a layer gives, through the final norm: `skip` 1 is the last layer, 2 the last but one.

        `tokens` are ids (b, n) or the vectors (b, n, width) that stand for them. A layer that the file leaves out is
        answered by the last one there is. Raises ValueError for a `skip` beyond the layers.
        """
        layers = self.config.layers + self.config.cut
        if not 1 <= skip <= layers:
            raise ValueError(f"skip {skip!r}, expected 1 to {layers}: the text encoder has no more layers")
        return self.text_model(tokens, layers + 1 - skip)
