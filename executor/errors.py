"""Every exception of the executor, and whose fault each one is.

    ValueError
    |-- WorkflowError            a file, or what was asked of it, can't be read, converted or run: the user's
    |   |-- UnknownClassError    a file has nodes of classes that nobody knows
    |   |-- NodeNotFoundError    a link or an expansion names a node that doesn't exist
    |   `-- DuplicateNodeError   an expansion brings a node whose id is taken
    `-- NodeInputError           a node asks, while running, for an input that isn't linked: the node's
    Exception
    `-- Interrupted              a stop was asked for
    BaseException
    `-- ListenerError            `on_event` raised: the caller's
"""

__all__ = [
    "DuplicateNodeError",
    "Interrupted",
    "ListenerError",
    "NodeInputError",
    "NodeNotFoundError",
    "UnknownClassError",
    "WorkflowError",
]


class WorkflowError(ValueError):
    """A workflow that can't be read, converted or run; its text is one line: place and fault.

    `source` is what it was read from, "" if nobody has said yet; it comes first in the text.
    """

    source = ""

    def __str__(self) -> str:
        text = super().__str__()
        return f"{self.source}: {text}" if self.source else text


class UnknownClassError(WorkflowError):
    """A file has nodes of classes that nobody knows."""


class NodeNotFoundError(WorkflowError):
    """A link or an expansion names a node that doesn't exist."""


class DuplicateNodeError(WorkflowError):
    """An expansion brings a node whose id is taken."""


class NodeInputError(ValueError):
    """A node asks, while running, for an input that isn't linked."""


class Interrupted(Exception):
    """A stop was asked for; raised from `context.progress`, to be let through by nodes."""


class ListenerError(BaseException):
    """`on_event` raised (its cause). No `Exception`, so that no node takes it for a failure of its own."""
