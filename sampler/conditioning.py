"""What apply_model is given besides x and t: a tensor, a list, or a dict as published (c_crossattn, c_concat).

Lists and dicts nest, and entries may be None: ControlNet's guess mode leaves out the uncond half's c_concat.
"""

import torch

Conditioning = torch.Tensor | list | dict | None


class Misfit(ValueError):
    """Two conditionings can't share one call."""


def fit(cond: Conditioning, batch: int, name: str) -> Conditioning:
    """`cond` with every tensor of batch size 1 repeated to `batch`.

    Raises ValueError on another batch size, or on NaN.
    """
    if isinstance(cond, torch.Tensor):
        if cond.ndim == 0:  # a setting for the model, not a batch
            return cond
        if cond.shape[0] not in (1, batch):
            raise ValueError(f"{name} has the shape {tuple(cond.shape)}, expected a batch of 1 or {batch}")
        if cond.is_floating_point() and torch.isnan(cond).any():
            raise ValueError(f"{name} has NaN in a tensor of shape {tuple(cond.shape)}")
        return cond if cond.shape[0] == batch else cond.expand(batch, *cond.shape[1:])
    if isinstance(cond, dict):
        return {key: fit(entry, batch, f"{name}[{key!r}]") for key, entry in cond.items()}
    if isinstance(cond, list | tuple):
        return [fit(entry, batch, f"{name}[{j}]") for j, entry in enumerate(cond)]
    return cond


def join(uncond: Conditioning, cond: Conditioning) -> Conditioning:
    """Both in one batch, uncond first. Raises Misfit where shapes, keys or lengths differ."""
    if isinstance(uncond, torch.Tensor) and isinstance(cond, torch.Tensor):
        if uncond.shape != cond.shape or cond.ndim == 0:
            raise Misfit(f"{tuple(uncond.shape)} against {tuple(cond.shape)}")
        return torch.cat([uncond, cond])
    if isinstance(uncond, dict) and isinstance(cond, dict) and uncond.keys() == cond.keys():
        return {key: join(uncond[key], cond[key]) for key in cond}
    if isinstance(uncond, list) and isinstance(cond, list) and len(uncond) == len(cond):
        return [join(u, c) for u, c in zip(uncond, cond, strict=True)]
    if uncond is None and cond is None:
        return None
    raise Misfit(f"{type(uncond).__name__} against {type(cond).__name__}")
