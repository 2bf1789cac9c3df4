"""What VALIDATE_INPUTS says of a text: the values that come are whatever a workflow file holds."""

import json
from collections.abc import Callable

__all__ = ["as_text", "shown", "verdict"]

SHOWN, LONGEST = 80, 1000
"""Characters of a value that a message repeats, and of the message."""


def verdict(check: Callable[[str], object], *values: object) -> bool | str:
    """True, or what is wrong with the first value that `check` raises ValueError or OSError for.

    None is a value that a wire will bring once the run is there, and is judged then.
    """
    for value in values:
        try:
            if value is not None:
                check(as_text(value))
        except OSError as error:
            return f"{shown(value)}: {error.strerror}"
        except ValueError as error:
            said = str(error)
            return said if len(said) <= LONGEST else f"{said[: LONGEST // 2]} ... {said[-LONGEST // 2 :]}"
    return True


def as_text(value: object) -> str:
    """The value, if it is a text; ValueError with what came else."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)}, expected text")
    return value


def shown(value: object) -> str:
    """The value in a message as a workflow file has it, null and true as in JSON: its beginning, if it is long."""
    whole = repr(value) if isinstance(value, str) else _as_json(value)
    return whole if len(whole) <= SHOWN else f"{whole[:SHOWN]}..."


def _as_json(value: object) -> str:
    if value is not None and not isinstance(value, bool | int | float | list | tuple | dict):
        return f"a {type(value).__name__}"
    try:
        return json.dumps(value, ensure_ascii=False, default=_as_json)
    except (TypeError, ValueError, RecursionError):  # keys of any type, or what holds itself
        return f"a {type(value).__name__}"
