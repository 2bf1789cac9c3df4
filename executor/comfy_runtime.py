"""The runtime where ComfyUI's own modules are loaded in this process.

Nothing here imports ComfyUI: it speaks to the modules that the nodes have already brought in, and does
without those they haven't (a pack may need `comfy_execution.graph_utils` and nothing else).
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import logging
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from .outside_store import OutsideStore
from .runtime import Report, Runtime

logger = logging.getLogger(__name__)


def _module(name: str) -> ModuleType | None:
    return sys.modules.get(name)


class ComfyRuntime(Runtime):
    """ComfyUI's modules, as far as they are loaded."""

    def __init__(self):
        self._graph_utils = _module("comfy_execution.graph_utils")
        self._utils = _module("comfy_execution.utils")
        self._management = _module("comfy.model_management")
        self._progress = _module("comfy_execution.progress")
        self._api = _module("comfy_api.internal")
        self._io = _module("comfy_api.latest._io")
        self.blockers = (*Runtime.blockers, self._graph_utils.ExecutionBlocker)
        if self._management is not None:
            self.interruptions = (*Runtime.interruptions, self._management.InterruptProcessingException)

    def submitted(self, prompt: dict[str, Any], extra_data: Mapping[str, Any]) -> tuple[dict, Mapping[str, Any]]:
        """Let packs' on_prompt handlers and ComfyUI's node replacements at it, as its server does."""
        server = getattr(getattr(_module("server"), "PromptServer", None), "instance", None)
        if server is None:
            return prompt, extra_data
        if server.on_prompt_handlers:
            posted = server.trigger_on_prompt({"prompt": prompt, "extra_data": dict(extra_data)})
            prompt, extra_data = posted["prompt"], posted["extra_data"]
        replacements = getattr(server, "node_replace_manager", None)
        return (_replaced(prompt, replacements) if replacements is not None else prompt), extra_data

    def run_started(self, run_id: str, graph: Any, report: Report, extra_data: Mapping[str, Any]) -> None:
        """Clear ComfyUI's interrupt flag and take over both of its ways to report progress."""
        previews = _module("latent_preview")
        if hasattr(previews, "set_preview_method"):
            previews.set_preview_method(extra_data.get("preview_method"))
        if self._management is not None:
            self._management.interrupt_current_processing(False)
            self._management.cleanup_models_gc()
        if self._progress is not None:
            self._progress.reset_progress_state(run_id, graph)
            self._progress.add_progress_handler(_ProgressHandler(report))
        if (utils := _module("comfy.utils")) is not None:
            utils.set_progress_bar_global_hook(self._progress_bar_hook(report))

    def _progress_bar_hook(self, report: Report) -> Callable[..., None]:
        def hook(
            value: float, total: float, preview: Any, prompt_id: Any = None, node_id: Any = None
        ) -> None:
            if node_id is None and self._utils is not None:
                context = self._utils.get_executing_context()
                node_id = context.node_id if context is not None else None
            if node_id is not None:
                report(node_id, value, total, preview)

        return hook

    def store(self, graph: Any, fingerprints: Mapping[str, Any]) -> OutsideStore | None:
        """The cache providers, where the version has them and packs have registered any."""
        providers = _module("comfy_execution.cache_provider")
        if providers is None or not providers._has_cache_providers():
            return None
        return OutsideStore(providers, importlib.import_module("comfy_execution.caching"), graph, fingerprints)

    def run_ended(self) -> None:
        """Unload models if ComfyUI was told not to keep them."""
        if self._management is not None and self._management.DISABLE_SMART_MEMORY:
            self._management.unload_all_models()

    def interrupt(self) -> None:
        """Raise ComfyUI's own flag too: some nodes look at nothing else."""
        if self._management is not None:
            self._management.interrupt_current_processing(True)

    def before_call(self, node_id: str, index: int) -> None:
        """Give ComfyUI's GraphBuilder the prefix for the ids of nodes it makes in this call."""
        self._graph_utils.GraphBuilder.set_default_prefix(node_id, index, 0)

    def calling(self, run_id: str, node_id: str, index: int | None) -> contextlib.AbstractContextManager[Any]:
        """Set what ComfyUI's `get_executing_context()` answers."""
        if self._utils is None:
            return contextlib.nullcontext()
        return self._utils.CurrentNodeContext(run_id, node_id, index)

    def call_ended(self) -> None:
        """Let go of what DynamicVRAM holds for the node."""
        if getattr(_module("comfy.memory_management"), "aimdo_enabled", False):
            self._management.reset_cast_buffers()
            for name, function in (
                ("comfy.model_prefetch", "cleanup_prefetch_queues"),
                ("comfy_aimdo.model_vbar", "vbars_reset_watermark_limits"),
            ):
                getattr(_module(name), function, lambda: None)()

    def advice(self, error: BaseException) -> str:
        """Free the models when memory ran out."""
        if self._management is None or not self._is_out_of_memory(error):
            return ""
        self._management.unload_all_models()
        return "The device ran out of memory: try a smaller image or batch."

    def _is_out_of_memory(self, error: BaseException) -> bool:
        if hasattr(self._management, "is_oom"):
            return self._management.is_oom(error)
        return isinstance(error, self._management.OOM_EXCEPTION)

    def is_v3_class(self, node_class: type) -> bool:
        """Whether it derives from `io.ComfyNode`."""
        return self._api is not None and issubclass(node_class, self._api._ComfyNodeInternal)

    def v3_inputs(
        self, node_class: type, inputs: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, str], Any]:
        """Declared inputs; from 0.8 on, after dynamic inputs are laid out for the values at hand."""
        if hasattr(self._io, "get_finalized_class_inputs"):
            declared, hidden, data = self._io.get_finalized_class_inputs(node_class.INPUT_TYPES(), inputs)
            kinds = {kind.value: kind.value for kind in self._io.Hidden if kind.name in (hidden or ())}
            return declared, kinds, data
        declared, schema = node_class.INPUT_TYPES(include_hidden=False, return_schema=True)
        return declared, {kind.value: kind.value for kind in schema.hidden or ()}, None

    def v3_override(self, node_class: type, name: str) -> Callable[..., Any] | None:
        """The class's own version of the method, if it has one."""
        return self._api.first_real_override(node_class, name)

    def bind(
        self, target: Any, method: str, data: Any, hidden: Mapping[str, Any], arguments: dict[str, Any]
    ) -> tuple[Callable[..., Any], dict[str, Any]]:
        """A v3 class's methods run on a locked clone of the class that carries the hidden inputs."""
        node_class = target if isinstance(target, type) else type(target)
        node_class.VALIDATE_CLASS()
        hidden_values = {self._io.Hidden(kind): value for kind, value in hidden.items()}
        if hasattr(self._io, "build_nested_inputs"):
            data = {**(data or {}), "hidden_inputs": hidden_values}
            if method == "check_lazy_status":  # it is told the key of each dynamic input too: (value, key)
                data["create_dynamic_tuple"] = True
            arguments = self._io.build_nested_inputs(arguments, data)
            clone = node_class.PREPARE_CLASS_CLONE(data)
        else:
            clone = node_class.PREPARE_CLASS_CLONE(hidden_values)
        return self._api.make_locked_method_func(node_class, method, clone), arguments

    def is_v3_result(self, result: object) -> bool:
        """Whether it is an `io.NodeOutput`."""
        return self._api is not None and isinstance(result, self._api._NodeOutputInternal)


