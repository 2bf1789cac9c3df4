"""The demo model's vocabulary and the labels of its scenes."""

from .scenes import FLOORS, PAINTS, PLACES, SHAPES, SIZES, SKIES, Scene

__all__ = ["LABELS", "VOCABULARY", "label_indices", "labels"]

_GRAMMAR = "a an and floor in left middle of on right sky the under".split()
VOCABULARY = ("<start>", "<end>", *sorted({*_GRAMMAR, *SHAPES, *SIZES, *PAINTS, *FLOORS, *SKIES}))

LABELS: dict[str, tuple[str, ...]] = {
    "count": ("one", "two"),
    "place": (*PLACES, "both"),
    "left shape": SHAPES,
    "left colour": tuple(PAINTS),
    "left size": tuple(SIZES),
    "right shape": SHAPES,
    "right colour": tuple(PAINTS),
    "right size": tuple(SIZES),
    "floor": tuple(FLOORS),
    "sky": tuple(SKIES),
}


def labels(scene: Scene) -> dict[str, str]:
    """What a scene shows, under the names of `LABELS`; a single solid is both the left and the right one."""
    left, right = scene.solids[0], scene.solids[-1]
    return {
        "count": "one" if len(scene.solids) == 1 else "two",
        "place": scene.place or "both",
        **{
            f"{side} {kind}": value
            for side, solid in (("left", left), ("right", right))
            for kind, value in (("shape", solid.shape), ("colour", solid.paint), ("size", solid.size))
        },
        "floor": scene.floor,
        "sky": scene.sky,
    }


def label_indices(scene: Scene) -> list[int]:
    """`labels` as positions in `LABELS`, in its order."""
    said = labels(scene)
    return [options.index(said[name]) for name, options in LABELS.items()]
