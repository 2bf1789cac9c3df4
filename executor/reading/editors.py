"""Where the versions of ComfyUI's editor differ in what they queue for the same file: each a row, each with its test.

The version that saved a file decides; a file that doesn't say is read as by the editor that ComfyUI 0.33 brings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

DEFAULT = (1, 49)


@dataclass(frozen=True, slots=True)
class Editor:
    """What the editor of one version does, by `version` as far as a file tells it."""

    version: tuple[int, ...] = DEFAULT

    @property
    def mutes_more(self) -> bool:
        """A muted Reroute passes nothing on, and a widget fed by what doesn't run sends the value it holds itself."""
        return self.version >= (1, 41)

    @property
    def shows_next_of_row(self) -> bool:
        """A row that grows shows one input more than the least; before, no more than those until the last is linked."""
        return self.version >= (1, 41)

    @property
    def sends_shown_nulls(self) -> bool:
        """A null that a host holds for a widget shown by `proxyWidgets` is sent; before, the value inside counted."""
        return self.version >= (1, 50)

    @property
    def opens_groups(self) -> bool:
        """Group nodes become subgraphs on opening, with new ids for themselves and what is inside."""
        return self.version >= (1, 49)

    @property
    def fills_null_choices(self) -> bool:
        """A choice that was saved as null is the first one."""
        return self.version >= (1, 49)

    @property
    def keeps_kinds(self) -> bool:
        """A number in a text of several lines is sent as a number; before and later, as text."""
        return (1, 49) <= self.version < (1, 50)

    @property
    def first_link_counts(self) -> bool:
        """Of several links with one id the first is the link, for the input that it says; before, the last for all."""
        return self.version >= (1, 50)

    @property
    def names_curves(self) -> bool:
        """A CURVE is sent as {"__type__": "CURVE", "__value__": ...}; before, bare."""
        return self.version >= (1, 50)


def editor_of(version: Any) -> Editor:
    """The editor of a version like `1.58.1`; the default where it is no version."""
    found = re.match(r"(\d{1,9})\.(\d{1,9})", version) if isinstance(version, str) else None
    return Editor(tuple(int(part) for part in found.groups())) if found else Editor()
