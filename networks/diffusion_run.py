"""A model for the length of one run: what the steps have in common is computed once."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .controlnet import ControlNet
from .latent_diffusion import Conditioning, LatentDiffusion
from .reuse import Kept, Shared, SharedRows
from .unet import HalfUNet

__all__ = ["DiffusionRun"]


class DiffusionRun:
    """Answers to a sampler as its model does, and keeps what the text and the timesteps of one run become.

    Each text's keys and values are computed once for as long as the same tensors are handed in, and the embeddings of
    all `timesteps` (whole numbers, of which others may still come) in one go. On the CPU alone: elsewhere the
    timesteps would have to be read back at every step, for less than it costs.
    """

    def __init__(self, diffusion: LatentDiffusion, timesteps: Sequence[float]) -> None:
        self.diffusion = diffusion
        self.parameterization, self.num_timesteps = diffusion.parameterization, diffusion.num_timesteps
        self.betas, self.alphas_cumprod = diffusion.betas, diffusion.alphas_cumprod
        self.alphas_cumprod_prev, self.first_stage_model = diffusion.alphas_cumprod_prev, diffusion.first_stage_model
        self.scale_factor, self.q_sample = diffusion.scale_factor, diffusion.q_sample
        self._texts: dict[nn.Module, Kept] = defaultdict(Kept)
        self._hints: dict[nn.Module, Kept] = defaultdict(Kept)
        self._times = sorted({float(t) for t in timesteps})
        self._rows = {t: i for i, t in enumerate(self._times)}
        self._tables: dict[nn.Module, Shared] = {}

    @property
    def device(self) -> torch.device:
        """Where the UNet's weights are."""
        return self.diffusion.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the UNet's weights."""
        return self.diffusion.dtype

    @torch.no_grad()
    def apply_model(self, x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """As `LatentDiffusion.apply_model`."""
        unet = self.diffusion.model.diffusion_model
        return self.diffusion.predict(x, self._embedded(unet, t), cond, self._texts[unet])

    @torch.no_grad()
    def residuals(self, net: ControlNet, x: Tensor, hint: Tensor, t: Tensor, text: Tensor) -> tuple[Tensor, ...]:
        """As `net(x, hint, t, text)`, in its dtype; what it makes of hint and text is kept too."""
        hints = self._hints[net].shared([hint], len(hint), lambda: hint.to(net.dtype))
        texts = self._texts[net].shared([text], len(x), lambda: text.expand(len(x), -1, -1).to(net.dtype))
        return net(x, hints, self._embedded(net, t), texts)

    def _embedded(self, network: HalfUNet, t: Tensor) -> Tensor | Shared:
        """The timesteps (b,) as a network takes them: their embedding's rows where those are known."""
        if t.device.type != "cpu":
            return t
        times = t.tolist()
        if any(time not in self._rows for time in times):
            return t
        if network not in self._tables:
            self._tables[network] = Shared(network.embed(torch.tensor(self._times)))
        first, *others = (self._rows[time] for time in times)
        rows = slice(first, first + 1) if all(row == first for row in others) else [first, *others]
        return SharedRows(self._tables[network], rows)
