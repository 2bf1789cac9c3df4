"""The small model that ships: its files, the scenes it draws, its training and its judge."""

from pathlib import Path

__all__ = ["SHIPPED", "SHIPPED_CONTROL"]

SHIPPED = Path(__file__).parent / "ddim-scenes.safetensors"
"""The checkpoint: UNet, autoencoder and text transformer."""
SHIPPED_CONTROL = SHIPPED.with_stem("ddim-scenes-outline")
"""Its ControlNet."""
