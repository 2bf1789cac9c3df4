"""The CLIP text transformer, its attributes named as in published checkpoints (`cond_stage_model.transformer.*`).

Architecture: Radford et al. 2021 (arXiv 2103.00020), section 2.4: causal, normalised before each part, quick GELU.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

__all__ = ["TextConfig", "TextTransformer"]


@dataclass(frozen=True)
class TextConfig:
    """Sizes of a text transformer; the defaults are those of Stable Diffusion 1.x (CLIP ViT-L/14)."""

    vocabulary: int = 49408
    positions: int = 77
    width: int = 768
    layers: int = 12
    heads: int = 12
    inner: int = 3072


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
    """(b, n, width) -> (b, n, width) with x * sigmoid(1.702 x) between."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x)
        return self.fc2(h * torch.sigmoid(1.702 * h))


class EncoderLayer(nn.Module):
    """One transformer layer."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config.width, config.heads)
        self.layer_norm1 = nn.LayerNorm(config.width)
        self.mlp = Mlp(config.width, config.inner)
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
    """Token ids (b, n) to vectors (b, n, width)."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = Embedding(config.vocabulary, config.width)
        self.position_embedding = Embedding(config.positions, config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]]


class Encoder(nn.Module):
    """The transformer's layers, in order."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class TextModel(nn.Module):
    """Embeddings, layers and the final norm."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.final_layer_norm(self.encoder(self.embeddings(tokens)))


class TextTransformer(nn.Module):
    """Token ids (b, n), n at most `positions`, to the last hidden state (b, n, width)."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.text_model = TextModel(config)

    def forward(self, tokens: Tensor) -> Tensor:
        """The normalised last hidden state, which Stable Diffusion 1.x conditions on."""
        return self.text_model(tokens)
