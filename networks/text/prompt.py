"""Prompts as ComfyUI reads them: weights in parentheses, embeddings by name, and chunks for any length.

- `(words)` weighs 1.1 times what is around it, `(words:1.3)` exactly 1.3; parentheses nest, and `\\(` is a parenthesis.
- `embedding:name` stands for the vectors of a file (textual inversion).
- A text longer than the encoder reads goes through it in chunks, whose results follow one another.
- A weight moves a token's encoding away from what the encoder makes of an empty text: (z - z_empty) weight + z_empty.
"""

import logging
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

import torch
from torch import Tensor

from .encoder import TextTransformer

__all__ = ["Chunk", "Tokenizer", "Vectors", "check_prompt", "encode", "tokenize", "weighted"]

log = logging.getLogger(__name__)

Chunk = list[tuple[int | Tensor, float]]
"""One row of the encoder: ids, or vectors (width) of an embedding, and their weights."""
Vectors = Callable[[str], Tensor | None]
"""Vectors (n, width) of the embedding of a name; None where there is none, after a warning."""

EMBEDDING = "embedding:"
PARENTHESES = {r"\(": "\ufdd0", r"\)": "\ufdd1"}  # code points that Unicode keeps for uses like this one
MAX_LENGTH, MAX_NESTING = 20_000, 100
"""Characters of a prompt, and parentheses inside one another."""
WHOLE = 8  # a stretch of fewer tokens isn't torn between two chunks


class Tokenizer(Protocol):
    """Ids of words, and those that frame a row of `length`."""

    length: int

    @property
    def start(self) -> int:
        """The id that begins a row."""

    @property
    def end(self) -> int:
        """The id that ends a text."""

    @property
    def pad(self) -> int:
        """The id that fills a row."""

    def words(self, text: str) -> list[int]:
        """Ids of a text of any length."""


def check_prompt(text: str) -> None:
    """Raises ValueError for a prompt that is too long, or has too many parentheses inside one another."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a prompt of {len(text)} characters, expected at most {MAX_LENGTH}")
    depth = 0
    for letter in _escaped(text):
        depth = max(0, depth + (letter == "(") - (letter == ")"))
        if depth > MAX_NESTING:
            raise ValueError(f"a prompt with parentheses nested more than {MAX_NESTING} deep")


def _escaped(text: str) -> str:
    for escaped, stand_in in PARENTHESES.items():
        text = text.replace(escaped, stand_in)
    return text


def weighted(text: str) -> list[tuple[str, float]]:
    """A prompt's stretches of text and their weights, in order; ValueError as `check_prompt` raises it."""
    check_prompt(text)
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # halves of characters, as editors leave
    return [(_plain(part), weight) for part, weight in _weigh(_escaped(text), 1.0)]


def tokenize(text: str, tokenizer: Tokenizer, vectors: Vectors | None = None) -> list[Chunk]:
    """A prompt to chunks of the tokenizer's length; without `vectors` embeddings are left out, with a warning."""
    stretches: list[Chunk] = []
    for part, weight in weighted(text):
        for tokens in _stretches(part, tokenizer, vectors or _none):
            stretches.append([(token, weight) for token in tokens])
    return [_framed(chunk, tokenizer) for chunk in _chunks(stretches, tokenizer.length - 2)]


