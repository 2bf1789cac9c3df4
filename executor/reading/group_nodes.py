"""Group nodes, the editor's folding before subgraphs: each `workflow>Name` becomes a subgraph like the others.

Which inputs, widgets and outputs such a node has is nowhere in the file: the editor derives it from the nodes inside,
and so does this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import WorkflowError
from .definition import Declaration, Definition
from .graph import SUBGRAPH_INPUT, SUBGRAPH_OUTPUT, Graph, Link, Node, Slot, parse_index, parse_node, short
from .layout import SEEDS, lay_out, seed_control
from .limits import MAX_GROUP_SLOTS, MAX_NAME
from .widget_types import Widget

PREFIXES = ("workflow>", "workflow/")
"""What a group node's type has before the group's name; the second is how the first editors wrote it."""


def unfold_group(
    name: str,
    data: dict[str, Any],
    declarations: Mapping[str, Declaration],
    groups: Mapping[str, Definition],
    held: int = 0,
) -> tuple[Graph, Definition]:
    """The inside of the group node `name` as a subgraph, its nodes numbered, and what its outside declares.

    `held` is how many widget values its hosts hold, 0 where none holds any. Where they are too few for today's classes,
    the widgets that these have gained come last: their place among the others is not the one that was saved.
    """
    group = _parse(data, f" of group node {short(name)}")
    inner = {node.id: _inner_definition(node, group, declarations, groups) for node in group.nodes.values()}
    if sum(definition.size for definition in inner.values()) > MAX_GROUP_SLOTS:
        raise WorkflowError(f"group node {short(name)} shows more than {MAX_GROUP_SLOTS} inputs and outputs")
    outside = _outside(group, inner)
    if 0 < held < len(outside.widgets):
        gained = {node.id: _gained(node, inner[node.id]) for node in group.nodes.values()}
        outside = _outside(group, inner, gained)
    outputs = list(_outputs(group, inner))
    graph = _graph(group, inner, outside, outputs)
    types = tuple(slot.type for slot in graph.outputs)
    return graph, Definition(name, graph.inputs, types, tuple(outside.widgets))


@dataclass(frozen=True, slots=True)
class _Group:
    """What the file says of a group: nodes by number, the links inside, and the outputs that are used outside too.

    `fed` has the links by the (node, input) they feed, `leaving` those inputs by the (node, output) that feeds them.
    """

    nodes: dict[str, Node]
    fed: dict[tuple[str, str], Link]
    leaving: dict[tuple[str, int], list[tuple[str, str]]]
    external: set[tuple[str, int]]
    config: dict[str, Any]

    def setting(self, index: str, kind: str, key: str) -> dict[str, Any]:
        """What the user set for one input or output of one node: {"name", "visible"}."""
        value: Any = self.config
        for step in (index, kind, key):
            value = value.get(step) if isinstance(value, dict) else None
        return value if isinstance(value, dict) else {}


def _parse(data: dict[str, Any], where: str) -> _Group:
    entries, links, ends = (data.get(key) or [] for key in ("nodes", "links", "external"))
    if not all(isinstance(part, list) for part in (entries, links, ends)):
        raise WorkflowError(f"nodes, links and external{where} must be lists")
    nodes = {}
    for i, entry in enumerate(entries):
        nodes[str(i)] = parse_node(entry | {"id": i} if isinstance(entry, dict) else entry, where)
    fed = {}
    for entry in links:
        if not isinstance(entry, list) or len(entry) < 4:
            raise WorkflowError(f"a link{where} must be [from, slot, to, slot, ...]")
        if entry[0] is None:  # comes from outside
            continue
        origin, origin_slot, target, target_slot = (parse_index(value, "a link" + where) for value in entry[:4])
        node = nodes.get(str(target))
        if node is not None and str(origin) in nodes and 0 <= target_slot < len(node.inputs):
            name = node.inputs[target_slot].name
            fed[node.id, name] = Link(str(origin), origin_slot, node.id, target_slot)
    leaving: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for key, link in fed.items():
        leaving.setdefault((link.origin, link.origin_slot), []).append(key)
    external = set()
    for entry in ends:
        if not isinstance(entry, list) or len(entry) < 2:
            raise WorkflowError(f"an entry of external{where} must be [node, slot, type]")
        at = entry[0].get("index") if isinstance(entry[0], dict) else entry[0]  # early saves put the node itself there
        node_index, slot = (parse_index(value, "external" + where) for value in (at, entry[1]))
        external.add((str(node_index), slot))
    config = data.get("config")
    return _Group(nodes, fed, leaving, external, config if isinstance(config, dict) else {})


def _inner_definition(
    node: Node, group: _Group, declarations: Mapping[str, Declaration], groups: Mapping[str, Definition]
) -> Definition:
    """What a node inside declares; the browser's own nodes get sockets of the types they are joined with."""
    if node.type in groups:
        return groups[node.type]
    if node.type in declarations:
        return lay_out(declarations[node.type], node)
    fed = group.leaving.get((node.id, 0), [])
    targets = [slot for target, name in fed[:1] for slot in group.nodes[target].inputs if slot.name == name]
    if node.type == "PrimitiveNode" and targets:
        kind = targets[0].type
        widgets = (Widget("value", kind), *seed_control(kind))
        return Definition("", (Slot("value", kind, widget="value"),), (kind,), widgets)
    if node.type == "Reroute":
        passed_on = bool(node.inputs) and (node.id, node.inputs[0].name) in group.fed and bool(targets)
        if not passed_on or (node.id, 0) in group.external:
            kind = targets[0].type if targets else "*"
            name = (node.inputs[0].name if node.inputs else "") or kind
            return Definition("", (Slot(name, kind),), (kind,), ())
    return Definition("", (), (), ())


