"""How large a workflow may be; what is larger is refused before it takes time and memory."""

MAX_TEXT = 32 * 2**20
"""Bytes of JSON, in a file of its own or inside a picture."""

MAX_NODES = 100_000
"""Nodes, counted with subgraphs unfolded: nesting multiplies what a small file holds."""

MAX_SLOTS = 1_000_000
"""Inputs and outputs of all those nodes together."""

MAX_GROUP_SLOTS = 20_000
"""Inputs, outputs and widgets of the nodes in one group node."""

MAX_DEPTH = 64
"""Subgraphs inside one another."""

MAX_STEPS = 1_000_000
"""Slots looked at while following links."""

MAX_NAME = 1000
"""Characters of an id; more are refused, since names are repeated for everything inside."""

MAX_TYPE = 65_536
"""Characters of a slot's type; early editors wrote all choices of a list into it."""

MAX_PARTS = 200_000
"""Chunks, boxes, blocks or pages of a picture, sound or video that are looked through."""
