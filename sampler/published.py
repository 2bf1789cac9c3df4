"""What the published sampler keeps and how it counts."""

import numpy as np
import torch

from .betas import alphas_cumprod
from .predictor import Model
from .schedule import Schedule


def alpha_bar_of(model: Model) -> np.ndarray:
    """The model's alpha-bar (T,) in float64; ValueError if there are not T of them.

    A model in half precision has it in half precision too, 15 % off where it is near 1: then it is computed anew
    from the betas, which lose little.
    """
    if len(model.alphas_cumprod) != model.num_timesteps:
        raise ValueError(f"the model has {len(model.alphas_cumprod)} alphas_cumprod, expected {model.num_timesteps}")
    if model.alphas_cumprod.dtype in (torch.float16, torch.bfloat16):
        return alphas_cumprod(_float64(model.betas))
    return _float64(model.alphas_cumprod)


def published_subset(steps: int, timesteps: int) -> int:
    """How many steps `timesteps` leaves of `steps`: the published rounding and slicing, to the letter.

    Mostly one less than asked; 29 of 50 lose two, and 0 leaves all but one.
    """
    return len(range(steps)[: int(min(timesteps / steps, 1) * steps) - 1])


def published_attributes(
    model: Model, run: Schedule, original: Schedule, device: torch.device
) -> dict[str, np.ndarray | torch.Tensor]:
    """The attributes of the published sampler after make_schedule, counted from the clean end.

    Tensors are float32 on `device`; `ddim_timesteps` and `ddim_alphas_prev` are arrays, as published. `original`
    is the run over every training timestep.
    """
    a = alpha_bar_of(model)

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values.tolist(), dtype=torch.float32, device=device)

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
        "ddim_sigmas": run.sigma[::-1],
        "ddim_sqrt_one_minus_alphas": run.noise[-2::-1],
        "ddim_sigmas_for_original_num_steps": original.sigma[::-1],
    }
    arrays = {"ddim_timesteps": run.timesteps[::-1].copy(), "ddim_alphas_prev": run.alpha_bar[:0:-1].copy()}
    return {name: tensor(values) for name, values in (of_model | of_run).items()} | arrays


def _float64(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()
