"""ControlNet: a copy of a UNet's first half that turns a hint picture into residuals for the UNet.

Zhang et al. 2023, arXiv 2302.05543; attributes named as in published checkpoints (`control_model.*`).
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from .latent_diffusion import Conditioning, LatentDiffusion
from .reuse import Shared
from .unet import HalfUNet, UNet, UNetConfig, shared

__all__ = ["ControlNet", "ControlledDiffusion"]

HINT_WIDTHS = (16, 16, 32, 32, 96, 96, 256)
HINT_STRIDES = (1, 1, 2, 1, 2, 1, 2)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    """The convolution with all weights 0, so that training starts from the untouched UNet."""
    for parameter in layer.parameters():
        if not parameter.is_meta:
            nn.init.zeros_(parameter)
    return layer


def _hint_block(channels: int, hint_channels: int) -> nn.Sequential:
    """(b, 3, 8h, 8w) -> (b, channels, h, w)."""
    layers: list[nn.Module] = []
    for c_in, c_out, stride in zip((hint_channels, *HINT_WIDTHS), HINT_WIDTHS, HINT_STRIDES, strict=False):
        layers += [nn.Conv2d(c_in, c_out, 3, padding=1, stride=stride), nn.SiLU()]
    return nn.Sequential(*layers, _zero(nn.Conv2d(HINT_WIDTHS[-1], channels, 3, padding=1)))


class ControlNet(HalfUNet):
    """Residuals for a UNet of the same `config` from latents, a hint picture, timesteps and text.

    A new one's residuals are all 0: its last convolutions are. `config.out_channels` has no meaning here.
    """

    factor = 8
    """Pixels of the hint per latent, along each side."""

    def __init__(self, config: UNetConfig, hint_channels: int = 3) -> None:
        super().__init__(config)
        self.input_hint_block = _hint_block(config.channels[0], hint_channels)
        self.zero_convs = nn.ModuleList(nn.Sequential(_zero(nn.Conv2d(width, width, 1))) for width in self.widths)
        self.middle_block_out = nn.Sequential(_zero(nn.Conv2d(self.widths[-1], self.widths[-1], 1)))

    @classmethod
    def copy_of(cls, unet: UNet) -> "ControlNet":
        """A ControlNet to train: the UNet's first half with its weights, and zero convolutions."""
        net = cls(unet.config).to(unet.out[2].weight)
        own = net.state_dict()
        net.load_state_dict({name: value for name, value in unet.state_dict().items() if name in own}, strict=False)
        return net

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.middle_block_out[0].weight.dtype

    def forward(
        self, x: Tensor, hint: Tensor | Shared, t: Tensor | Shared, context: Tensor | Shared
    ) -> tuple[Tensor, ...]:
        """Unscaled residuals: one per input block, finest first, and the middle's.

        `x` (b, c, h, w) noisy latents, `hint` (b or 1, 3, 8h, 8w) in [0, 1], `t` (b,) or, shared, what `embed` makes of
        it, `context` (b, n, width).
        Raises ValueError for a hint or context of another size.
        """
        hint, context = shared(hint), shared(context)
        self._check(x, hint.value, context.value)
        emb = t if isinstance(t, Shared) else Shared(self.embed(t))
        residuals = []
        for stage, zero in zip(self.input_blocks, self.zero_convs, strict=True):
            x = stage(x, emb, context)
            if not residuals:
                x = x + hint.of(self, self.input_hint_block)
            residuals.append(zero(x))
        residuals.append(self.middle_block_out(self.middle_block(x, emb, context)))
        return tuple(residuals)

    def _check(self, x: Tensor, hint: Tensor, context: Tensor) -> None:
        channels = self.input_hint_block[0].in_channels
        wanted = (channels, self.factor * x.shape[2], self.factor * x.shape[3])
        if hint.ndim != 4 or tuple(hint.shape[1:]) != wanted or hint.shape[0] not in (1, x.shape[0]):
            raise ValueError(f"hint of shape {tuple(hint.shape)}, expected ({x.shape[0]} or 1, {str(wanted)[1:]}")
        if x.shape[1] != self.config.in_channels:
            raise ValueError(
                f"latents of {x.shape[1]} channels, expected {self.config.in_channels} for this ControlNet"
            )
        if context.shape[-1] != self.config.context:
            raise ValueError(
                f"text embeddings of width {context.shape[-1]}, expected {self.config.context}: "
                "this ControlNet was made for another kind of model"
            )


GUESS_DECAY = 0.825
"""From each level to the next finer one, in the published guess mode."""


def control_scales(count: int, strength: float, guess: bool) -> list[float]:
    """Factors on a ControlNet's residuals, finest first, middle last: `strength`, with `guess` less the finer they are.

    The i-th of n is then strength 0.825^(n - 1 - i) (published code of Zhang et al. 2023, guess mode).
    """
    return [strength * (GUESS_DECAY ** (count - 1 - i) if guess else 1.0) for i in range(count)]


class ControlledDiffusion:
    """A model and its ControlNet as one, answering to a DDIM sampler as the published `ControlLDM` does.

    Its conditioning is {"c_crossattn": [text (b, n, width)], "c_concat": [hint (b, 3, 8h, 8w) in [0, 1]] or None};
    None is the model without control. The attribute `control_scales` has the factors on the residuals (see the
    function of that name); in the published guess mode the unconditional half goes without a hint, too.
    """

    def __init__(
        self, diffusion: LatentDiffusion, controlnet: ControlNet, strength: float = 1.0, guess: bool = False
    ) -> None:
        """Raises ValueError where the two aren't of one family."""
        model, net = diffusion.config.unet, controlnet.config
        if replace(net, out_channels=model.out_channels) != model:
            raise ValueError(f"a ControlNet for {net}, expected one for {model}")
        self.diffusion, self.controlnet = diffusion, controlnet
        self.parameterization, self.num_timesteps = diffusion.parameterization, diffusion.num_timesteps
        self.betas, self.alphas_cumprod = diffusion.betas, diffusion.alphas_cumprod
        self.alphas_cumprod_prev, self.first_stage_model = diffusion.alphas_cumprod_prev, diffusion.first_stage_model
        self.control_scales = control_scales(len(controlnet.zero_convs) + 1, strength, guess)

    @property
    def device(self) -> torch.device:
        """Where the UNet's weights are."""
        return self.diffusion.device

    def q_sample(self, x_start: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """x_t of scaled latents, the model's own."""
        return self.diffusion.q_sample(x_start, t, noise)

    def apply_model(self, x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """The UNet's prediction for x (b, c, h, w) at timesteps t (b,), under text and hint."""
        if not isinstance(cond, dict):
            return self.diffusion.apply_model(x, t, cond)
        text, hints = cond["c_crossattn"], cond.get("c_concat")
        if hints is None:
            return self.diffusion.apply_model(x, t, {"c_crossattn": text})
        net = self.controlnet
        context = torch.cat(list(text), dim=1).to(net.dtype)
        residuals = net(x, torch.cat(list(hints), dim=1).to(net.dtype), t, context)
        control = [scale * residual for scale, residual in zip(self.control_scales, residuals, strict=True)]
        return self.diffusion.apply_model(x, t, {"c_crossattn": text, "control": control})
