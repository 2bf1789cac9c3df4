"""The one exception that says: this file, or what was asked of it, can't be run."""


class WorkflowError(ValueError):
    """A workflow that can't be read, converted or run; its text is one line: place and fault."""
