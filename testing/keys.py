"""What the plugin keeps with pytest's configuration."""

from __future__ import annotations

from typing import Any

import pytest

COMFY = pytest.StashKey[Any]()
"""The session's nodes, or the error with which loading them ended."""

FILES = pytest.StashKey[Any]()
"""The workflow files that the configuration names."""

PACKS = pytest.StashKey[Any]()
"""The packs under test."""
