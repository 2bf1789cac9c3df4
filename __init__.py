"""ComfyUI-DDIM: DDIM sampling nodes for ComfyUI, and a headless runner for its workflow files."""

import sys

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]

WEB_DIRECTORY = "./web"


def __getattr__(name: str) -> dict:
    # Late, so that `comfyui_ddim.sampler` and the command's own checks don't wait for every node. ComfyUI asks for
    # these two while it loads the pack; an error in a node shows in its log from there. Without a package that its
    # requirements name, ComfyUI goes on without these nodes, and one line says what to do.
    if name not in ("NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from . import nodes
    except ModuleNotFoundError as error:
        if "comfy.samplers" not in sys.modules:
            raise
        import logging

        logging.getLogger(__name__).error(
            "ComfyUI-DDIM is left out: %s. To have it, run in ComfyUI's folder: %s -m pip install -r requirements.txt",
            error,
            sys.executable,
        )
        globals().update(NODE_CLASS_MAPPINGS={}, NODE_DISPLAY_NAME_MAPPINGS={})
        return {}
    return getattr(nodes, name)
