"""What the fixtures give: running files, single nodes and graphs built in code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..executor.context import using
from ..executor.errors import WorkflowError
from ..prompts.overrides import find_node
from .comparison import check_limits, compare_with
from .measures import is_latent, is_tensor
from .references import slug, stored_form, write_stored
from .replacements import fake_classes, shipped
from .results import NodeValues, Outcome
from .session import Comfy, Items, Job, Runner, WorkflowFailed, WorkflowRefused
from .settings import Settings
from .taps import Prompt, Taps, output_names

_PLAIN = (str, int, float, bool)


class WorkflowCalls:
    """`run_workflow`."""

    def __init__(self, comfy: Comfy):
        self._comfy = comfy

    def __call__(
        self,
        file: str | Path,
        set: Mapping[str, Any] | None = None,
        seed: int | None = None,
        only: Sequence[str] | None = None,
        fake: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Run a file; raises WorkflowRefused or WorkflowFailed."""
        path = self._comfy.settings.root / file
        try:
            job = self._comfy.read(path, set, seed, only)
            job = replace(job, classes=fake_classes(self._comfy, job.prompt, fake or {}))
        except WorkflowError as error:
            raise WorkflowRefused(str(error)) from None
        return self._comfy.run_well(job)


@dataclass(frozen=True)
class GraphNode:
    """A node of a graph: an input as it is, or one of its outputs by `[name]` or `[slot]`."""

    id: str
    outputs: list[str]
    types: list[str]

    def __getitem__(self, name: str | int) -> Output:
        if isinstance(name, str):
            if name not in self.outputs:
                raise KeyError(f"{self.id} has no output {name!r}; it has {', '.join(self.outputs) or 'none'}")
            name = self.outputs.index(name)
        return Output(self.id, range(len(self.outputs))[name])

    def __str__(self) -> str:
        return self.id

    def fitting(self, wanted: Any) -> Output:
        """The first output of a type, else the first."""
        types = str(wanted).split(",")
        slot = next((i for i, kind in enumerate(self.types) if kind in types), 0)
        return self[slot]


class Output(NamedTuple):
    """One output of a node."""

    node: str
    slot: int


class GraphBuilder:
    """A prompt built in code; tensors, models and `Items` are handed in as they are."""

    def __init__(self, comfy: Comfy):
        self._comfy = comfy
        self._taps = Taps()
        self._given: Prompt = {}
        self.prompt: Prompt = {}

    def add(self, kind: str, *, title: str | None = None, **inputs: Any) -> GraphNode:
        """A node of a class; what isn't given has its default. Raises WorkflowRefused for an unknown class or input."""
        info = self._comfy.object_info.get(kind)
        if info is None:
            raise WorkflowRefused(f"unknown node class {kind!r}")
        declared = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        takes_any = not declared or getattr(self._comfy.classes[kind], "VALIDATE_INPUTS", None) is not None
        for name in inputs:
            if name.partition(".")[0] not in declared and not takes_any:
                raise WorkflowRefused(f"{kind} has no input {name!r}; it has {', '.join(declared)}")
        required = info["input"].get("required", {})
        filled = {name: default for name, entry in required.items() for default in _default(entry)}
        given = {name: self._value(value, declared.get(name)) for name, value in inputs.items()}
        node_id = str(len(self.prompt) + 1)
        self.prompt[node_id] = {
            "class_type": kind,
            "inputs": {**filled, **given},
            "_meta": {"title": title or info.get("display_name") or kind},
        }
        return GraphNode(node_id, output_names(info), [str(one) for one in info["output"]])

    def run(self, only: Sequence[Any] | None = None) -> Outcome:
        """Run it; raises WorkflowRefused or WorkflowFailed.

        Every node is run, whether an output node needs it or not; with `only`, just these and what they need.
        """
        ids = list(self.prompt) if only is None else [find_node(self.prompt, str(one)) for one in only]
        classes = {key: self._comfy.classes[self.prompt[key]["class_type"]] for key in ids}
        outputs = [key for key, one in classes.items() if getattr(one, "OUTPUT_NODE", False)]
        outcome = Runner(self._comfy, Job({**self.prompt, **self._given}, targets=outputs), ids, self._taps).run()
        if outcome.refused is not None:
            raise WorkflowRefused(outcome.refused)
        if outcome.failed is not None:
            raise WorkflowFailed(outcome.failed)
        return outcome

    def _value(self, value: Any, declared: Any) -> Any:
        if isinstance(value, GraphNode):
            value = value.fitting(declared[0] if declared else "*")
        if isinstance(value, Output):
            return [value.node, value.slot]
        if isinstance(value, _PLAIN) or value is None or _is_raw(declared):
            return value
        if isinstance(value, (list, dict)) and not isinstance(value, Items) and not _is_socket(declared):
            return {"__value__": value}
        return self._taps.give(self._given, value if isinstance(value, Items) else [value])


