"""Line drawings of scenes: what the small ControlNet is given as its hint."""

import numpy as np
from einops import reduce

from .scenes import CAMERA, Scene, camera_rays, floor_hit, intersect

__all__ = ["outline"]

CREASE = 0.75  # two normals with a smaller product make an edge


def outline(scene: Scene, size: int = 128, samples: int = 2) -> np.ndarray:
    """White lines on black, (size, size) uint8: the borders and creases of the solids.

    Colours, shadows and the horizon leave no line: a drawing says nothing of paint, floor and sky. It is drawn at
    `samples` times the size.
    """
    n = size * samples
    direction = camera_rays(n, 0.5, 0.5)
    reach, normal = floor_hit(direction)
    what = np.zeros(n * n, np.int8)
    for i, solid in enumerate(scene.solids, start=1):
        t, solid_normal = intersect(solid, CAMERA, direction)
        nearer = t < reach
        reach, what = np.where(nearer, t, reach), np.where(nearer, i, what)
        normal = np.where(nearer, solid_normal, normal)
    what, normal = what.reshape(n, n), normal.reshape(3, n, n)
    lines = np.zeros((n, n), bool)
    for axis in (0, 1):
        here, there = (tuple(np.s_[a:b] if k == axis else np.s_[:] for k in (0, 1)) for a, b in ((0, -1), (1, None)))
        differs = what[here] != what[there]
        differs |= (normal[:, *here] * normal[:, *there]).sum(0) < CREASE
        lines[here] |= differs
        lines[there] |= differs
    return reduce(lines * np.uint8(255), "(h a) (w b) -> h w", "max", a=samples, b=samples)
