"""What pytest's configuration says about workflows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Settings:
    """Options and ini values; paths are absolute."""

    root: Path
    comfyui: Path | None
    packs: tuple[Path, ...]
    models: Path | None
    input: Path | None
    device: str
    failures: Path
    report: Path | None
    is_updating: bool

    @property
    def host(self) -> str:
        """`light` (this package's own nodes) or `comfyui`."""
        return "comfyui" if self.comfyui else "light"


def read_settings(config: Any) -> Settings:
    """The settings of a pytest run."""

    def given(name: str) -> str | None:
        return getattr(config.option, name, None) or config.getini(name) or None

    def place(path: str | Path | None) -> Path | None:
        return None if path is None else config.rootpath / path

    report = config.option.comfy_report
    return Settings(
        root=config.rootpath,
        comfyui=place(given("comfy_dir") or os.environ.get("COMFYUI_DIR") or None),
        packs=tuple(config.rootpath / path for path in config.getini("comfy_packs")),
        models=place(config.getini("comfy_models") or None),
        input=place(config.getini("comfy_input") or None),
        device=given("comfy_device") or "cpu",
        failures=config.rootpath / config.getini("comfy_failures"),
        report=None if report is None else config.invocation_params.dir / report,
        is_updating=bool(config.option.comfy_update),
    )
