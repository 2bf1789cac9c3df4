"""The moving average in training checkpoints: a UNet's tensors by names that have lost their dots."""

import re
from collections.abc import Mapping
from typing import TypeVar

__all__ = ["averaged_unet"]

PREFIX = "model_ema.diffusion_model"
Value = TypeVar("Value")

# All that names of a UNet consist of, what begins like another word first; a number behind two of them holds two.
WORD = re.compile(
    r"(input_blocks|output_blocks)(\d+)(\d)|time_embed|middle_block|out_layers|in_layers|emb_layers|skip_connection|"
    r"transformer_blocks|proj_in|proj_out|to_out|to_q|to_k|to_v|attn1|attn2|norm1|norm2|norm3|norm|ff|net|proj|out|op|"
    r"conv|label_emb|weight|bias|\d+"
)


def averaged_unet(tensors: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """{prefix + published name: tensor} of the moving average among a checkpoint's tensors; empty where there is none.

    Names that can't be told apart again are left out.
    """
    own = {name.removeprefix(PREFIX): value for name, value in tensors.items() if name.startswith(PREFIX)}
    dotted = {_dotted(name): value for name, value in own.items()}
    return {f"{prefix}{name}": value for name, value in dotted.items() if name}


def _dotted(name: str) -> str:
    parts = list(WORD.finditer(name))
    if "".join(part[0] for part in parts) != name:
        return ""
    return ".".join(".".join(part.groups()) if part[1] else part[0] for part in parts)
