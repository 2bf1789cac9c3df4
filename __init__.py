"""ComfyUI-DDIM: DDIM sampling nodes for ComfyUI, and a headless runner for its workflow files."""
