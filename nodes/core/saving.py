"""What ComfyUI's nodes that save files have in common: their inputs, and how they name the files to the editor."""

from pathlib import Path

from ...hosts import host
from ..checks import verdict
from ..files import inside
from ..sockets import socket, text

__all__ = ["HIDDEN", "SavesFiles", "named"]

HIDDEN = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}
"""What a saved file carries of the workflow that made it."""


class SavesFiles:
    """A node that saves what one socket, `SAVED`, brings, under a prefix in the output folder."""

    OUTPUT_NODE = True
    SAVED: tuple[str, str, str]
    """The socket's name, type and tooltip."""
    PREFIX: str
    """What the editor puts in for a prefix."""

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        name, kind, what = cls.SAVED
        prefix = text(cls.PREFIX, "The prefix for the file to save; may name a folder.", multiline=False)
        return {"required": {name: socket(kind, what), "filename_prefix": prefix}, "hidden": HIDDEN}

    @classmethod
    def VALIDATE_INPUTS(cls, filename_prefix: str | None = None) -> bool | str:
        return verdict(lambda prefix: inside(host.output_dir(), prefix), filename_prefix)


def named(path: Path, folder: Path, kind: str) -> dict[str, str]:
    """A file below the folder of its kind, as nodes tell the editor of it."""
    below = path.parent.relative_to(folder.resolve()).as_posix()
    return {"filename": path.name, "subfolder": "" if below == "." else below, "type": kind}
