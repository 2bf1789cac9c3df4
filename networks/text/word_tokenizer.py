"""The word tokenizer of small models: its vocabulary is a list of words that travels in the checkpoint's metadata."""

import logging
import re
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["WordTokenizer"]

log = logging.getLogger(__name__)


class WordTokenizer:
    """Words to ids, laid out as CLIP's: a start token, the words, and end tokens up to the full length.

    `vocabulary[0]` is the start token and `vocabulary[1]` the end token; the other entries are lower-case words.
    """

    start, end, pad = 0, 1, 1

    def __init__(self, vocabulary: Sequence[str], length: int = 77) -> None:
        self.vocabulary = tuple(vocabulary)
        self.length = length
        self._ids = {word: i for i, word in enumerate(self.vocabulary)}

    def words(self, text: str) -> list[int]:
        """Ids of a text's words; words that the model never learned are left out, with a warning that names them."""
        found = re.findall(r"[a-z]+", text.lower())
        unknown = sorted({word for word in found if word not in self._ids})
        if unknown:
            log.warning("the model doesn't know the words %s: left out", ", ".join(unknown))
        return [self._ids[word] for word in found if word in self._ids]

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Texts to ids (b, length) int64, one row each, for training; what is too long is cut, with a warning."""
        return torch.tensor([self._row(text) for text in texts])

    def _row(self, text: str) -> list[int]:
        ids = self.words(text)
        room = self.length - 2
        if len(ids) > room:
            log.warning("the prompt has %d words, the model uses only the first %d", len(ids), room)
        row = [self.start, *ids[:room], self.end]
        return row + [self.pad] * (self.length - len(row))
