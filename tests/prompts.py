"""What two prompts must have in common to be the same: class and inputs of every node."""

import re

CANVAS = ("LOAD_3D", "LOAD_3D_ANIMATION")
"""Types of inputs that the editor fills in from its canvas as it queues."""

DOUBLED = re.compile(r".*#\d+")
"""Names that no class has: front end 1.58 gives a row's widget twice when it opens a file, as `n1` and `n1#1`."""


def essence(prompt, object_info):
    """Class and inputs per node, numbers by value.

    Without constants that no class declares (players and viewers), and without what the editor takes from its canvas.
    """
    return {key: _node(node, object_info.get(node.get("class_type"), {})) for key, node in prompt.items()}


def _node(node, info):
    types = dict(_types(info.get("input") or {}))

    def counts(name, value):
        known = "." in name or name in types
        return is_link(value) or (known and types.get(name) not in CANVAS and not DOUBLED.fullmatch(name))

    return node.get("class_type"), {name: value for name, value in node["inputs"].items() if counts(name, value)}


def _types(declared):
    for category in ("required", "optional"):
        for name, spec in (declared.get(category) or {}).items():
            yield name, "COMBO" if isinstance(spec[0], list) else spec[0]


def is_link(value):
    """Whether this is [node, slot]."""
    return isinstance(value, list) and len(value) == 2


def differences(ours, theirs):
    """Every difference of two essences in a line of words, the same for the same kind: class and input first."""
    for key in theirs.keys() | ours.keys():
        if key not in ours or key not in theirs:
            yield f"node {'missing' if key in theirs else 'extra'}: {key} {(theirs.get(key) or ours.get(key))[0]}"
            continue
        (kind, a), (other, b) = ours[key], theirs[key]
        if kind != other:
            yield f"class {kind}: for {other} at {key}"
        for name in sorted(a.keys() | b.keys()):
            if name not in a or name not in b or a[name] != b[name]:
                yield f"{kind}.{name}: {a.get(name, 'nothing')!r:.60} for {b.get(name, 'nothing')!r:.60} at {key}"
