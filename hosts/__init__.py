"""Where the nodes run: `host` is ComfyUI's if this process is ComfyUI, else this package's own models."""

import sys
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ..sampler import FixedPoint, Guidance, PerStep, Schedule, Scheme
from .plan import Options, Plan
from .sampling import Inversion

__all__ = ["Host", "host"]


class Host(Protocol):
    """What nodes ask of the world around them.

    MODEL, CONDITIONING, LATENT and so on are the host's own objects and go from node to node; only it looks into them.
    A name, size or value that doesn't fit raises ValueError, before any work, and says what was expected.
    """

    name: str
    """"comfyui" or "standalone"."""

    def checkpoints(self) -> list[str]:
        """Names that a loader offers, the shipped model first."""
        ...

    def load_checkpoint(self, name: str) -> tuple[Any, Any, Any]:
        """MODEL, CLIP and VAE of one of `checkpoints()`."""
        ...

    def controlnets(self) -> list[str]:
        """Names that a ControlNet loader offers, the shipped one first."""
        ...

    def load_controlnet(self, name: str, guess: bool = False) -> Any:
        """CONTROL_NET of one of `controlnets()`, in guess mode or not."""
        ...

    def encode(self, vae: Any, pixels: Tensor) -> Tensor:
        """Latents of IMAGE (b, h, w, 3): again in float32 where half precision overflows, ValueError if that does."""
        ...

    def decode(self, vae: Any, samples: Tensor) -> Tensor:
        """IMAGE of unscaled latents, finite as `encode`'s."""
        ...

    def check_prompt(self, prompt: str) -> None:
        """ValueError for a prompt that its text encoder won't take, whichever it is."""
        ...

    def sample(self, model: Any, positive: list, negative: list, latent: dict, plan: Plan) -> tuple[dict, ...]:
        """Sample along a plan; LATENT four times: the result, the last x0 prediction, both after each kept step."""
        ...

    def invert(
        self, model: Any, positive: list, negative: list, latent: dict, plan: Plan, solve: FixedPoint
    ) -> Inversion:
        """Take a LATENT back to the noise that it comes from, along a plan's schedule and guidance."""
        ...

    def scaled(self, model: Any, samples: Tensor) -> Tensor:
        """A LATENT's samples in the size in which the model sees them, on the CPU."""
        ...

    def schedule(self, model: Any, plan: Plan) -> Schedule:
        """The schedule that `sample` follows with a plan."""
        ...

    def sampler(self, eta: PerStep, scheme: Scheme, options: Options, start: str, x0: Tensor | None) -> Any:
        """SAMPLER, for SamplerCustomAdvanced. So are the next three."""
        ...

    def sigmas(self, model: Any, scheme: Scheme, steps: int, denoise: float) -> Tensor:
        """SIGMAS (steps + 1,), of most schemes, for a MODEL."""
        ...

    def guider(self, model: Any, positive: list, negative: list, guidance: Guidance) -> Any:
        """GUIDER with a guidance scale for every step."""
        ...

    def fixed_noise(self, x_T: Tensor, seed: int) -> Any:
        """NOISE: x_T, and the seed of what is drawn later."""
        ...

    def input_dir(self) -> Path:
        """Where LoadImage reads."""
        ...

    def output_dir(self) -> Path:
        """Where SaveImage writes."""
        ...

    def temp_dir(self) -> Path:
        """Where PreviewImage writes."""
        ...


host: Host
if "comfy.samplers" in sys.modules:
    from .comfyui.host import ComfyHost

    host = ComfyHost()
else:
    from .standalone.host import StandaloneHost

    host = StandaloneHost()
