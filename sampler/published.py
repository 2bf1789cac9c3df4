"""What the published sampler keeps, how it counts, and its arguments in the core's terms."""

import numpy as np
import torch

from .betas import alphas_cumprod
from .conditioning import Conditioning
from .guidance import Threshold, X0Filter, quantizer
from .noise import NoiseSource, SequentialNoise
from .predictor import Corrector, Model
from .schedule import Schedule

HALF = (torch.float16, torch.bfloat16)


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

    Tensors are float32 on `device`, but `ddim_sigmas` is float64, and `ddim_timesteps` and `ddim_alphas_prev` are
    arrays, as published. `original` is the run over every training timestep.
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
        "ddim_sigmas": torch.from_numpy(run.sigma[::-1].copy()).to(device),
        "ddim_timesteps": run.timesteps[::-1].copy(),
        "ddim_alphas_prev": run.alpha_bar[:0:-1].copy(),
    }
    return {name: tensor(values) for name, values in (of_model | of_run).items()} | as_they_are


def _float64(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()
