"""The words of INPUT_TYPES: one function per kind of widget, each with its tooltip."""

from typing import Any

__all__ = ["choice", "number", "rare", "seed", "socket", "text", "toggle", "whole"]

Input = tuple[Any, dict[str, Any]]


def rare(given: Input) -> Input:
    """A widget that the editor shows under its "advanced" inputs."""
    kind, options = given
    return kind, {**options, "advanced": True}


def number(default: float, low: float, high: float, step: float, tooltip: str) -> Input:
    """A FLOAT widget."""
    return "FLOAT", {"default": default, "min": low, "max": high, "step": step, "round": step / 10, "tooltip": tooltip}


def whole(default: int, low: int, high: int, tooltip: str, step: int = 1) -> Input:
    """An INT widget."""
    return "INT", {"default": default, "min": low, "max": high, "step": step, "tooltip": tooltip}


def seed(tooltip: str) -> Input:
    """An INT widget for a seed, which the editor can randomise after each run."""
    options = {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True, "tooltip": tooltip}
    return "INT", options


def text(default: str, tooltip: str, multiline: bool = True) -> Input:
    """A STRING widget."""
    return "STRING", {"default": default, "multiline": multiline, "tooltip": tooltip}


def toggle(default: bool, tooltip: str) -> Input:
    """A BOOLEAN widget."""
    return "BOOLEAN", {"default": default, "tooltip": tooltip}


def choice(options: list[str], tooltip: str, default: str | None = None) -> Input:
    """A list to choose from."""
    return options, {"default": default or options[0], "tooltip": tooltip} if options else {"tooltip": tooltip}


def socket(kind: str, tooltip: str) -> Input:
    """An input that takes a wire, and only that."""
    options: dict[str, Any] = {"tooltip": tooltip}
    if kind in ("INT", "FLOAT", "STRING", "BOOLEAN", "CURVE"):  # else the editor would show a widget
        options["forceInput"] = True
    return kind, options
