"""Training the demo's text transformer and UNet on the frozen autoencoder's latents."""

import copy
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..networks.autoencoder import Autoencoder
from ..networks.latent_diffusion import LatentDiffusion, ModelConfig
from ..networks.text.encoder import TextConfig, TextTransformer
from ..networks.text.word_tokenizer import WordTokenizer
from ..networks.unet import UNet, UNetConfig
from .loop import Budget, train
from .scenes import Scene, caption
from .train_autoencoder import CONFIG as AUTOENCODER
from .words import LABELS, VOCABULARY, label_indices

__all__ = ["MODEL", "NoiseLevels", "finished", "standardise", "train_text", "train_unet", "untrained"]

MODEL = ModelConfig(
    unet=UNetConfig(channels=(128, 128, 128), blocks=1, attention=(False, True, False), context=128, heads=4),
    autoencoder=AUTOENCODER,
    text=TextConfig(vocabulary=len(VOCABULARY), positions=77, width=128, layers=2, heads=4, inner=512),
    vocabulary=VOCABULARY,
)
PROMPT_DROPOUT = 0.1
SNR_CAP = 5.0


@torch.no_grad()
def standardise(autoencoder: Autoencoder, means: Tensor, scale_factor: float) -> tuple[Autoencoder, Tensor, Tensor]:
    """Make the latents zero-mean and unit-variance per channel after `scale_factor`, by the 1 x 1 convolutions alone.

    `means` (n, 4, h, w) are latents of many pictures. Returns the changed copy and the shift and gain (4,) by which
    z_new = (z - shift) * gain.
    """
    shift = means.mean(dim=(0, 2, 3))
    gain = 1 / (means.std(dim=(0, 2, 3)) * scale_factor)
    result = copy.deepcopy(autoencoder)
    quant, post = result.quant_conv, result.post_quant_conv
    n = len(shift)
    quant.weight[:n] *= gain[:, None, None, None]
    quant.bias[:n] = (quant.bias[:n] - shift) * gain
    quant.bias[n:] += 2 * gain.log()
    post.bias += post.weight[:, :, 0, 0] @ shift
    post.weight /= gain[None, :, None, None]
    return result, shift, gain


class _Reader(nn.Module):
    """Guesses a scene's labels from its caption: what the text transformer practises on before the UNet needs it."""

    def __init__(self, text: TextTransformer) -> None:
        super().__init__()
        self.text = text
        self.heads = nn.ModuleList(nn.Linear(text.config.width, len(options)) for options in LABELS.values())

    def forward(self, tokens: Tensor) -> list[Tensor]:
        end = (tokens == 1).int().argmax(dim=1)
        h = self.text(tokens)[torch.arange(len(tokens)), end]
        return [head(h) for head in self.heads]


def train_text(scenes: list[Scene], budget: Budget, path: Path, device: str, seed: int) -> TextTransformer:
    """Teach the text transformer which word belongs to which solid; minutes that save the UNet hours."""
    torch.manual_seed(seed)
    tokenizer = WordTokenizer(VOCABULARY, MODEL.text.positions)
    reader = _Reader(TextTransformer(MODEL.text)).to(device)
    nn.init.normal_(reader.text.text_model.embeddings.token_embedding.weight, std=0.3)
    nn.init.normal_(reader.text.text_model.embeddings.position_embedding.weight, std=0.1)
    targets = torch.tensor([label_indices(scene) for scene in scenes])

    def loss(step: int, share: float) -> Tensor:
        rng = np.random.default_rng((seed, 1, step))
        chosen = rng.integers(len(scenes), size=128)
        tokens = tokenizer([caption(scenes[i], rng) for i in chosen])
        scores = reader(tokens[:, :32].to(device))
        y = targets[chosen].to(device)
        return sum(F.cross_entropy(s, y[:, i]) for i, s in enumerate(scores))

    return train(reader, loss, budget, path).text


def untrained(text: TextTransformer, device: str, seed: int) -> nn.ModuleDict:
    """A new UNet beside a text transformer that has learned to read: {"unet", "text"}."""
    torch.manual_seed(seed)
    unet = UNet(MODEL.unet)
    nn.init.zeros_(unet.out[2].weight)
    nn.init.zeros_(unet.out[2].bias)
    return _pair(unet, copy.deepcopy(text), device)


