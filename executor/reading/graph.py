"""What the browser saved, parsed once: nodes, slots and links, the same from schema 0.4 and 1.0.

Only what decides the prompt is kept; positions, colours, groups, native reroutes and floating links are not read.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import WorkflowError
from .editors import Editor, editor_of
from .limits import MAX_NAME, MAX_NODES, MAX_TYPE

NEVER, BYPASS = 2, 4
"""The two node modes that keep a node from running: muted, and bypassed (its inputs stand in for its outputs)."""

SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = "-10", "-20"
"""The ids that links inside a subgraph give its own inputs and outputs."""


@dataclass(frozen=True, slots=True)
class Link:
    """Where a link comes from and goes to; node ids as text."""

    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(frozen=True, slots=True)
class Slot:
    """An input or an output: `link` is the link that feeds it, `widget` the widget it stands for."""

    name: str
    type: str
    link: str | None = None
    widget: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One node as saved. `values` is what its widgets held: by position, by name, or nothing at all.

    `named` is the same by name, which newer editors save besides, in the order of the list.
    """

    id: str
    type: str
    title: str | None
    mode: int
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    values: list[Any] | dict[str, Any] | None
    properties: dict[str, Any]
    named: dict[str, Any] = field(default_factory=dict)

    @property
    def values_by_name(self) -> dict[str, Any]:
        """The list's values under the names beside it; nothing where the two don't belong together."""
        fits = isinstance(self.values, list) and len(self.values) == len(self.named)
        return dict(zip(self.named, self.values or (), strict=True)) if fits else {}

    def __str__(self) -> str:
        return f"node {self.id} ({self.type[:60]})"


@dataclass(frozen=True, slots=True)
class Graph:
    """The nodes of one level, in the file's order, and what its links join.

    `inputs` and `outputs` are a subgraph's own slots (none at the top), an output with the link that feeds it.
    """

    nodes: dict[str, Node]
    links: dict[str, Link]
    inputs: tuple[Slot, ...] = ()
    outputs: tuple[Slot, ...] = ()


@dataclass(frozen=True, slots=True)
class Workflow:
    """A whole file: the graph at the top, and the subgraphs and old group nodes it may use, by node type.

    `editor` is the one that saved it, as far as the file says; `last_id` is the last number it gave to a node.
    """

    graph: Graph
    subgraphs: dict[str, Graph] = field(default_factory=dict)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    editor: Editor = field(default_factory=Editor)
    last_id: int = 0


def parse_workflow(data: dict[str, Any]) -> Workflow:
    """Parses a browser-saved workflow; raises WorkflowError where it isn't one."""
    extra = _dict(data.get("extra"), "extra")
    editor = editor_of(extra.get("frontendVersion"))
    subgraphs: dict[str, Graph] = {}
    pending = [data]
    while pending:  # definitions may hold definitions of their own
        definitions = _dict(pending.pop().get("definitions"), "definitions")
        for definition in _list(definitions.get("subgraphs"), "definitions.subgraphs"):
            definition = _dict(definition, "a subgraph definition")
            name = _text(definition.get("id"), "id of a subgraph definition")
            subgraphs[name] = _graph(definition, f" of subgraph {definition.get('name', name)!r}", editor)
            pending.append(definition)
    groups = _dict(extra.get("groupNodes"), "extra.groupNodes")
    return Workflow(
        graph=_graph(data, "", editor),
        subgraphs=subgraphs,
        groups={k: _dict(v, f"group node {k!r}") for k, v in groups.items()},
        editor=editor,
        last_id=_last_id(data),
    )


def _last_id(data: dict[str, Any]) -> int:
    state = data.get("state")
    last = data.get("last_node_id", state.get("lastNodeId") if isinstance(state, dict) else None)
    return last if isinstance(last, int) else 0


def _graph(data: dict[str, Any], where: str, editor: Editor) -> Graph:
    nodes: dict[str, Node] = {}
    entries = _list(data.get("nodes"), "nodes" + where)
    if len(entries) > MAX_NODES:
        raise WorkflowError(f"{len(entries)} nodes{where}; at most {MAX_NODES} are read")
    for entry in entries:
        node = parse_node(entry, where)
        if node.id in nodes:
            raise WorkflowError(f"two nodes{where} have the id {node.id}; ids must differ")
        nodes[node.id] = node
    pairs = [_link(entry, where) for entry in _list(data.get("links"), "links" + where) if entry is not None]
    links = dict(pairs)
    if len(links) < len(pairs) and editor.first_link_counts:
        links = dict(reversed(pairs))
        doubled = {key for key, number in Counter(key for key, _ in pairs).items() if number > 1}
        nodes = {key: _with_own_links(node, links, doubled) for key, node in nodes.items()}
    fed_by = {link.target_slot: key for key, link in links.items() if link.target == SUBGRAPH_OUTPUT}
    inputs = [_slot(s, "inputs" + where) for s in _list(data.get("inputs"), "inputs" + where)]
    outputs = [_slot(s, "outputs" + where) for s in _list(data.get("outputs"), "outputs" + where)]
    outputs = [replace(slot, link=fed_by.get(i)) for i, slot in enumerate(outputs)]
    return Graph(nodes, links, tuple(inputs), tuple(outputs))