def _options(declared: Any) -> Mapping[str, Any]:
    return declared[1] if declared and len(declared) > 1 and isinstance(declared[1], dict) else {}


def _is_raw(declared: Any) -> bool:
    return bool(_options(declared).get("rawLink"))


def _is_socket(declared: Any) -> bool:
    """Whether only another node can give it: a type in capitals that has no widget."""
    kind = declared[0] if declared else "*"
    return isinstance(kind, str) and kind not in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


def _default(declared: Any) -> list[Any]:
    """The default of an input in a list, or nothing."""
    kind, options = declared[0], _options(declared)
    if "default" in options:
        return [options["default"]]
    choices = kind if isinstance(kind, (list, tuple)) else options.get("options") if kind == "COMBO" else None
    if choices:
        first = choices[0]
        return [first["key"] if isinstance(first, dict) and "key" in first else first]
    empty = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}
    return [empty[kind]] if isinstance(kind, str) and kind in empty and not options.get("forceInput") else []


class NodeCalls:
    """`run_node`."""

    def __init__(self, comfy: Comfy):
        self._comfy = comfy

    def __call__(self, kind: str, **inputs: Any) -> NodeValues:
        """Run one node; raises WorkflowRefused or WorkflowFailed."""
        graph = GraphBuilder(self._comfy)
        node = graph.add(kind, **inputs)
        if not node.outputs and not getattr(self._comfy.classes[kind], "OUTPUT_NODE", False):
            raise WorkflowRefused(f"{kind} has no outputs and is no output node: it is never run")
        return graph.run(only=[node])[node]


class ShippedModel(NamedTuple):
    """The small model that ships."""

    model: Any
    clip: Any
    vae: Any


def load_shipped(comfy: Comfy) -> ShippedModel:
    """Load it on the session's host."""
    with using(comfy.context):
        return ShippedModel(*(shipped(comfy, kind) for kind in ("MODEL", "CLIP", "VAE")))


class Comparer:
    """`compare`: references in `references/TEST_FILE/` beside the test file."""

    def __init__(self, test_file: Path, test_name: str, settings: Settings):
        self._folder = test_file.parent / "references" / test_file.stem
        self._failures = settings.failures / test_file.stem
        self._test, self._settings = slug(test_name), settings

    def __call__(self, value: Any, name: str | None = None, **limits: float) -> None:
        """Compare; raises AssertionError with a line, and leaves the pictures in the folder of failures."""
        values = value if isinstance(value, list) else [value]
        stored = stored_form(values) if all(is_tensor(one) or is_latent(one) for one in values) else None
        if not stored:
            raise TypeError(f"compare takes images, masks and latents, not {type(value).__name__}")
        stem = self._test if name is None else f"{self._test}.{slug(name)}"
        shots = [self._shot(f"{stem}{suffix}", content, check_limits(limits)) for suffix, content in stored]
        faults = [shot.fault for shot in shots if shot.fault]
        for shot in shots:
            if shot.fault:
                shot.write(self._failures)
        if faults:
            raise AssertionError("\n".join([*faults, f"images: {self._failures}"]))

    def _shot(self, file: str, content: Any, limits: dict[str, float]) -> Any:
        path, name = self._folder / file, file.rpartition(".")[0]
        shot = compare_with(name, path, content, limits)
        if shot.fault and self._settings.is_updating:
            write_stored(path, content)
            shot = compare_with(name, path, content, limits)
        return shot