def _replaced(prompt: dict[str, Any], replacements: Any) -> dict[str, Any]:
    """The prompt with ComfyUI's replacements of classes that are gone; without them if one can't be made."""
    classes = _module("nodes").NODE_CLASS_MAPPINGS
    gone = [
        node_id
        for node_id, node in prompt.items()
        if isinstance(node, dict)
        and isinstance(name := node.get("class_type"), str)
        and name not in classes
        and replacements.has_replacement(name)
    ]
    if not gone:
        return prompt
    replaced = copy.deepcopy(prompt)  # links are changed in place
    for node_id in gone:
        replaced[node_id].setdefault("_meta", {})
    try:
        replacements.apply_replacements(replaced)
    except Exception as error:
        logger.warning("ComfyUI couldn't replace nodes %s: %s: %s", ", ".join(gone), type(error).__name__, error)
        return prompt
    return replaced


class _ProgressHandler:
    """Receives what nodes report to ComfyUI's progress registry; called by the names ComfyUI gives."""

    name = "comfyui_ddim"
    enabled = True

    def __init__(self, report: Report):
        self._report = report

    def set_registry(self, registry: Any) -> None:
        """The registry it has been added to."""

    def start_handler(self, node_id: str, state: Any, prompt_id: str) -> None:
        """A node started."""

    def update_handler(
        self, node_id: str, value: float, max_value: float, state: Any, prompt_id: str, image: Any = None
    ) -> None:
        """A node has done `value` of `max_value`."""
        self._report(node_id, value, max_value, image)

    def finish_handler(self, node_id: str, state: Any, prompt_id: str) -> None:
        """A node is done."""

    def reset(self) -> None:
        """Another run begins."""


def runtime_of_this_process() -> Runtime:
    """ComfyUI's runtime if its modules are loaded here, else the plain one."""
    if "comfy_execution.graph_utils" in sys.modules:
        return ComfyRuntime()
    return Runtime()