def _with_own_links(node: Node, links: dict[str, Link], doubled: set[str]) -> Node:
    """A node without the links of a doubled id that lead to another."""
    strange = {key for key in doubled if links[key].target != node.id}
    slots = (replace(slot, link=None) if slot.link in strange else slot for slot in node.inputs)
    return replace(node, inputs=tuple(slots))


def parse_node(entry: Any, where: str = "") -> Node:
    """Parses one entry of a `nodes` list; `where` ends the error lines."""
    data = _dict(entry, "a node" + where)
    node_id = _id(data.get("id"), "id of a node" + where)
    here = f" of node {node_id}{where}"
    values = data.get("widgets_values")
    if values is not None and not isinstance(values, list | dict):
        raise WorkflowError(f"widgets_values{here} is {short(values)}; expected a list or an object")
    mode = data.get("mode") or 0
    if not isinstance(mode, int):
        raise WorkflowError(f"mode{here} is {short(mode)}; expected a number from 0 to 4")
    title = data.get("title")
    return Node(
        id=node_id,
        type=_text(data.get("type"), "type" + here),
        title=title if isinstance(title, str) and title else None,
        mode=mode,
        inputs=tuple(_slot(slot, "inputs" + here) for slot in _list(data.get("inputs"), "inputs" + here)),
        outputs=tuple(_slot(slot, "outputs" + here) for slot in _list(data.get("outputs"), "outputs" + here)),
        values=values,
        properties=_dict(data.get("properties"), "properties" + here),
        named=_dict(data.get("widgets_values_named"), "widgets_values_named" + here),
    )


def _slot(entry: Any, where: str) -> Slot:
    data = _dict(entry, "an entry of " + where)
    name, label, link, widget = (data.get(key) for key in ("name", "label", "link", "widget"))
    widget = widget.get("name") if isinstance(widget, dict) else None
    return Slot(
        name=name if isinstance(name, str) else "",
        type=slot_type(data.get("type")),
        link=None if link is None else _id(link, "a link in " + where),
        widget=widget if isinstance(widget, str) else None,
        label=label if isinstance(label, str) else None,
    )


def slot_type(declared: Any) -> str:
    """A slot's type as text: a list of choices is a COMBO, no type at all takes any."""
    if isinstance(declared, list | tuple):
        return "COMBO"
    if isinstance(declared, str) and len(declared) > MAX_TYPE:
        raise WorkflowError(f"a slot type of {len(declared)} characters; at most {MAX_TYPE} are read")
    return declared if isinstance(declared, str) else "*"


def _link(entry: Any, where: str) -> tuple[str, Link]:
    if isinstance(entry, list) and len(entry) >= 5:
        key, origin, origin_slot, target, target_slot = entry[:5]
    elif isinstance(entry, dict):
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
        key, origin, origin_slot, target, target_slot = (entry.get(name) for name in names)
    else:
        raise WorkflowError(f"a link{where} is {short(entry)}; expected [id, from, slot, to, slot, type]")
    here = f" of link {short(key)}{where}"
    return _id(key, "id of a link" + where), Link(
        _id(origin, "origin" + here),
        parse_index(origin_slot, "origin slot" + here),
        _id(target, "target" + here),
        parse_index(target_slot, "target slot" + here),
    )


def _dict(value: Any, what: str) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise WorkflowError(f"{what} is {short(value)}; expected an object")
    return value or {}


def _list(value: Any, what: str) -> list[Any]:
    """A list; nothing is an empty one, and an object with numbers for keys (early saves) is its values."""
    if isinstance(value, dict):
        value = list(value.values())
    if value is not None and not isinstance(value, list):
        raise WorkflowError(f"{what} is {short(value)}; expected a list")
    return value or []


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise WorkflowError(f"{what} is {short(value)}; expected text")
    return value


def _id(value: Any, what: str) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise WorkflowError(f"{what} is {short(value)}; expected a number or text")
    if len(text := str(value)) > MAX_NAME:
        raise WorkflowError(f"{what} has {len(text)} characters; at most {MAX_NAME} are read")
    return text


def parse_index(value: Any, what: str) -> int:
    """A slot's number, also where it was saved as text; raises WorkflowError for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise WorkflowError(f"{what} is {short(value)}; expected a whole number")
    return value


def short(value: Any) -> str:
    """A value from a file as an error line shows it: cut where it is long."""
    text = repr(value) if not isinstance(value, list | dict) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
