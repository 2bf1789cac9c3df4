"""ComfyUI's set-up for the memory of GPUs: what its main.py does around the import of its modules, as far as it can
still be done in a process that is running."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)


def before_torch(device: str) -> None:
    """Choose the allocator, which must be done before torch is imported."""
    if device != "cpu" and "torch" not in sys.modules and importlib.util.find_spec("cuda_malloc") is not None:
        importlib.import_module("cuda_malloc")


def before_comfyui(arguments: Any) -> None:
    """Start comfy_aimdo, which versions with DynamicVRAM have, before model_management is imported."""
    control = _aimdo_control()
    if control is None:
        return
    reserve = arguments.reserve_vram
    headroom = None if reserve is None else int(reserve * 1024**3)
    _call_newest(
        control.init,
        {"simple_vram_headroom": headroom, "nvml_pressure": not getattr(arguments, "disable_nvml_pressure", False)},
        {"simple_vram_headroom": headroom},
        {},
    )


def after_comfyui(arguments: Any) -> None:
    """Have models loaded piece by piece where ComfyUI's main.py would: DynamicVRAM, on NVIDIA and new AMD cards."""
    control = _aimdo_control()
    if control is None:
        return
    management = importlib.import_module("comfy.model_management")
    if not getattr(arguments, "enable_dynamic_vram", False) and not _is_supported(management):
        return
    devices = [device.index for device in management.get_all_torch_devices()]
    headroom = int(getattr(arguments, "vram_headroom", 0) * 1024**3)
    try:
        started = control.init_devices((index, headroom) for index in devices)
    except TypeError:
        started = control.init_devices(iter(devices))
    if not started:
        logger.warning("comfy_aimdo can't drive this device: models are loaded whole")
        return
    patcher = importlib.import_module("comfy.model_patcher")
    patcher.CoreModelPatcher = patcher.ModelPatcherDynamic
    importlib.import_module("comfy.memory_management").aimdo_enabled = True


def after_packs() -> None:
    """Undo what packs set at import: main.py decides on cuDNN's benchmark mode once more."""
    decide = getattr(importlib.import_module("comfy.model_management"), "set_cudnn_benchmark", None)
    if decide is not None:
        decide()


def _aimdo_control() -> ModuleType | None:
    """comfy_aimdo's control module where this ComfyUI would use it."""
    wanted = getattr(importlib.import_module("comfy.cli_args"), "enables_dynamic_vram", None)
    if wanted is None or not wanted() or importlib.util.find_spec("comfy_aimdo") is None:
        return None
    return importlib.import_module("comfy_aimdo.control")


def _is_supported(management: ModuleType) -> bool:
    if management.torch_version_numeric < (2, 8):
        return False
    if management.is_nvidia():
        return True
    return bool(management.is_amd() and getattr(management, "rocm_version", (0, 0)) >= (7, 14))


def _call_newest(function: Any, *variants: dict[str, Any]) -> Any:
    """Call it with the first set of options that this release of the library takes."""
    for options in variants[:-1]:
        try:
            return function(**options)
        except TypeError:
            continue
    return function(**variants[-1])
