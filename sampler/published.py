"""`DDIMSampler` as latent-diffusion, Stable Diffusion 2 and ControlNet published it: a thin face on `ddim_steps`."""

import dataclasses
import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from tqdm import tqdm

from .betas import alphas_cumprod
from .conditioning import Conditioning
from .curves import resolve
from .ddim import ddim_steps
from .finite import check_finite
from .guidance import Guidance, Threshold, X0Filter, quantizer
from .inpaint import Inpaint
from .inversion import FixedPoint, Replay, invert_steps
from .noise import NoiseSource, OneForAll, SequentialNoise, widest
from .predictor import Corrector, Model, Predictor, make_predictor
from .schedule import Schedule, make_schedule

logger = logging.getLogger(__name__)

HALF = (torch.float16, torch.bfloat16)


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
        alpha_bar = alpha_bar_of(self.model)
        spacing = tables[ddim_discretize]
        self._run = make_schedule(alpha_bar, ddim_num_steps, spacing=spacing, landing="first", eta=ddim_eta)
        self._original = make_schedule(alpha_bar, range(len(alpha_bar))[::-1], landing="clean", eta=ddim_eta)
        if len(self._run) != ddim_num_steps:
            self._tell(f"the published {ddim_discretize} table for {ddim_num_steps} steps has {len(self._run)}")
        vars(self).update(published_attributes(self.model, self._run, self._original, self.device))
        if verbose:
            logger.info("timesteps %s, sigmas %s", self.ddim_timesteps, self._run.sigma[::-1])

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
        noise = noise_source(noise, generator)
        if log_every_t < 1:
            raise ValueError(f"log_every_t is {log_every_t!r}, expected at least 1")
        if mask is not None and x0 is None:
            raise ValueError("mask is given without x0, expected x0 too: it is kept where the mask is 1")
        self._tell("x0 without a mask has no effect", mask is None and x0 is not None)
        if x_T is None:
            x_T = noise.normal(shape, "start", 0, self.model.betas.device)
        elif len(x_T) != shape[0]:
            raise ValueError(f"x_T has the shape {tuple(x_T.shape)}, expected {tuple(shape)}")
        self._tell(f"x_T's shape {tuple(x_T.shape)} is used, not {tuple(shape)}", tuple(x_T.shape) != tuple(shape))
        guidance = unconditional_guidance_scale if ucg_schedule is None else ucg_schedule
        predict = self._predictor(
            run,
            x_T,
            cond,
            unconditional_conditioning,
            guidance,
            corrector(self.model, cond, score_corrector, corrector_kwargs),
            filters(self.model, len(run), quantize_denoised, dynamic_threshold),
        )
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

    @torch.no_grad()
    def p_sample_ddim(
        self,
        x: torch.Tensor,
        c: Conditioning,
        t: torch.Tensor,
        index: int,
        repeat_noise: bool = False,
        use_original_steps: bool = False,
        quantize_denoised: bool = False,
        temperature: float = 1.0,
        noise_dropout: float = 0.0,
        score_corrector: object | None = None,
        corrector_kwargs: dict | None = None,
        unconditional_guidance_scale: float = 1.0,
        unconditional_conditioning: Conditioning = None,
        dynamic_threshold: float | Threshold | None = None,
        *,
        generator: torch.Generator | None = None,
        noise: NoiseSource | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step, that of `index`: the new x and the x0 prediction, in x's dtype.

        The model is told `t` (b,); the levels are those of `index`. `repeat_noise` gives all samples one noise.
        The rest is as in `ddim_sampling`.
        """
        run = self._schedule(use_original_steps)
        if not 0 <= index < len(run):
            raise ValueError(f"index is {index!r}, expected 0 to {len(run) - 1}")
        predict = self._predictor(
            run,
            x,
            c,
            unconditional_conditioning,
            unconditional_guidance_scale,
            corrector(self.model, c, score_corrector, corrector_kwargs),
            filters(self.model, len(run), quantize_denoised, dynamic_threshold),
        )
        noise = noise_source(noise, generator)
        (step,) = ddim_steps(
            lambda x, i: predict.at(x, t, i),
            x,
            run,
            noise=OneForAll(noise) if repeat_noise else noise,
            temperature=temperature,
            dropout=noise_dropout,
            walk=[len(run) - 1 - index],
        )
        return step.x.to(x.dtype), step.x0.to(x.dtype)

    def encode(
        self,
        x0: torch.Tensor,
        c: Conditioning,
        t_enc: int,
        use_original_steps: bool = False,
        return_intermediates: int | None = None,
        unconditional_guidance_scale: float = 1.0,
        unconditional_conditioning: Conditioning = None,
        callback: Callable[[int], object] | None = None,
        *,
        solve: FixedPoint | None = None,
        replay: Replay | None = None,
    ) -> tuple[torch.Tensor, dict[str, object]]:
        """DDIM inversion of x0 over the `t_enc` cleanest steps; `decode` with the same number goes back.

        return_intermediates: about how many states to return on the way
        solve: fixed-point iteration; without it, the plain inversion
        replay: an empty one is filled, and takes `decode` back to x0 bit for bit (one more call per step)

        Returns the noised state and {"x_encoded", "intermediate_steps", "residuals" (per step, (b,)), "calls"}, with
        "intermediates" if asked for.
        """
        run = self._schedule(use_original_steps).with_eta(0.0).last(t_enc)
        if unconditional_conditioning is None and unconditional_guidance_scale != 1:
            raise ValueError("encode with guidance needs an unconditional_conditioning, got None")
        predict = self._predictor(run, x0, c, unconditional_conditioning, unconditional_guidance_scale)
        solve = solve or FixedPoint()
        if replay is not None:
            solve = dataclasses.replace(solve, measure=True)
        stride = max(1, t_enc // return_intermediates) if return_intermediates else 0
        x, kept, residuals, calls = x0, {}, [], 0
        for i, step in enumerate(invert_steps(predict, x0, run, solve)):
            x, calls = step.x.to(x0.dtype), calls + step.calls
            residuals.append(step.residual)
            if replay is not None:
                replay.see(step)
            if stride and (i % stride == 0 or i >= t_enc - 2):
                kept[i] = x
            if callback:
                callback(i)
        out = {"x_encoded": x, "intermediate_steps": list(kept), "residuals": residuals, "calls": calls}
        return x, out | ({"intermediates": list(kept.values())} if return_intermediates else {})

    def stochastic_encode(
        self,
        x0: torch.Tensor,
        t: torch.Tensor,
        use_original_steps: bool = False,
        noise: torch.Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """x0 noised to the indices `t` (b,) of the schedule, in x0's dtype, with `noise` or the generator's next.

        As published, index t is one step noisier than where `decode(..., t)` starts; t = S, on which the published
        code crashes, is taken as S - 1, which is where that starts. Raises ValueError for t outside 0 ... S.
        """
        run = self._schedule(use_original_steps)
        check_finite(x0, "x0")
        if t.shape not in ((1,), (len(x0),)) or t.min() < 0 or t.max() > len(run):
            raise ValueError(f"t is {t!r}, expected {len(x0)} indices from 0 to {len(run)}")
        self._tell("stochastic_encode(t) is one step noisier than decode(t) starts", bool((t < len(run)).any()))
        if noise is None and generator is not None:
            noise = SequentialNoise(generator).normal(x0.shape, "start", 0, x0.device)
        elif noise is None:
            noise = torch.randn_like(x0)
        level = (len(run) - 1 - t.clamp(max=len(run) - 1)).cpu().numpy()
        per_sample = (-1, *[1] * (x0.ndim - 1))
        work = torch.promote_types(x0.dtype, torch.float32)
        signal, sigma = (torch.tensor(v[level]).to(x0.device, work).view(per_sample) for v in (run.signal, run.noise))
        return (signal * x0 + sigma * noise).to(x0.dtype)

    def decode(
        self,
        x_latent: torch.Tensor,
        cond: Conditioning,
        t_start: int,
        unconditional_guidance_scale: float = 1.0,
        unconditional_conditioning: Conditioning = None,
        use_original_steps: bool = False,
        callback: Callable[[int], object] | None = None,
        *,
        generator: torch.Generator | None = None,
        noise: NoiseSource | None = None,
        replay: Replay | None = None,
    ) -> torch.Tensor:
        """Runs the `t_start` cleanest steps from x_latent (all if there are fewer), with `make_schedule`'s eta.

        With the `replay` that an `encode` filled it goes back the way that one came.
        """
        run = self._schedule(use_original_steps)
        run = run.last(min(t_start, len(run)))
        if replay is not None and len(replay.seen) != len(run):
            raise ValueError(f"the replay saw {len(replay.seen)} steps, expected the {len(run)} that decode runs")
        predict = self._predictor(run, x_latent, cond, unconditional_conditioning, unconditional_guidance_scale)
        x = x_latent
        after = None if replay is None else replay.correct
        for step in ddim_steps(predict, x, run, noise=noise_source(noise, generator), after=after):
            x = step.x.to(x_latent.dtype)
            if callback:
                callback(step.index)
        return x

    def _schedule(self, original: bool) -> Schedule:
        if not hasattr(self, "_run"):
            raise ValueError("there is no schedule yet, expected make_schedule to be called first")
        return self._original if original else self._run

    def _subset(self, timesteps: int | None, original: bool) -> Schedule:
        run = self._schedule(original)
        if timesteps is None:
            return run
        if original:
            return run.last(timesteps)
        count = published_subset(len(run), timesteps)
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
        x0_filters: Sequence[X0Filter] = (),
    ) -> Predictor:
        scales = resolve(scale, len(run), "guidance scale")
        if uncond is None and any(s != 1 for s in scales):
            self._tell("there is no unconditional_conditioning, so guidance has no effect")
            scales = (1.0,) * len(run)
        return make_predictor(
            self.model,
            run,
            x.shape[0],
            cond,
            uncond,
            Guidance(scales),
            correct=correct,
            filters=x0_filters,
            dtype=model_dtype(self.model, x),
        )

    def _tell(self, what: str, when: bool = True) -> None:
        """Warns of `what`, once per sampler."""
        if when and what not in self._told:
            self._told.add(what)
            logger.warning("as published, %s", what)


def alpha_bar_of(model: Model) -> np.ndarray:
    """The model's alpha-bar (T,) in float64; ValueError if there are not T of them.

    A model in half precision has it in half precision too, 15 % off where it is near 1: then it is computed anew
    from the betas, which lose little.
    """
    if len(model.alphas_cumprod) != model.num_timesteps:
        raise ValueError(f"the model has {len(model.alphas_cumprod)} alphas_cumprod, expected {model.num_timesteps}")
    if model.alphas_cumprod.dtype in HALF:
        return alphas_cumprod(_float64(model.betas))
    return _float64(model.alphas_cumprod)


def model_dtype(model: Model, x: torch.Tensor) -> torch.dtype:
    """What the model sees x in: half precision if x or the model's buffers are, else x's own."""
    return model.betas.dtype if model.betas.dtype in HALF and x.dtype not in HALF else x.dtype


def corrector(
    model: Model, cond: Conditioning, score_corrector: object | None, kwargs: dict | None
) -> Corrector | None:
    """A published score corrector for the core; ValueError if it has no `modify_score`."""
    if score_corrector is None:
        return None
    if not hasattr(score_corrector, "modify_score"):
        raise ValueError(f"score_corrector is {score_corrector!r}, expected an object with modify_score")
    return lambda eps, x, t, i: score_corrector.modify_score(model, eps, x, t, cond, **(kwargs or {}))


def filters(model: Model, steps: int, quantize: bool, threshold: float | Threshold | None) -> list[X0Filter]:
    """What the published arguments do to each x0; ValueError for quantizing without a codebook."""
    found = []
    if quantize:
        first_stage = getattr(model, "first_stage_model", None)
        if not hasattr(first_stage, "quantize"):
            raise ValueError(
                f"quantize is on, expected a first stage with a codebook, got {type(first_stage).__name__}"
            )
        found.append(quantizer(first_stage.quantize))
    if threshold is not None:
        found.append((threshold if isinstance(threshold, Threshold) else Threshold(threshold)).filter(steps))
    return found


def noise_source(noise: NoiseSource | None, generator: torch.Generator | None) -> NoiseSource:
    """The given source, or the generator's, or else torch's global state; ValueError if both are given."""
    if noise is not None and generator is not None:
        raise ValueError("noise and generator were both given, expected at most one")
    return noise or SequentialNoise(generator)


def published_subset(steps: int, timesteps: int) -> int:
    """How many steps `timesteps` leaves of `steps`: the published rounding and slicing, to the letter.

    Mostly one less than asked; 29 of 50 lose two, and 0 leaves all but one.
    """
    return len(range(steps)[: int(min(timesteps / steps, 1) * steps) - 1])


def published_attributes(
    model: Model, run: Schedule, original: Schedule, device: torch.device
) -> dict[str, np.ndarray | torch.Tensor]:
    """The attributes of the published sampler after make_schedule, counted from the clean end.

    Tensors are float32 on `device`, but `ddim_sigmas` is float64 where the device has it, and `ddim_timesteps` and
    `ddim_alphas_prev` are arrays, as published. `original` is the run over every training timestep.
    """
    a = alpha_bar_of(model)

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(values)).to(device, torch.float32)

    with np.errstate(divide="ignore"):  # alpha-bar may end at 0
        of_model = {
            "betas": _float64(model.betas),
            "alphas_cumprod": a,
            "alphas_cumprod_prev": np.append(1.0, a[:-1]),
            "sqrt_alphas_cumprod": np.sqrt(a),
            "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - a),
            "log_one_minus_alphas_cumprod": np.log(1 - a),
            "sqrt_recip_alphas_cumprod": np.sqrt(1 / a),
            "sqrt_recipm1_alphas_cumprod": np.sqrt(1 / a - 1),
        }
    of_run = {
        "ddim_alphas": run.alpha_bar[-2::-1],
        "ddim_sqrt_one_minus_alphas": run.noise[-2::-1],
        "ddim_sigmas_for_original_num_steps": original.sigma[::-1],
    }
    as_they_are = {
        "ddim_sigmas": torch.from_numpy(run.sigma[::-1].copy()).to(device, widest(device)),
        "ddim_timesteps": run.timesteps[::-1].copy(),
        "ddim_alphas_prev": run.alpha_bar[:0:-1].copy(),
    }
    return {name: tensor(values) for name, values in (of_model | of_run).items()} | as_they_are


def _float64(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()
