"""Which of the executor's rules belong to the ComfyUI at hand."""

import comfyui_version

VERSION = tuple(int(part) for part in comfyui_version.__version__.split("."))
RULES = "0.3.64" if VERSION < (0, 4) else "0.8.0" if VERSION < (0, 9) else "current"
