"""Nodes inside ComfyUI: its own models, guiders and samplers."""
