"""The models that stand in for a network, each with an output known in closed form, and the noise that tests draw."""

from types import SimpleNamespace

import torch
from comfyui_ddim.networks import UNetConfig
from comfyui_ddim.sampler import alphas_cumprod, make_betas

ALPHA_BAR = alphas_cumprod(make_betas())
"""Stable Diffusion's, (1000,), in float64."""
ALPHAS = torch.from_numpy(ALPHA_BAR)
MEAN, VAR = 0.3, 0.64


def drawn(*shape, seed=0):
    """Standard normal noise of a shape, from a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class ConditionedGaussian:
    """eps of N(mean, 0.8^2) data, where the conditioning (b,) is the mean; it notes what it was asked."""

    parameterization = "eps"

    def __init__(self):
        self.asked = []

    def apply_model(self, x, t, c):
        c = c["c_crossattn"][0] if isinstance(c, dict) else c[0] if isinstance(c, list) else c
        self.asked.append((x.shape[0], c.flatten().tolist()))
        a = ALPHAS[t].view(-1, 1, 1, 1)
        mean = c.flatten(1).mean(1).view(-1, 1, 1, 1) if c.ndim > 1 else c.view(-1, 1, 1, 1)
        return ((1 - a).sqrt() * (x - a.sqrt() * mean) / (0.64 * a + 1 - a)).to(x.dtype)


class GaussianModel:
    """The exact model of N(mean, std^2) data; conditioning (b,), anywhere in lists and dicts, adds to the mean."""

    num_timesteps = 1000

    def __init__(self, parameterization="eps", mean=0.3, std=0.8):
        self.parameterization, self.mean, self.std = parameterization, mean, std
        self.betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.alphas_cumprod = torch.cumprod(1 - self.betas, 0)
        self.alphas_cumprod_prev = torch.cat([torch.ones(1, dtype=torch.float64), self.alphas_cumprod[:-1]])
        self.first_stage_model = self
        self.calls, self.quantized = [], 0

    def apply_model(self, x, t, c):
        self.calls.append((x.shape[0], int(t[0]), x.dtype))
        view = (-1, *[1] * (x.ndim - 1))
        a = self.alphas_cumprod[t].view(view)
        while isinstance(c, dict | list):
            c = next(iter(c.values())) if isinstance(c, dict) else c[0]
        mean = self.mean + (0 if c is None else c.double().view(view))
        off = (x.double() - a.sqrt() * mean) / (self.std**2 * a + 1 - a)
        x0, eps = mean + self.std**2 * a.sqrt() * off, (1 - a).sqrt() * off
        v = a.sqrt() * eps - (1 - a).sqrt() * x0
        return {"eps": eps, "x0": x0, "v": v}[self.parameterization].to(x.dtype)

    def quantize(self, x):
        self.quantized += 1
        return x.round(decimals=1)

    def modify_score(self, model, eps, x, t, c, strength=0.1):
        return eps + strength


class BentGaussian:
    """A small eps- or v-model: a Gaussian's exact one, bent by sines of its neighbours and of the conditioning."""

    num_timesteps = 1000
    device = torch.device("cpu")

    def __init__(self, parameterization="eps"):
        self.parameterization = parameterization
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        alpha_bar = torch.cumprod(1 - betas, 0)
        self.betas, self.alphas_cumprod = betas.float(), alpha_bar.float()
        self.alphas_cumprod_prev = torch.cat([torch.ones(1), self.alphas_cumprod[:-1]])
        self.sqrt_alphas_cumprod = alpha_bar.sqrt().float()
        self.sqrt_one_minus_alphas_cumprod = (1 - alpha_bar).sqrt().float()
        self.first_stage_model = self
        self.seen = []

    def levels(self, x, t):
        per_sample = (-1, *[1] * (x.ndim - 1))
        return self.sqrt_alphas_cumprod[t].view(per_sample), self.sqrt_one_minus_alphas_cumprod[t].view(per_sample)

    def apply_model(self, x, t, c):
        self.seen.append((x.shape[0], t.tolist()[0]))
        shift, bias = torch.zeros(x.shape[0], x.shape[1]), 0.0
        for text in self.texts(c):
            weight = torch.linspace(1, 2, text.shape[1]).view(1, -1, 1)
            shift = shift + (text * weight).mean(1)
        if isinstance(c, dict) and c.get("c_concat") is not None:
            bias = 0.2 * c["c_concat"][0]
        s, n = self.levels(x, t)
        mean = 0.3 + 0.2 * torch.sin(shift).view(*shift.shape, *[1] * (x.ndim - 2))
        eps = n * (x - s * mean) / (0.64 * s**2 + n**2)
        eps = eps + 0.05 * torch.sin(2 * torch.roll(x, 1, -1) + 3 * s) + 0.05 * bias
        return eps if self.parameterization == "eps" else (eps - n * x) / s

    def texts(self, c):
        c = c["c_crossattn"] if isinstance(c, dict) else c
        return [] if c is None else c if isinstance(c, list) else [c]

    def q_sample(self, x0, t, noise=None):
        s, n = self.levels(x0, t)
        return s * x0 + n * (torch.randn_like(x0) if noise is None else noise)

    def predict_start_from_z_and_v(self, x, t, v):
        s, n = self.levels(x, t)
        return s * x - n * v

    def predict_eps_from_z_and_v(self, x, t, v):
        s, n = self.levels(x, t)
        return s * v + n * x

    def quantize(self, x):
        return torch.sin(3 * x) / 3, None, None

    def modify_score(self, model, eps, x, t, c, strength):
        return eps + strength * torch.cos(x + t.view(-1, 1, 1, 1) / 100)


