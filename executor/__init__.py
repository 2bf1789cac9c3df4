"""The headless graph runner: read a workflow, check it, run it. Node classes are handed to it.

    from comfyui_ddim.executor import Executor
    result = Executor(node_classes).run(prompt)
"""

from .context import Context, Interrupted
from .definitions import object_info
from .errors import WorkflowError
from .executor import Executor, RunResult
from .host import ExecutionBlocker
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
