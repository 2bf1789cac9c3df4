"""Workflows as tests: a pytest plugin, and what test files import of it."""

from typing import Any

__all__ = ["Items", "WorkflowFailed", "WorkflowRefused"]


def __getattr__(name: str) -> Any:
    # Late: pytest imports this package in every project that has it installed.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import session

    return getattr(session, name)
