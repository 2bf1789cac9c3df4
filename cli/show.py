"""`show`: a workflow's nodes in the terminal, with their values and what can be `--set`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ..executor.context import using
from ..executor.graph import is_link, links
from ..prompts.overrides import Prompt, class_of, inputs_of, title_of
from .definition_texts import allowed
from .node_set import load_node_set
from .options import add_file_option, add_node_options, new_parser
from .sources import open_sources


def add_parser(commands: Any) -> None:
    """Add this command to the command line."""
    parser = new_parser(
        commands,
        "show",
        command,
        "Show the nodes of workflow files, and what run --set can change",
        [("comfyui-ddim show image.png", "the workflow that made an image")],
    )
    add_file_option(parser)
    add_node_options(parser)


def command(arguments: argparse.Namespace) -> int:
    """Print every file's nodes, sources before what uses them."""
    sources = open_sources(arguments.files)
    node_set = load_node_set(arguments)
    with using(node_set.context):
        for source in sources:
            prompt = source.prompt(node_set.object_info).nodes
            if len(sources) > 1:
                arguments.out.line(f"{source.name}:")
            for line in graph_lines(prompt, node_set.object_info):
                arguments.out.line(line)
    return 0


def graph_lines(prompt: Prompt, object_info: Mapping[str, Any]) -> Iterator[str]:
    """The lines about a prompt: a node, then its inputs, `= value` where `--set` can change it, `<- source` links."""
    for node_id in _in_order(prompt):
        node = prompt[node_id]
        kind, title = class_of(node), title_of(node)
        yield f"{node_id}  {kind}" + (f'  "{title}"' if title != kind else "")
        inputs = inputs_of(node)
        declared = object_info.get(kind, {}).get("input", {})
        declared = {**declared.get("required", {}), **declared.get("optional", {})}
        width = max(map(len, inputs), default=0)
        for name, value in inputs.items():
            yield f"     {name.ljust(width)}  {_shown(prompt, value, declared.get(name))}"


def _in_order(prompt: Prompt) -> list[str]:
    sources = {
        node_id: [source for _, source in links(node) if source in prompt] for node_id, node in prompt.items()
    }
    try:
        return list(TopologicalSorter(sources).static_order())
    except CycleError:
        return list(prompt)


def _shown(prompt: Prompt, value: Any, declared: Any) -> str:
    if is_link(value):
        source, slot = value
        return f"<- {source} {title_of(prompt[source])}, output {slot}" if source in prompt else f"<- {source}?"
    text = repr(value)
    note = allowed(declared)
    return f"= {text if len(text) <= 70 else text[:67] + '...'}" + (f"   ({note})" if note else "")