def encode(transformer: TextTransformer, prompts: Sequence[Sequence[Chunk]], tokenizer: Tokenizer, skip: int) -> Tensor:
    """Prompts to conditioning (prompts, n, width) in float32, all in one batch; `skip` as the transformer takes it.

    A prompt's length is that of its chunks together; n is the least common multiple of all prompts'. A shorter prompt
    is repeated up to it, which is the same to attention. Raises ValueError for an id beyond the vocabulary.
    """
    chunks = [chunk for prompt in prompts for chunk in prompt]
    weights = torch.tensor([[weight for _, weight in chunk] for chunk in chunks])
    weighs = bool((weights != 1).any())
    rows = [*chunks, _framed([], tokenizer)] if weighs else chunks
    hidden = transformer(_input(transformer, rows), skip).float()
    if weighs:
        z, z_empty, weight = hidden[:-1], hidden[-1], weights[..., None].to(hidden)
        hidden = torch.where(weight == 1, z, (z - z_empty) * weight + z_empty)
    encoded = [part.flatten(0, 1) for part in hidden.split([len(prompt) for prompt in prompts])]
    n = math.lcm(*(len(z) for z in encoded))
    return torch.stack([z.repeat(n // len(z), 1) for z in encoded])


def _plain(text: str) -> str:
    for escaped, stand_in in PARENTHESES.items():
        text = text.replace(stand_in, escaped[1:])
    return text


def _weigh(text: str, weight: float) -> Iterator[tuple[str, float]]:
    for part in _split(text):
        if not (part.startswith("(") and part.endswith(")")):
            yield part, weight
            continue
        inner, own = part[1:-1], weight * 1.1
        words, _, number = inner.rpartition(":")
        if words:
            with suppress(ValueError):  # what follows may be a colon of the text
                if math.isfinite(given := float(number)):
                    inner, own = words, given
        yield from _weigh(inner, own)


def _split(text: str) -> list[str]:
    """The text, cut before and after its outermost parentheses."""
    parts, start, depth = [], 0, 0
    for i, letter in enumerate(text):
        if letter == "(":
            if depth == 0:
                parts.append(text[start:i])
                start = i
            depth += 1
        elif letter == ")":
            depth -= 1
            if depth == 0:
                parts.append(text[start : i + 1])
                start = i + 1
    return [part for part in (*parts, text[start:]) if part]


def _stretches(text: str, tokenizer: Tokenizer, vectors: Vectors) -> Iterator[list[int | Tensor]]:
    """Tokens of a text without weights: the words between two embeddings make one stretch, each embedding another."""
    for piece in re.split(rf"[ \n](?={EMBEDDING})", text):
        if not piece.startswith(EMBEDDING):
            yield [*tokenizer.words(piece)]
            continue
        name, *rest = piece.removeprefix(EMBEDDING).split() or [""]
        found = vectors(name.rstrip(",")) if name.endswith(",") else vectors(name)
        if found is not None:
            yield [*found]
        yield [*tokenizer.words(" ".join([name[len(name.rstrip(",")) :], *rest]))]


def _none(name: str) -> None:
    log.warning("embedding %r: there is no embeddings folder, left out", name)


def _chunks(stretches: Sequence[Chunk], room: int) -> list[Chunk]:
    """Stretches laid out in chunks of at most `room` tokens, at least one."""
    chunks: list[Chunk] = [[]]
    for stretch in stretches:
        while stretch:
            free = room - len(chunks[-1])
            if not free or (chunks[-1] and free < len(stretch) < WHOLE):
                chunks.append([])
                continue
            chunks[-1] += stretch[:free]
            stretch = stretch[free:]
    return chunks


def _framed(chunk: Chunk, tokenizer: Tokenizer) -> Chunk:
    """A row: the start token, the chunk, the end token, and padding; these weigh 1."""
    row = [(tokenizer.start, 1.0), *chunk, (tokenizer.end, 1.0)]
    return row + [(tokenizer.pad, 1.0)] * (tokenizer.length - len(row))


def _input(transformer: TextTransformer, rows: Sequence[Chunk]) -> Tensor:
    """Ids (b, n), or (b, n, width) where some tokens are vectors, on the transformer's device."""
    table = transformer.text_model.embeddings.token_embedding
    ids = torch.tensor([[0 if isinstance(token, Tensor) else token for token, _ in row] for row in rows])
    if ids.max() >= len(table.weight):
        raise ValueError(f"token id {ids.max().item()}, the text encoder's vocabulary has {len(table.weight)} ids")
    ids = ids.to(table.weight.device)
    given = [(i, j, v) for i, row in enumerate(rows) for j, (v, _) in enumerate(row) if isinstance(v, Tensor)]
    if not given:
        return ids
    embedded = table(ids)
    for i, j, vector in given:
        embedded[i, j] = vector
    return embedded
