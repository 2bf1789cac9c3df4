"""The UNet with spatial transformers, its attributes named as in published checkpoints (`model.diffusion_model.*`).

Architecture: Rombach et al. 2021 (arXiv 2112.10752), section 3.3, in the form that Stable Diffusion published.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .blocks import Downsample, ResBlock, SpatialTransformer, Stage, Upsample, timestep_embedding
from .convolutions import FirstConvolution, LastConvolution
from .reuse import Shared

__all__ = ["HalfUNet", "UNet", "UNetConfig", "timestep_embedding"]


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of a UNet; the defaults are Stable Diffusion 1.x.

    `attention[i]` says whether level i has transformers. Every transformer has `heads` heads or, where `head_width`
    isn't 0, as many as that width makes of its channels (Stable Diffusion 2.x: 64). `linear_projection` is true where
    proj_in and proj_out are linear layers (Stable Diffusion 2.x) rather than 1 x 1 convolutions.
    """

    in_channels: int = 4
    out_channels: int = 4
    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    blocks: int = 2
    attention: tuple[bool, ...] = (True, True, True, False)
    depth: int = 1
    context: int = 768
    heads: int = 8
    linear_projection: bool = False
    head_width: int = 0

    def transformer(self, channels: int) -> SpatialTransformer:
        """The transformers of a place with so many channels."""
        heads = channels // self.head_width if self.head_width else self.heads
        return SpatialTransformer(channels, self.context, heads, self.depth, self.linear_projection)

    def stage(self, c_in: int, c_out: int, level: int) -> Stage:
        """A residual block of a level, with its transformers."""
        layers: list[nn.Module] = [ResBlock(c_in, c_out, 4 * self.channels[0])]
        if self.attention[level]:
            layers.append(self.transformer(c_out))
        return Stage(*layers)


class HalfUNet(nn.Module):
    """What a UNet and a ControlNet have in common: the time embedding, the way down and the middle.

    `widths` are the channels after each of `input_blocks`.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        embed = 4 * channels[0]
        self.time_embed = nn.Sequential(nn.Linear(channels[0], embed), nn.SiLU(), nn.Linear(embed, embed))
        self.input_blocks = nn.ModuleList([Stage(FirstConvolution(config.in_channels, channels[0], 3, padding=1))])
        self.widths = [channels[0]]
        for level, width in enumerate(channels):
            for _ in range(config.blocks):
                self.input_blocks.append(config.stage(self.widths[-1], width, level))
                self.widths.append(width)
            if level < len(channels) - 1:
                self.input_blocks.append(Stage(Downsample(width)))
                self.widths.append(width)
        self.middle_block = Stage(
            ResBlock(width, width, embed), config.transformer(width), ResBlock(width, width, embed)
        )

    def embed(self, t: Tensor) -> Tensor:
        """Time embedding (b, 4 channels[0]) of timesteps (b,)."""
        return self.time_embed(timestep_embedding(t, self.config.channels[0]).to(self.time_embed[0].weight.dtype))


def shared(value: Tensor | Shared) -> Shared:
    """A plain tensor as one that is shared within a call."""
    return value if isinstance(value, Shared) else Shared(value)


class UNet(HalfUNet):
    """Predicts from noisy latents x (b, c, h, w), timesteps t (b,) and text (b, n, context) a tensor like x."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        channels, kept, width = config.channels, self.widths.copy(), self.widths[-1]
        self.output_blocks = nn.ModuleList()
        for level, out in reversed(list(enumerate(channels))):
            for block in range(config.blocks + 1):
                stage = config.stage(width + kept.pop(), out, level)
                if level and block == config.blocks:
                    stage.append(Upsample(out))
                self.output_blocks.append(stage)
                width = out
        out_convolution = LastConvolution(channels[0], config.out_channels, 3, padding=1)
        self.out = nn.Sequential(nn.GroupNorm(32, channels[0]), nn.SiLU(inplace=True), out_convolution)

    def forward(
        self,
        x: Tensor,
        t: Tensor | Shared,
        context: Tensor | Shared,
        control: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """The prediction, like x, in float32 at least. Instead of `t`, what `embed` makes of it can be given, shared.

        `control` has residuals as a `ControlNet` gives them: one to add to each input block's result on its way
        across, and one for the middle (Zhang et al. 2023, arXiv 2302.05543, section 3.2).
        """
        emb, context = t if isinstance(t, Shared) else Shared(self.embed(t)), shared(context)
        control = self._fitting(control)
        skips: list[Tensor] = []
        for stage in self.input_blocks:
            x = stage(x, emb, context)
            skips.append(x)
        x = self.middle_block(x, emb, context)
        if control:
            x = x + control.pop()
        for stage in self.output_blocks:
            skip = skips.pop()
            x = torch.cat([x, skip + control.pop() if control else skip], dim=1)
            x = stage(x, emb, context, skips[-1].shape[2:] if skips else None)
        return self.out(x)

    def _fitting(self, control: Sequence[Tensor] | None) -> list[Tensor]:
        if control is None:
            return []
        wanted = [*self.widths, self.widths[-1]]
        came = [residual.shape[1] for residual in control]
        if came != wanted:
            raise ValueError(f"control has residuals of {came} channels, expected {wanted}: a ControlNet of this UNet")
        return list(control)
