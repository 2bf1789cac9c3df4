"""CLIP without ComfyUI: prompts to conditioning by the calls that ComfyUI's nodes make."""

import copy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from torch import Tensor

from ...networks import LatentDiffusion, TextConfig
from ...networks.text.prompt import Chunk, tokenize
from ...networks.text.textual_inversion import find_vectors
from .lora import WithLoras

__all__ = ["Clip"]


def _nowhere() -> tuple[Path, ...]:
    return ()


class Clip(WithLoras):
    """Text to conditioning, in the two steps that ComfyUI's nodes take.

    `folders` says where embeddings lie, asked anew for each prompt that names one.
    """

    part = "text"

    def __init__(self, plain: LatentDiffusion, folders: Callable[[], Iterable[Path]] = _nowhere) -> None:
        super().__init__(plain)
        self.folders = folders
        self.skip: int | None = None

    def clone(self) -> "Clip":
        """A CLIP of the same model, whose layer can be set on its own."""
        return copy.copy(self)

    def clip_layer(self, layer_idx: int) -> None:
        """Stop at a layer counted from the end, -1 is the last; one beyond all is the one it was trained on."""
        if layer_idx >= 0:
            raise ValueError(f"clip layer is {layer_idx!r}, expected -1 (the last), -2 (the last but one), ...")
        text = self._config
        self.skip = -layer_idx if -layer_idx <= text.layers + text.cut else None

    def tokenize(self, text: str) -> dict[str, list[Chunk]]:
        """The prompt's chunks of tokens and their weights, under the name that ComfyUI gives the encoder."""
        return {self._name: tokenize(text, self.plain.tokenizer, self._vectors)}

    def encode_from_tokens(
        self, tokens: Mapping[str, list[Chunk]], return_pooled: bool | str = False, return_dict: bool = False
    ) -> Tensor | tuple[Tensor, None] | dict[str, Tensor | None]:
        """The conditioning (1, n, width) alone, with its pooled output, or as a dict of both.

        The pooled output is None: no model that this host runs looks at it.
        """
        cond = self.diffusion.encode_tokens([tokens[self._name]], self.skip).cpu()
        if return_dict:
            return {"cond": cond, "pooled_output": None}
        return (cond, None) if return_pooled else cond

    def encode_from_tokens_scheduled(
        self, tokens: Mapping[str, list[Chunk]], add_dict: Mapping[str, object] | None = None
    ) -> list:
        """CONDITIONING: [[(1, n, width) tensor, {}]], with the options of `add_dict`."""
        return [[self.encode_from_tokens(tokens), dict(add_dict or {})]]

    @property
    def _config(self) -> TextConfig:
        return self.plain.cond_stage_model.transformer.config

    @property
    def _name(self) -> str:
        return "h" if self._config.activation == "gelu" else "l"

    def _vectors(self, name: str) -> Tensor | None:
        return find_vectors(name, self.folders(), self._config.width)