def _runs(widgets: tuple[Widget, ...]) -> Iterator[list[Widget]]:
    """Each widget with those that the browser put behind it."""
    run: list[Widget] = []
    for widget in widgets:
        if widget.sent and run:
            yield run
            run = []
        run.append(widget)
    if run:
        yield run


@dataclass(slots=True)
class _Outside:
    """The host's inputs as they are found, each with the node and input inside that it feeds."""

    group: _Group
    sockets: list[tuple[Slot, str, str]] = field(default_factory=list)
    shown: list[tuple[Slot, str, str]] = field(default_factory=list)
    widgets: list[Widget] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)

    def add_socket(self, node: Node, slot: Slot) -> None:
        name = self._name(node, slot.name)
        if self.group.setting(node.id, "input", slot.name).get("visible") is not False:
            self.sockets.append((Slot(name, slot.type), node.id, slot.name))

    def add_widget(self, node: Node, run: list[Widget]) -> None:
        name = self._name(node, run[0].name)
        self.shown.append((Slot(name, run[0].type, widget=name), node.id, run[0].name))
        behind = run[1:] or (seed_control(run[0].type) if run[0].name in SEEDS else ())
        self.widgets += [replace(run[0], name=name), *(replace(w, name=f"{name} {w.name}") for w in behind)]

    def _name(self, node: Node, inside: str) -> str:
        """The host's name for an input: its own, or with the node's title before it where that is taken."""
        custom = self.group.setting(node.id, "input", inside).get("name")
        label = next((slot.label for slot in node.inputs if slot.name == inside), None)
        name = key = custom if isinstance(custom, str) else label or inside
        if name in self.seen or (node.type == "PrimitiveNode" and node.title):
            title = (node.title or node.type)[:MAX_NAME]
            name = key = f"{title} {inside}"
            if name in self.seen:
                name = f"{title} {self.seen[name]} {inside}"
        self.seen[key] = self.seen.get(key, 1) + 1
        if len(name) > 2 * MAX_NAME:
            raise WorkflowError(f"an input of a group node has a name of {len(name)} characters, which is too long")
        return name


def _outside(group: _Group, inner: Mapping[str, Definition], gained: Mapping[str, set[str]] | None = None) -> _Outside:
    """What the host shows, in the editor's order; widgets that are `gained` (node -> names) after all others."""
    outside = _Outside(group)
    late: list[tuple[Node, list[Widget]]] = []
    last: list[tuple[Node, list[Widget]]] = []
    for node in group.nodes.values():
        definition, new = inner[node.id], (gained or {}).get(node.id, set())
        converted = {slot.name: i for i, slot in enumerate(node.inputs) if slot.widget == slot.name}
        runs = {run[0].name: run for run in _runs(definition.widgets)}
        for widget, run in runs.items():
            if widget in new:
                last.append((node, run))
            elif widget not in converted:
                outside.add_widget(node, run)
        for slot in definition.inputs:
            if slot.widget is None and (node.id, slot.name) not in group.fed:
                outside.add_socket(node, slot)
        # Widgets that were turned into inputs come after all the others, by their numbers read as text.
        for widget in sorted(converted.keys() & runs.keys() - new, key=lambda key: str(converted[key])):
            if (node.id, widget) not in group.fed:
                late.append((node, runs[widget]))
    for node, run in (*late, *last):
        outside.add_widget(node, run)
    return outside


def _gained(node: Node, definition: Definition) -> set[str]:
    """The widgets for which a node inside was saved without a value: its class didn't have them then."""
    names = [widget.name for widget in definition.widgets if widget.saved]
    return set(names[len(node.values) :]) if isinstance(node.values, list) and node.values else set()


def _outputs(group: _Group, inner: Mapping[str, Definition]) -> Iterator[tuple[str, str, int]]:
    """Type, node and slot of every output that the host shows: all that aren't used up inside."""
    for node in group.nodes.values():
        for slot, kind in enumerate(inner[node.id].outputs):
            used_up = (node.id, slot) in group.leaving and (node.id, slot) not in group.external
            visible = group.setting(node.id, "output", str(slot)).get("visible")
            if visible if isinstance(visible, bool) else not used_up:
                yield kind, node.id, slot


def _graph(
    group: _Group, inner: Mapping[str, Definition], outside: _Outside, outputs: list[tuple[str, str, int]]
) -> Graph:
    """The group in the form of a subgraph: links from its inputs, between its nodes, and to its outputs."""
    links: dict[str, Link] = {}
    feeds: dict[str, dict[str, str]] = {node_id: {} for node_id in group.nodes}

    def join(node_id: str, name: str, link: Link) -> None:
        links[str(len(links))] = link
        feeds[node_id][name] = str(len(links) - 1)

    hosted = [*outside.sockets, *outside.shown]
    for i, (_, node_id, name) in enumerate(hosted):
        join(node_id, name, Link(SUBGRAPH_INPUT, i, node_id, 0))
    for (node_id, name), link in group.fed.items():
        join(node_id, name, link)
    nodes = {}
    for node in group.nodes.values():
        declared = {slot.name: slot for slot in (*inner[node.id].inputs, *node.inputs)}
        slots = (replace(slot, link=feeds[node.id].get(name)) for name, slot in declared.items())
        nodes[node.id] = replace(node, inputs=tuple(slots))
    out = []
    for i, (kind, node_id, slot) in enumerate(outputs):
        links[f"out{i}"] = Link(node_id, slot, SUBGRAPH_OUTPUT, i)
        out.append(Slot("", kind, f"out{i}"))
    return Graph(nodes, links, tuple(slot for slot, _, _ in hosted), tuple(out))
