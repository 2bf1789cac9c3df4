"""ComfyUI-DDIM: DDIM sampling nodes for ComfyUI, and a headless runner for its workflow files."""

from typing import Any

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]

WEB_DIRECTORY = "./web"


def __getattr__(name: str) -> Any:
    # Late, so that `comfyui_ddim.sampler` and the command's own checks don't wait for every node. ComfyUI asks for
    # these two while it loads the pack; an error in a node shows in its log from there.
    if name in ("NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"):
        from . import nodes

        return getattr(nodes, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
