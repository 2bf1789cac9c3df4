"""The headless graph runner: read a workflow, check it, run it. Node classes are handed to it.

    from comfyui_ddim.executor import Executor
    result = Executor(node_classes).run(prompt)
"""

from .context import Context
from .errors import Interrupted, WorkflowError
from .executor import Executor, RunResult
from .object_info import object_info
from .runtime import ExecutionBlocker
from .validation import Verdict

__all__ = [
    "Context",
    "ExecutionBlocker",
    "Executor",
    "Interrupted",
    "RunResult",
    "Verdict",
    "WorkflowError",
    "object_info",
]
