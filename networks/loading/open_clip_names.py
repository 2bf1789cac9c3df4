"""OpenCLIP's text encoder in Stable Diffusion 2.x checkpoints, by the names that Stable Diffusion 1.x uses."""

import re
from collections.abc import Mapping

from .tensor_file import CheckpointError, TensorLike

__all__ = ["clip_names"]

MODEL = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
LAYER = {
    "ln_1": ("layer_norm1",),
    "attn.in_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),  # one above the other
    "attn.out_proj": ("self_attn.out_proj",),
    "ln_2": ("layer_norm2",),
    "mlp.c_fc": ("mlp.fc1",),
    "mlp.c_proj": ("mlp.fc2",),
}
# Nothing here reads these: they compare texts with pictures, or can be computed.
UNUSED = ("text_projection", "logit_scale", "attn_mask")

_LAYER = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)[._](weight|bias)")


def clip_names(tensors: Mapping[str, TensorLike], prefix: str = "cond_stage_model.") -> dict[str, TensorLike]:
    """A checkpoint's tensors with `model.*` under the prefix renamed to `transformer.text_model.*`, the rest as it is.

    The joined projection to queries, keys and values becomes three views of it. Names that OpenCLIP doesn't give stay
    as they are. Raises CheckpointError for a joined projection that isn't three of the same size.
    """
    renamed: dict[str, TensorLike] = {}
    for name, tensor in tensors.items():
        own = name.removeprefix(f"{prefix}model.") if name.startswith(f"{prefix}model.") else None
        if own in UNUSED:
            continue
        targets = _targets(own) if own is not None else ()
        if len(targets) > 1 and (not tensor.ndim or tensor.shape[0] % len(targets)):
            shape = list(tensor.shape)
            raise CheckpointError(f"tensor {name!r} has shape {shape}, expected {len(targets)} times a width")
        parts = tensor.chunk(len(targets)) if len(targets) > 1 else (tensor,)
        for target, part in zip(targets, parts, strict=False):
            renamed[f"{prefix}transformer.text_model.{target}"] = part
        if not targets:
            renamed[name] = tensor
    return renamed


def _targets(own: str) -> tuple[str, ...]:
    """The names that one of OpenCLIP's becomes; none for a name that isn't in the tables."""
    if own in MODEL:
        return (MODEL[own],)
    match = _LAYER.fullmatch(own)
    if match is None:
        return ()
    layer, part, kind = match.groups()
    return tuple(f"encoder.layers.{layer}.{target}.{kind}" for target in LAYER.get(part, ()))
