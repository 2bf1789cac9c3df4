"""`DDIMSampler` as latent-diffusion, Stable Diffusion 2 and ControlNet published it: a thin face on the core."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from tqdm import tqdm

from .conditioning import Conditioning
from .curves import resolve
from .guidance import Guidance, Threshold, X0Filter, quantizer
from .loop import Inpaint, ddim_steps
from .noise import NoiseSource, SequentialNoise
from .predictor import Corrector, Model, Predictor, make_predictor
from .schedule import Schedule, make_schedule

log = logging.getLogger(__name__)


class DDIMSampler:
    """Samples a published diffusion model, with the published arguments and, for the same random state, numbers.

    Where the published code returns a result, so does this, the same to 1e-5; what is odd about it goes to the
    log as a warning. Where that code crashes, this works or says why not, before the first model call. Indices
    (`index`, `t_enc`, the `ddim_*` attributes) count as published, from the clean end.

    `schedule` and `device` are kept for old calls: the model's own buffers say both.
    """

    def __init__(self, model: Model, schedule: str = "linear", device: torch.device | str | None = None) -> None:
        self.model = model
        self.ddpm_num_timesteps = model.num_timesteps
        self.schedule = schedule
        self.device = torch.device(device) if device is not None else model.betas.device
        self._told: set[str] = set()

    def make_schedule(
        self, ddim_num_steps: int, ddim_discretize: str = "uniform", ddim_eta: float = 0.0, verbose: bool = True
    ) -> None:
        """Sets the schedule and the published attributes (`ddim_timesteps`, `ddim_alphas`, `ddim_sigmas`, ...).

        `ddim_discretize` is "uniform" or "quad". Raises ValueError for steps outside 1 ... T, or eta above its bound.
        """
        tables = {"uniform": "published", "quad": "published_quad"}
        if ddim_discretize not in tables:
            raise ValueError(f"ddim_discretize is {ddim_discretize!r}, expected 'uniform' or 'quad'")
        alpha_bar = self.model.alphas_cumprod
        if len(alpha_bar) != self.ddpm_num_timesteps:
            raise ValueError(f"{len(alpha_bar)} alphas_cumprod, expected {self.ddpm_num_timesteps}")
        self._run = make_schedule(
            alpha_bar, ddim_num_steps, spacing=tables[ddim_discretize], landing="first", eta=ddim_eta
        )
        if len(self._run) != ddim_num_steps:
            self._tell(f"the published {ddim_discretize} table for {ddim_num_steps} steps has {len(self._run)}")
        self._original = self._all_timesteps(ddim_eta)
        self._publish()
        if verbose:
            log.info("timesteps %s, sigmas %s", self.ddim_timesteps, self._run.sigma[::-1])

    def sample(
        self,
        S: int,
        batch_size: int,
        shape: Sequence[int],
        conditioning: Conditioning = None,
        callback: Callable[[int], object] | None = None,
        normals_sequence: None = None,
        img_callback: Callable[[torch.Tensor, int], object] | None = None,
        quantize_x0: bool = False,
        eta: float = 0.0,
        mask: torch.Tensor | None = None,
        x0: torch.Tensor | None = None,
        temperature: float = 1.0,
        noise_dropout: float = 0.0,
        score_corrector: object | None = None,
        corrector_kwargs: dict | None = None,
        verbose: bool = True,
        x_T: torch.Tensor | None = None,
        log_every_t: int = 100,
        unconditional_guidance_scale: float = 1.0,
        unconditional_conditioning: Conditioning = None,
        dynamic_threshold: float | Threshold | None = None,
        ucg_schedule: Sequence[float] | None = None,
        *,
        quantize_denoised: bool = False,
        generator: torch.Generator | None = None,
        noise: NoiseSource | None = None,
    ) -> tuple[torch.Tensor, dict[str, list[torch.Tensor]]]:
        """Makes the schedule and samples `batch_size` latents of `shape` (c, h, w) or (c, t, h, w).

        As `ddim_sampling`, which see; `quantize_denoised` is the other spelling of `quantize_x0`, and
        `normals_sequence` was never used. Returns the latents and the intermediates.
        """
        self.make_schedule(S, ddim_eta=eta, verbose=verbose)
        return self.ddim_sampling(
            conditioning,
            (batch_size, *shape),
            x_T=x_T,
            callback=callback,
            quantize_denoised=quantize_x0 or quantize_denoised,
            mask=mask,
            x0=x0,
            img_callback=img_callback,
            log_every_t=log_every_t,
            temperature=temperature,
            noise_dropout=noise_dropout,
            score_corrector=score_corrector,
            corrector_kwargs=corrector_kwargs,
            unconditional_guidance_scale=unconditional_guidance_scale,
            unconditional_conditioning=unconditional_conditioning,
            dynamic_threshold=dynamic_threshold,
            ucg_schedule=ucg_schedule,
            generator=generator,
            noise=noise,
            verbose=verbose,
        )

    def ddim_sampling(
        self,
        cond: Conditioning,
        shape: Sequence[int],
        x_T: torch.Tensor | None = None,
        ddim_use_original_steps: bool = False,
        callback: Callable[[int], object] | None = None,
        timesteps: int | None = None,
        quantize_denoised: bool = False,
        mask: torch.Tensor | None = None,
        x0: torch.Tensor | None = None,
        img_callback: Callable[[torch.Tensor, int], object] | None = None,
        log_every_t: int = 100,
        temperature: float = 1.0,
        noise_dropout: float = 0.0,
        score_corrector: object | None = None,
        corrector_kwargs: dict | None = None,
        unconditional_guidance_scale: float = 1.0,
        unconditional_conditioning: Conditioning = None,
        dynamic_threshold: float | Threshold | None = None,
        ucg_schedule: Sequence[float] | None = None,
        *,
        generator: torch.Generator | None = None,
        noise: NoiseSource | None = None,
        verbose: bool = True,
    ) -> tuple[torch.Tensor, dict[str, list[torch.Tensor]]]:
        """Samples over the schedule made before; `shape` is (b, c, h, w) or (b, c, t, h, w).

        mask, x0: x0 is kept where the mask is 1
        score_corrector: has modify_score(model, eps, x, t, cond, **corrector_kwargs), run after guidance
        dynamic_threshold: a percentile of |x0| from 0 to 1, or a `Threshold`
        ucg_schedule: a guidance scale per step, noisiest first, in place of unconditional_guidance_scale
        timesteps: n runs the n - 1 cleanest steps, as published (with the original steps, n)
        generator, noise: where random numbers come from, in place of torch's global generator; not both
        verbose: show a progress bar

        Returns the latents, in x_T's dtype, and {"x_inter": [...], "pred_x0": [...]}, where both lists begin with x_T
        and go on with the first step and every one whose index divides by log_every_t. Raises ValueError before
        the first model call when arguments misfit.
        """
        run = self._subset(timesteps, ddim_use_original_steps)
        noise = _noise_source(noise, generator)
        if log_every_t < 1:
            raise ValueError(f"log_every_t is {log_every_t!r}, expected at least 1")
        if (mask is None) != (x0 is None):
            raise ValueError("mask and x0 go together, got one of them")
        if x_T is None:
            x_T = noise.normal(shape, "start", 0, self.model.betas.device)
        elif tuple(x_T.shape) != tuple(shape):
            raise ValueError(f"x_T has the shape {tuple(x_T.shape)}, expected {tuple(shape)}")
        guidance = unconditional_guidance_scale if ucg_schedule is None else ucg_schedule
        predict = self._predictor(
            run, x_T, cond, unconditional_conditioning, guidance,
            self._corrector(score_corrector, corrector_kwargs, cond),
            self._filters(len(run), quantize_denoised, dynamic_threshold),
        )  # fmt: skip
        steps = ddim_steps(
            predict,
            x_T,
            run,
            noise=noise,
            temperature=temperature,
            dropout=noise_dropout,
            inpaint=None if mask is None else Inpaint(mask, x0, last=False),
        )
        self._tell("the run lands on the first timestep's alpha-bar, and pred_x0 begins with x_T", run is self._run)
        img, intermediates = x_T, {"x_inter": [x_T], "pred_x0": [x_T]}
        for step in tqdm(steps, "DDIM", len(run), disable=not verbose):
            img, pred_x0 = step.x.to(x_T.dtype), step.x0.to(x_T.dtype)
            if callback:
                callback(step.index)
            if img_callback:
                img_callback(pred_x0, step.index)
            if step.index == 0 or (len(run) - 1 - step.index) % log_every_t == 0:
                intermediates["x_inter"].append(img)
                intermediates["pred_x0"].append(pred_x0)
        return img, intermediates

    def _publish(self) -> None:
        """The published attributes, from the clean end, float32 on the model's device."""
        run, model = self._run, self.model
        alpha_bar = np.asarray(model.alphas_cumprod.detach().cpu(), dtype=np.float64)

        def put(values: np.ndarray) -> torch.Tensor:
            return torch.tensor(np.ascontiguousarray(values), dtype=torch.float32, device=self.device)

        self.betas = model.betas.detach().to(self.device, torch.float32)
        self.alphas_cumprod = put(alpha_bar)
        self.alphas_cumprod_prev = model.alphas_cumprod_prev.detach().to(self.device, torch.float32)
        self.sqrt_alphas_cumprod = put(np.sqrt(alpha_bar))
        self.sqrt_one_minus_alphas_cumprod = put(np.sqrt(1 - alpha_bar))
        self.log_one_minus_alphas_cumprod = put(np.log(1 - alpha_bar))
        self.sqrt_recip_alphas_cumprod = put(np.sqrt(1 / alpha_bar))
        self.sqrt_recipm1_alphas_cumprod = put(np.sqrt(1 / alpha_bar - 1))
        self.ddim_timesteps = run.timesteps[::-1].copy()
        self.ddim_alphas = put(run.alpha_bar[-2::-1])
        self.ddim_alphas_prev = run.alpha_bar[:0:-1].copy()
        self.ddim_sigmas = put(run.sigma[::-1])
        self.ddim_sqrt_one_minus_alphas = put(run.noise[-2::-1])
        self.ddim_sigmas_for_original_num_steps = put(self._original.sigma[::-1])

    def _all_timesteps(self, eta: float) -> Schedule:
        table = list(range(self.ddpm_num_timesteps))[::-1]
        return make_schedule(self.model.alphas_cumprod, table, landing="clean", eta=eta)

    def _subset(self, timesteps: int | None, original: bool) -> Schedule:
        run = self._original if original else self._run
        if timesteps is None:
            return run
        if original:
            return run.last(timesteps)
        # The published rounding, kept to the letter: for 29 of 50 it loses two steps.
        count = int(min(timesteps / len(run), 1) * len(run)) - 1
        if count < 1:
            raise ValueError(f"timesteps is {timesteps!r}, which leaves {count} steps to run, expected at least 1")
        self._tell(f"timesteps={timesteps} runs the {count} cleanest of {len(run)} steps")
        return run.last(count)

    def _predictor(
        self,
        run: Schedule,
        x: torch.Tensor,
        cond: Conditioning,
        uncond: Conditioning,
        scale: float | Sequence[float],
        correct: Corrector | None = None,
        filters: Sequence[X0Filter] = (),
    ) -> Predictor:
        scales = resolve(scale, len(run), "guidance scale")
        if uncond is None and any(s != 1 for s in scales):
            self._tell("there is no unconditional_conditioning, so guidance has no effect")
            scales = (1.0,) * len(run)
        return make_predictor(
            self.model, run, x.shape[0], cond, uncond, Guidance(scales),
            correct=correct, filters=filters, dtype=x.dtype,
        )  # fmt: skip

    def _corrector(self, score_corrector: object | None, kwargs: dict | None, cond: Conditioning) -> Corrector | None:
        if score_corrector is None:
            return None
        return lambda eps, x, t, i: score_corrector.modify_score(self.model, eps, x, t, cond, **(kwargs or {}))

    def _filters(self, steps: int, quantize: bool, threshold: float | Threshold | None) -> list[X0Filter]:
        filters = [quantizer(self.model.first_stage_model.quantize)] if quantize else []
        if threshold is not None:
            threshold = threshold if isinstance(threshold, Threshold) else Threshold(threshold)
            filters.append(threshold.filter(steps))
        return filters

    def _tell(self, what: str, when: bool = True) -> None:
        """Warns of `what`, once per sampler."""
        if when and what not in self._told:
            self._told.add(what)
            log.warning("as published, %s", what)


def _noise_source(noise: NoiseSource | None, generator: torch.Generator | None) -> NoiseSource:
    if noise is not None and generator is not None:
        raise ValueError("noise and generator were both given, expected at most one")
    return noise or SequentialNoise(generator)