class GaussianOnLevels:
    """The exact model of N(0.3, 0.8^2) data, for any levels."""

    def __init__(self, schedule, parameterization="eps"):
        self.parameterization = parameterization
        levels = zip(schedule.signal[:-1], schedule.noise[:-1], strict=True)
        self.levels = dict(zip(schedule.timesteps.tolist(), levels, strict=True))

    def apply_model(self, x, t, cond):
        s, n = self.levels[t[0].item()]
        off = (x - s * MEAN) / (VAR * s**2 + n**2)
        x0, eps = MEAN + VAR * s * off, n * off
        return {"eps": eps, "x0": x0, "v": s * eps - n * x0, "flow": eps - x0}[self.parameterization]


class SineModel:
    """Some eps of x, t and the conditioning."""

    num_timesteps, parameterization = 1000, "eps"
    betas = torch.from_numpy(make_betas())
    alphas_cumprod = torch.from_numpy(alphas_cumprod(make_betas()))
    alphas_cumprod_prev = torch.cat([torch.ones(1), alphas_cumprod[:-1]])

    def apply_model(self, x, t, cond):
        return 0.7 * x + 0.2 * torch.sin(3 * x + t.reshape(-1, 1, 1, 1) / 100) + cond.mean()


class Echo:
    """A model that predicts, everywhere, the mean of the text it is given; `calls` has the rows of each call."""

    def __init__(self, in_channels=4, parameterization="eps"):
        unet = UNetConfig(in_channels=in_channels, out_channels=4, context=8)
        self.config, self.parameterization = SimpleNamespace(unet=unet), parameterization
        self.alphas_cumprod, self.scale_factor, self.device = ALPHAS, 0.5, torch.device("cpu")
        self.calls, self.conds = [], []

    def apply_model(self, x, t, cond):
        (text,) = cond["c_crossattn"] if isinstance(cond, dict) else (cond,)
        assert len(text) == len(x) == len(t)
        self.calls.append(tuple(x.shape))
        self.conds.append(cond)
        return text.mean(dim=(1, 2)).reshape(-1, 1, 1, 1).expand_as(x).clone()

    def residuals(self, net, x, hint, t, text):
        return net(x, hint, t, text)


def eps_of(x, t, text):
    level = 1 - t.reshape(-1, 1, 1, 1).float() / 1999
    return 0.6 * x + 0.3 * torch.tanh(2 * x.roll(1, dims=-1)) * level + text.mean(dim=(1, 2)).reshape(-1, 1, 1, 1)


class Formula:
    """A model that is `eps_of`, as far as a run looks at one; `calls` has the rows of each call."""

    num_timesteps, betas, alphas_cumprod, alphas_cumprod_prev = 1000, None, ALPHAS, None
    parameterization, scale_factor, device, first_stage_model = "eps", 0.18215, torch.device("cpu"), None
    config = SimpleNamespace(unet=UNetConfig(context=256), in_channels=4, out_channels=4)  # the model's, and its UNet's

    def __init__(self):
        self.model, self.calls = SimpleNamespace(diffusion_model=self), []

    def embed(self, t):
        """The timesteps themselves."""
        return t

    def q_sample(self, x, t, noise=None):
        raise NotImplementedError

    def predict(self, x, t, cond, kept):
        self.calls.append(len(x))
        return eps_of(x, t.value, cond["c_crossattn"][0] if isinstance(cond, dict) else cond)
