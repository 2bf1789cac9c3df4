"""Nodes without ComfyUI: this package's own models behind the calls that ComfyUI's objects answer to."""
