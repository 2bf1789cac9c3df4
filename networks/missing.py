"""What stands where a checkpoint has no such part: an error that names the file, once the part is used."""

from typing import Any, NoReturn

from torch import nn

__all__ = ["Missing", "MissingPart"]


class MissingPart(ValueError, AttributeError):
    """A part is used that the checkpoint doesn't have."""


class Missing(nn.Module):
    """A network without weights; whatever is asked of it raises MissingPart.

    `what` is the part in words, `instead` is what helps, `source` the file's name.
    """

    def __init__(self, what: str, instead: str) -> None:
        super().__init__()
        self.what, self.instead, self.source = what, instead, "this model"

    def forward(self, *args: Any) -> NoReturn:
        """Raises MissingPart."""
        raise MissingPart(f"{self.source} has no {self.what}: {self.instead}")

    def __getattr__(self, name: str) -> NoReturn:
        self.forward()
