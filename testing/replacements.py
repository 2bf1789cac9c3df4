"""Heavy parts replaced: loaders that give the shipped model, outputs recorded and played back."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..atomic import replacing
from ..executor.errors import WorkflowError
from ..executor.graph import is_link
from ..prompts.overrides import title_of
from .measures import is_tensor
from .session import Comfy, Job
from .taps import ANYTHING, Prompt

PLAYBACK = "ComfyTestPlayback:"
_LOADERS = {**dict.fromkeys(("MODEL", "CLIP", "VAE"), "DDIMLoadModel"), "CONTROL_NET": "DDIMLoadControlNet"}


def shipped(comfy: Comfy, kind: str) -> Any:
    """The shipped model's part of this socket type, on the session's host; call it inside a run."""
    name = _LOADERS[kind]
    loader = comfy.classes[name]
    (choices, *_), *_ = comfy.object_info[name]["input"]["required"].values()
    return loader().load(choices[0])[loader.RETURN_TYPES.index(kind)]


def fake_classes(comfy: Comfy, prompt: Prompt, fake: Mapping[str, str]) -> dict[str, type]:
    """Classes to stand for these loaders; raises WorkflowError for one that can't be faked, or isn't there."""
    classes = {}
    for kind in fake:
        if not any(node.get("class_type") == kind for node in prompt.values()):
            raise WorkflowError(f"[fake] {kind}: no node of this class in the workflow")
        info = comfy.object_info[kind]
        others = [str(output) for output in info["output"] if output not in _LOADERS]
        if others:
            raise WorkflowError(f"[fake] {kind}: gives {', '.join(others)}; only {', '.join(_LOADERS)} can be faked")
        classes[kind] = _fake_class(comfy, info)
    return classes


def _fake_class(comfy: Comfy, info: Mapping[str, Any]) -> type:
    class Fake:
        RETURN_TYPES, FUNCTION = tuple(info["output"]), "load"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            names = [name for group in info["input"].values() for name in group]
            return {"optional": dict.fromkeys(names, (ANYTHING,))}

        def load(self, **_: Any) -> tuple[Any, ...]:
            return tuple(shipped(comfy, kind) for kind in self.RETURN_TYPES)

    return Fake


class Recordings:
    """What nodes gave, in files named by all that it depends on."""

    def __init__(self, folder: Path, is_updating: bool):
        self._folder = folder
        self._is_updating = is_updating
        self.to_record: dict[str, Path] = {}
        self.played_back: list[str] = []

    def apply(self, comfy: Comfy, job: Job, node_ids: Sequence[str]) -> Job:
        """The job with these nodes played back, where they are recorded; raises WorkflowError if they must be."""
        prompt, classes = dict(job.prompt), dict(job.classes)
        for node_id in node_ids:
            node = job.prompt[node_id]
            kind, title = node["class_type"], title_of(node)
            path = self._folder / f"{content_key(job.prompt, node_id)}.safetensors"
            if path.is_file():
                self.played_back.append(title)
                comfy.object_info[PLAYBACK + kind] = {**comfy.object_info[kind], "input": {}}
                classes[PLAYBACK + kind] = _playback_class(comfy.object_info[kind])
                inputs = {"path": str(path)}
                prompt[node_id] = {**node, "class_type": PLAYBACK + kind, "inputs": inputs}
                prompt[node_id]["_meta"] = {"title": title}
            elif self._is_updating:
                self.to_record[node_id] = path
            else:
                missing = f"{title}: no recording of it with these inputs ({os.path.relpath(path)})"
                raise WorkflowError(f"{missing}; pytest --comfy-update makes it")
        return replace(job, prompt=_needed(comfy, prompt, job), classes=classes)

    def record(self, node_id: str, columns: Sequence[Sequence[Any]], title: str) -> None:
        """Write what a node gave; raises WorkflowError for what can't be written."""
        from safetensors.torch import save_file  # torch is there: a workflow has run

        path, tensors = self.to_record[node_id], {}
        outputs = [[_encoded(item, tensors, title) for item in column] for column in columns]
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            save_file(tensors, part, {"outputs": json.dumps(outputs)})


def _needed(comfy: Comfy, prompt: Prompt, job: Job) -> Prompt:
    """Without the nodes that no output needs now."""
    is_output = {
        key: getattr(comfy.classes.get(node.get("class_type")), "OUTPUT_NODE", False) is True
        for key, node in prompt.items()
    }
    stack, found = [key for key in prompt if is_output[key] or key in (job.targets or ())], set()
    while stack:
        node_id = stack.pop()
        if node_id in prompt and node_id not in found:
            found.add(node_id)
            inputs = prompt[node_id].get("inputs")
            stack.extend(value[0] for value in (inputs or {}).values() if is_link(value))
    return {key: node for key, node in prompt.items() if key in found}


def content_key(prompt: Prompt, node_id: str) -> str:
    """A key of a node's class, its values, and the same of all it depends on; ids and titles don't count."""
    keys: dict[str, str] = {}
    stack = [node_id]
    entered: set[str] = set()
    while stack:
        current = stack[-1]
        inputs = prompt[current].get("inputs", {}) if current in prompt else {}
        missing = [value[0] for value in inputs.values() if is_link(value) and value[0] not in keys]
        if missing and current not in entered:
            entered.add(current)
            stack.extend(missing)
            continue
        stack.pop()
        told = {name: [keys.get(value[0]), value[1]] if is_link(value) else value for name, value in inputs.items()}
        text = json.dumps([prompt.get(current, {}).get("class_type"), told], sort_keys=True, default=str)
        keys[current] = hashlib.sha256(text.encode()).hexdigest()[:20]
    return keys[node_id]


def _encoded(value: Any, tensors: dict[str, Any], title: str) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if is_tensor(value):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _encoded(item, tensors, title) for key, item in value.items()}}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_encoded(item, tensors, title) for item in value]}
    raise WorkflowError(f"{title}: gives a {type(value).__name__}, which can't be recorded")


def _decoded(value: Any, tensors: Mapping[str, Any]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _decoded(item, tensors) for key, item in content.items()}
    items = [_decoded(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items


def read_recording(path: Path) -> Iterator[list[Any]]:
    """The items of each output in a recording."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        outputs = json.loads(file.metadata()["outputs"])
    return ([_decoded(item, tensors) for item in column] for column in outputs)


def _playback_class(info: Mapping[str, Any]) -> type:
    class Playback:
        RETURN_TYPES, FUNCTION = tuple(info["output"]), "play"
        OUTPUT_IS_LIST = (True,) * len(RETURN_TYPES)

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"path": ("STRING", {})}}

        def play(self, path: str) -> tuple[list[Any], ...]:
            return tuple(read_recording(Path(path)))

    return Playback