def finished(model: LatentDiffusion, device: str) -> nn.ModuleDict:
    """Copies in float32 of a finished model's networks, to be trained on: {"unet", "text"}."""
    unet, text = UNet(model.config.unet), TextTransformer(model.config.text)
    unet.load_state_dict(model.model.diffusion_model.state_dict())
    text.load_state_dict(model.cond_stage_model.transformer.state_dict())
    return _pair(unet, text, device)


def _pair(unet: UNet, text: TextTransformer, device: str) -> nn.ModuleDict:
    unet = unet.to(device, memory_format=torch.channels_last)
    return nn.ModuleDict({"unet": unet, "text": text.to(device)}).requires_grad_(True)


@dataclass(frozen=True)
class NoiseLevels:
    """How much the noise levels count in training: by the weight of their errors, and by how often they are drawn.

    A picture begins with the last quarter of the timesteps, and there it is settled which solid has which colour:
    after it, at an SNR of 0.06 and more, the latents of a solid tell what colour it has without the prompt. `boost`
    and `beginning` make that quarter count more than the published training does.
    """

    boost: float = 1.0
    beginning: float = 0.0

    def weights(self, alpha_bar: Tensor) -> Tensor:
        """The weight of eps's squared error at each timestep.

        Where there is little noise it is min(SNR, 5) / SNR (Hang et al. 2023, arXiv 2303.09556, eq. 8); where there
        is much, up to `boost` times 1: that makes of it the error of v, which is 1 / a times that of eps.
        """
        snr = alpha_bar / (1 - alpha_bar)
        return (SNR_CAP / snr).clamp(max=1.0) * (1 / alpha_bar).clamp(max=self.boost)

    def draw(self, count: int, of: int, rng: np.random.Generator) -> Tensor:
        """Timesteps (count,) in 0 to `of`: a share `beginning` of them from the last quarter, the rest from all."""
        # One timestep from each of `count` equal parts: less noise in the loss than independent draws.
        part = (np.arange(count) + rng.random(count)) / count
        from_all = (part - self.beginning) / max(1 - self.beginning, 1e-9)
        from_last = 1 - part / max(self.beginning, 1e-9) / 4
        share = np.where(part < self.beginning, from_last, from_all)
        return torch.from_numpy((share * of).astype(np.int64).clip(0, of - 1))


def train_unet(
    both: nn.ModuleDict,
    latents: Tensor,
    scenes: list[Scene],
    budget: Budget,
    path: Path,
    device: str,
    seed: int,
    batch: int = 64,
    levels: NoiseLevels = NoiseLevels(),
) -> nn.ModuleDict:
    """Train {"unet", "text"} to predict eps on unit-variance latents (n, 4, h, w); returns the averaged pair."""
    torch.manual_seed(seed)
    with torch.device("meta"):
        schedule = LatentDiffusion(MODEL)  # for its noise schedule only
    tokenizer = WordTokenizer(VOCABULARY, MODEL.text.positions)
    weight = levels.weights(schedule.alphas_cumprod.float()).to(device)

    def loss(step: int, share: float) -> Tensor:
        rng = np.random.default_rng((seed, 2, step))
        chosen = rng.integers(len(latents), size=batch)
        prompts = ["" if rng.random() < PROMPT_DROPOUT else caption(scenes[i], rng) for i in chosen]
        x0 = latents[chosen].to(device, memory_format=torch.channels_last)
        t = levels.draw(batch, schedule.num_timesteps, rng)
        noise = torch.from_numpy(rng.standard_normal(x0.shape, np.float32)).to(device)
        x_t = schedule.q_sample(x0, t.to(device), noise)
        with torch.autocast(device, torch.bfloat16, cache_enabled=False):  # a cache would be shared between threads
            eps = both["unet"](x_t, t.to(device), both["text"](tokenizer(prompts).to(device)))
        error = (eps.float() - noise).square().mean(dim=(1, 2, 3))
        return (weight[t] * error).mean()

    # On a CPU the fused attention's way back takes twice as long as the plain one's for heads as narrow as these.
    with sdpa_kernel(SDPBackend.MATH) if device == "cpu" else nullcontext():
        return train(both, loss, budget, path)
