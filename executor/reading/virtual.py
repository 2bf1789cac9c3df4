"""Nodes that live in the browser alone: none of them is ever run, and links pass through them slot by slot."""

SETTERS = {"GetNode": "SetNode", "easy getNode": "easy setNode"}
"""KJNodes' and Easy-Use's nodes that give a value by its name -> those that set it."""

VIRTUAL_TYPES = frozenset(
    {
        *("Reroute", "PrimitiveNode", "Note", "MarkdownNote"),
        *SETTERS.keys(),
        *SETTERS.values(),
        # rgthree's: labels, and switches that set the modes of other nodes, which the file has already
        *("Label (rgthree)", "Bookmark (rgthree)", "Reroute (rgthree)", "Fast Actions Button (rgthree)"),
        *("Fast Muter (rgthree)", "Fast Groups Muter (rgthree)", "Random Unmuter (rgthree)"),
        *("Fast Bypasser (rgthree)", "Fast Groups Bypasser (rgthree)", "Mute / Bypass Relay (rgthree)"),
        *("Mute / Bypass Repeater (rgthree)", "Node Collector (rgthree)"),
    }
)
"""The browser's own, and those of packs that many shared workflows use."""
