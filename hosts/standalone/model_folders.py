"""Where model files lie: a folder laid out as ComfyUI's, and those that an extra_model_paths.yaml names."""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

__all__ = ["EXTRA", "ModelFolders"]

log = logging.getLogger(__name__)

EXTRA = "extra_model_paths.yaml"
"""The file that names more folders, beside the models folder or in the current one."""
ENDINGS = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin")
"""How model files end."""
INDEX = "model_index.json"
"""What a diffusers folder holds."""
ALSO = {"controlnet": ("t2i_adapter",), "text_encoders": ("clip",)}
"""Folders of a kind beside the one of its name."""
FORMERLY = {"unet": "diffusion_models", "clip": "text_encoders"}
WITH_FOLDERS = {"checkpoints": ("diffusers",)}
"""Kinds of which a model may also be a diffusers folder, and where else those lie."""
NOUNS = {
    "checkpoints": "checkpoint",
    "controlnet": "ControlNet",
    "loras": "LoRA",
    "vae": "VAE",
    "diffusers": "diffusers folder",
    "upscale_models": "upscaling model",
}


@dataclass(frozen=True)
class Extra:
    """What an extra_model_paths.yaml says: (kind, folder, whether it goes first), in order; or why it wasn't read."""

    folders: tuple[tuple[str, Path, bool], ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class ModelFolders:
    """The folders of every kind of model, looked through in order.

    `models_dir` has a folder for each kind, named as in ComfyUI (checkpoints, vae, controlnet, embeddings, ...);
    `shipped` has models that are always there, by kind.
    """

    models_dir: Path
    extras: tuple[Extra, ...] = ()
    shipped: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, models_dir: Path, shipped: Mapping[str, Path] | None = None) -> "ModelFolders":
        """With what the extra_model_paths.yaml files say that lie beside the models folder and in the current one."""
        places = dict.fromkeys((folder.resolve() / EXTRA) for folder in (models_dir.resolve().parent, Path()))
        extras = tuple(_read(path, path.stat().st_mtime_ns) for path in places if path.is_file())
        return cls(models_dir, extras, shipped or {})

    def folders(self, kind: str) -> list[Path]:
        """The folders of a kind, whether they exist or not."""
        found = [self.models_dir / name for name in (kind, *ALSO.get(kind, ()))]
        for extra in self.extras:
            for other, folder, first in extra.folders:
                if other == kind:
                    found.insert(0 if first else len(found), folder)
        return list(dict.fromkeys(found))

    def names(self, kind: str) -> list[str]:
        """The models of a kind: what ships, then the others sorted, as paths below their folder, with "/"."""
        first = [self.shipped[kind].name] if kind in self.shipped else []
        return first + sorted(dict(self._models(kind)).keys() - set(first))

    def find(self, kind: str, name: str) -> Path:
        """The file or folder of a model's name as a workflow writes it.

        A backslash is a slash, and small letters are capital ones where nothing fits better. Raises ValueError, with
        the folders looked in and names like it, for one that isn't there.
        """
        if not isinstance(name, str):
            raise ValueError(f"{NOUNS.get(kind, kind)}: {json.dumps(name, default=repr)}, expected a name as text")
        known = dict(reversed(list(self._models(kind))))  # the first folder counts
        wanted = name.replace("\\", "/")
        if wanted in known:
            return known[wanted]
        loosely = {other.casefold(): path for other, path in known.items()}
        if wanted.casefold() in loosely:
            return loosely[wanted.casefold()]
        raise ValueError(self._missing(kind, name, list(known)))

    def _models(self, kind: str) -> Iterator[tuple[str, Path]]:
        also = WITH_FOLDERS.get(kind, ())
        if kind in self.shipped:
            yield self.shipped[kind].name, self.shipped[kind]
        for folder in self.folders(kind):
            yield from _below(folder, files=kind != "diffusers", indexed=bool(also) or kind == "diffusers")
        for other in also:
            for folder in self.folders(other):
                yield from _below(folder, files=False, indexed=True)

    def _missing(self, kind: str, name: str, known: list[str]) -> str:
        folders = [str(folder) for folder in self.folders(kind)]
        text = f"no {NOUNS.get(kind, kind)} {name!r} in {', '.join(folders)}"
        short = {Path(other).name.casefold(): other for other in known} | {other.casefold(): other for other in known}
        asked = name.replace("\\", "/").casefold()
        near = get_close_matches(asked, short, 3, 0.5) + get_close_matches(Path(asked).name, short, 3, 0.5)
        if near:
            text += f"; did you mean {' or '.join(repr(other) for other in dict.fromkeys(short[key] for key in near))}?"
        elif not known:
            text += "; there are none"
        return "; ".join([text, *(extra.problem for extra in self.extras if extra.problem)])


def _below(folder: Path, files: bool, indexed: bool) -> Iterator[tuple[str, Path]]:
    """Model files in a folder and below it, and diffusers folders; what such a folder holds isn't a model itself."""
    seen = set()
    for place, inner, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if name != ".git")
        here = Path(place)
        if INDEX in names and here != folder:
            inner.clear()
            if indexed:
                yield here.relative_to(folder).as_posix(), here
        elif files:
            for name in names:
                if name.lower().endswith(ENDINGS):
                    yield (here / name).relative_to(folder).as_posix(), here / name


@lru_cache(maxsize=8)
def _read(path: Path, changed: int) -> Extra:
    """What a file says; a problem with it is told once, and again where a model isn't found."""
    try:
        import yaml  # an extra of its own: few need it
    except ImportError:
        return _unread(f'{path} wasn\'t read: it needs PyYAML, pip install "comfyui-ddim[yaml]"')
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        sections = [section for section in (content or {}).values() if section is not None]
        return Extra(tuple(entry for section in sections for entry in _entries(section, path.parent)))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, TypeError) as error:
        return _unread(f"{path} wasn't read: {' '.join(str(error).split())}")


def _unread(problem: str) -> Extra:
    log.warning("%s", problem)
    return Extra(problem=problem)


def _entries(section: dict, beside: Path) -> Iterator[tuple[str, Path, bool]]:
    """The folders of one section, whose `base_path` and folders may be relative and have ~ and $NAME in them."""
    first = bool(section.get("is_default", False))
    base = beside / os.path.expandvars(os.path.expanduser(section.get("base_path") or ""))  # noqa: PTH111
    for kind, value in section.items():
        if kind in ("base_path", "is_default") or value is None:
            continue
        lines = value if isinstance(value, list) else value.split("\n")
        for line in (line.strip() for line in lines):
            if line:
                folder = os.path.normpath(base / line.replace("\\", "/"))
                yield FORMERLY.get(kind, kind), Path(folder), first
