"""Which number type a model is computed in."""

import torch

__all__ = ["SMALL", "best_dtype", "cpu_has_bfloat16"]

SMALL = 50_000_000
"""Models of fewer weights than this are fast enough in float32."""


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices itself (AVX512_BF16 or AMX)."""
    tests = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(test() for test in tests if test is not None)


def best_dtype(device: str, weights: int) -> torch.dtype:
    """The number type for a model of so many weights: float32 for a small one, else half the bits where that's fast."""
    if weights < SMALL:
        return torch.float32
    if torch.device(device).type != "cpu":
        return torch.float16
    return torch.bfloat16 if cpu_has_bfloat16() else torch.float32
