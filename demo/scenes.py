"""The scenes that the demo model learned: one or two shaded solids on a floor under a sky, drawn by a small ray tracer.

A scene is plain data, its picture a function of it (`render`), its caption another (`caption`). Positions are in
floor units: x to the right, y away from the camera, z up, the floor at z = 0.
"""

from dataclasses import dataclass, replace
from math import cos, sin

import numpy as np
from einops import rearrange

__all__ = [
    "FLOORS",
    "PAINTS",
    "SHAPES",
    "SIZES",
    "SKIES",
    "Scene",
    "Solid",
    "caption",
    "column",
    "contact_sheet",
    "hard_scene",
    "random_scene",
    "render",
]

SHAPES = ("sphere", "cube", "cylinder", "cone")
SIZES = {"small": 0.66, "large": 1.0}
PAINTS = {
    "red": (0.80, 0.06, 0.06),
    "orange": (0.95, 0.42, 0.03),
    "yellow": (0.93, 0.83, 0.10),
    "green": (0.08, 0.60, 0.15),
    "blue": (0.07, 0.20, 0.85),
    "purple": (0.52, 0.10, 0.70),
    "white": (0.92, 0.92, 0.92),
}
FLOORS = {
    "gray": (0.45, 0.45, 0.46),
    "green": (0.33, 0.52, 0.27),
    "blue": (0.30, 0.44, 0.66),
    "brown": (0.46, 0.32, 0.21),
    "pink": (0.82, 0.58, 0.62),
}
SKIES = {  # horizon, zenith
    "blue": ((0.78, 0.88, 0.97), (0.28, 0.52, 0.88)),
    "orange": ((0.99, 0.80, 0.50), (0.86, 0.44, 0.30)),
    "gray": ((0.82, 0.82, 0.83), (0.55, 0.56, 0.59)),
    "dark": ((0.22, 0.21, 0.33), (0.05, 0.05, 0.13)),
}
PLACES = ("left", "middle", "right")

CAMERA = np.array([0.0, -6.4, 2.3], np.float32)
TARGET = np.array([0.0, 0.0, 0.62], np.float32)
HALF_WIDTH = 0.40  # tangent of half the field of view
SUN = np.array([-0.55, -0.62, 0.95], np.float32)
SUN_SPREAD = 0.16
FAR = np.float32(1e9)
EPSILON = 1e-3


@dataclass(frozen=True)
class Solid:
    """One solid standing on the floor at (x, y), turned by `yaw` radians about the vertical."""

    shape: str
    paint: str
    size: str
    x: float
    y: float
    yaw: float = 0.0


@dataclass(frozen=True)
class Scene:
    """One or two solids, from left to right, with the names of the floor's and the sky's colours."""

    solids: tuple[Solid, ...]
    floor: str
    sky: str

    @property
    def place(self) -> str | None:
        """Where a single solid stands ("left", "middle", "right"); None for two."""
        if len(self.solids) > 1:
            return None
        x = self.solids[0].x
        return "left" if x < -0.55 else "right" if x > 0.55 else "middle"


def random_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene: as often one solid as two, every attribute independent and uniform."""
    if rng.random() < 0.5:
        x = {"left": -1.15, "middle": 0.0, "right": 1.15}[str(rng.choice(PLACES))]
        solids = (_random_solid(rng, x + rng.uniform(-0.15, 0.15), rng.uniform(-0.5, 0.5)),)
    else:
        solids = _random_pair(rng)
    return Scene(solids, str(rng.choice(list(FLOORS))), str(rng.choice(list(SKIES))))


def hard_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene of two solids that are easily taken for each other.

    Their colours differ, in half of the scenes to a neighbour in `PAINTS`; in half of them the shape is the same.
    """
    left, right = _random_pair(rng)
    paints = list(PAINTS)
    apart = int(rng.choice((-1, 1))) if rng.random() < 0.5 else int(rng.integers(1, len(paints)))
    paint = paints[(paints.index(left.paint) + apart) % len(paints)]
    shape = left.shape if rng.random() < 0.5 else right.shape
    pair = (left, replace(right, paint=paint, shape=shape))
    return Scene(pair, str(rng.choice(list(FLOORS))), str(rng.choice(list(SKIES))))


def _random_pair(rng: np.random.Generator) -> tuple[Solid, Solid]:
    left, right = (_random_solid(rng, x + rng.uniform(-0.12, 0.12), rng.uniform(-0.4, 0.4)) for x in (-1.08, 1.08))
    return left, right


def _random_solid(rng: np.random.Generator, x: float, y: float) -> Solid:
    shape, paint, size = (str(rng.choice(list(options))) for options in (SHAPES, PAINTS, SIZES))
    return Solid(shape, paint, size, float(x), float(y), float(rng.uniform(0, np.pi / 2)))


def caption(scene: Scene, rng: np.random.Generator | None = None) -> str:
    """Say what a scene shows; with `rng`, leave parts out and change the order, as people do.

    Without `rng` everything is said: "a large red sphere left of a small blue cube on a green floor under a blue sky".
    """

    def said(share: float) -> bool:
        return rng is None or rng.random() < share

    def name(solid: Solid) -> str:
        size = f"{solid.size} " if said(0.85) else ""
        article = "an" if not size and solid.paint[0] in "aeiou" else "a"
        return f"{article} {size}{solid.paint} {solid.shape}"

    names = [name(solid) for solid in scene.solids]
    if len(names) == 2:
        relation = "left of"
        if rng is not None and rng.random() < 0.5:
            names, relation = names[::-1], "right of"
        if rng is not None and rng.random() < 0.1:
            relation = "and"
        text = f"{names[0]} {relation} {names[1]}"
    else:
        text = names[0] + (f" {_AT[scene.place]}" if said(0.75) else "")
    if said(0.85):
        text += f" on a {scene.floor} floor"
    if said(0.75):
        text += f" under {'an' if scene.sky[0] in 'aeiou' else 'a'} {scene.sky} sky"
    return text


_AT = {"left": "on the left", "middle": "in the middle", "right": "on the right"}


def render(scene: Scene, size: int = 128, samples: int = 3) -> np.ndarray:
    """Draw a scene as (size, size, 3) uint8: the mean of samples x samples pictures of one ray a pixel.

    Each of these has its own place inside the pixels and its own point of the sun: smooth edges, soft shadows.
    """
    suns = _sun_directions(samples)
    offsets = (np.arange(samples, dtype=np.float32) + 0.5) / samples
    light = np.zeros((3, size * size), np.float32)
    for k, (dy, dx) in enumerate((dy, dx) for dy in offsets for dx in offsets):
        light += _trace(scene, camera_rays(size, dx, dy), suns[k]) / samples**2
    pixels = rearrange(np.sqrt(np.clip(light, 0, 1)), "c (y x) -> y x c", y=size)  # display gamma of 2
    return (pixels * 255 + 0.5).astype(np.uint8)


def _trace(scene: Scene, direction: np.ndarray, sun: np.ndarray) -> np.ndarray:
    """Linear light (3, n) that comes back along rays (3, n) from the camera, the sun in direction (3, 1)."""
    reach, normal = floor_hit(direction)
    albedo, gloss = _vector(FLOORS[scene.floor]), np.float32(0)
    for solid in scene.solids:
        t, solid_normal = intersect(solid, CAMERA, direction)
        nearer = t < reach
        reach = np.where(nearer, t, reach)
        normal = np.where(nearer, solid_normal, normal)
        albedo = np.where(nearer, _vector(PAINTS[solid.paint]), albedo)
        gloss = np.where(nearer, np.float32(0.35), gloss)
    surface = reach < FAR
    reach = np.where(surface, reach, np.float32(0))
    start = CAMERA[:, None] + reach * direction + EPSILON * normal
    lit = np.ones_like(reach)
    for solid in scene.solids:
        lit[intersect(solid, start, np.broadcast_to(sun, start.shape))[0] < FAR] = 0
    colour = _shade(scene, direction, normal, albedo, gloss, sun, lit)
    return np.where(surface, _fade(scene, colour, direction, reach), _sky(scene, direction))


def _vector(rgb: tuple[float, float, float]) -> np.ndarray:
    return np.square(np.array(rgb, np.float32))[:, None]  # names are given as displayed, light is linear


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.sqrt((v * v).sum(0))


def camera_rays(size: int, dx: float, dy: float) -> np.ndarray:
    """Unit directions (3, size * size) from the camera through each pixel, at (dx, dy) in 0 to 1 within it."""
    forward = _unit(TARGET - CAMERA)
    right = np.array([1.0, 0.0, 0.0], np.float32)
    up = np.cross(right, forward)
    across, down = np.meshgrid(*((np.arange(size, dtype=np.float32) + d) / size * 2 - 1 for d in (dx, dy)))
    across, down = HALF_WIDTH * across.reshape(1, -1), HALF_WIDTH * down.reshape(1, -1)
    return _unit(forward[:, None] + across * right[:, None] - down * up[:, None]).astype(np.float32)


def _sun_directions(samples: int) -> np.ndarray:
    """(samples ** 2, 3, 1) directions spread over the sun's disc on a sunflower spiral, shuffled over the pixel."""
    n = samples**2
    k = np.random.default_rng(0).permutation(n)
    radius, angle = SUN_SPREAD * np.sqrt((k + 0.5) / n), k * np.pi * (3 - np.sqrt(5))
    side = _unit(np.cross(SUN, [0.0, 0.0, 1.0]))
    other = np.cross(_unit(SUN), side)
    spots = _unit(SUN)[:, None] + side[:, None] * (radius * np.cos(angle)) + other[:, None] * (radius * np.sin(angle))
    return rearrange(_unit(spots).astype(np.float32), "c (n one) -> n c one", one=1)


def floor_hit(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance (n,) along each ray from the camera to the floor, FAR where it misses, and the normal (3, n) there."""
    slope = -direction[2]
    normal = np.zeros_like(direction)
    normal[2] = 1
    return np.where(slope > 1e-4, CAMERA[2] / np.maximum(slope, np.float32(1e-4)), FAR), normal


def _shade(scene, direction, normal, albedo, gloss, sun, lit) -> np.ndarray:
    facing = np.maximum((normal * sun).sum(0), 0) * lit
    ambient = 0.30 + 0.12 * normal[2]
    half = _unit(sun - direction)
    highlight = gloss * lit * np.maximum((normal * half).sum(0), 0) ** 40
    dim = np.float32(0.8 if scene.sky == "dark" else 1.0)
    return dim * (albedo * (ambient + 0.95 * facing) + highlight)


def _sky(scene: Scene, direction: np.ndarray) -> np.ndarray:
    horizon, zenith = map(_vector, SKIES[scene.sky])
    height = np.clip(direction[2] * 4, 0, 1)
    return horizon + (zenith - horizon) * height


def _fade(scene: Scene, colour: np.ndarray, direction: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Let the far floor melt into the horizon."""
    haze = np.clip((reach - 14) / 60, 0, 1)
    return colour + (_sky(scene, direction) - colour) * haze


def intersect(solid: Solid, origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance (n,) along each ray to the solid, FAR where it misses, and the normal (3, n) there."""
    scale = SIZES[solid.size]
    c, s = cos(solid.yaw), sin(solid.yaw)
    turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], np.float32)
    foot = np.array([solid.x, solid.y, 0], np.float32)
    o = turn @ (origin.reshape(3, -1) - foot[:, None]) / np.float32(scale)
    d = turn @ direction
    t, normal = _HITS[solid.shape](o, d)
    return np.where(t < FAR, t * np.float32(scale), FAR), turn.T @ normal


def _first(t: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return np.where(valid & (t > EPSILON), t, FAR)


def _hit_sphere(o, d):
    o = o - np.array([[0], [0], [1]], np.float32)
    b = (o * d).sum(0)
    root = b * b - (o * o).sum(0) + 1
    t = _first(-b - np.sqrt(np.maximum(root, 0)), root > 0)
    return t, o + np.where(t < FAR, t, 0) * d


def _hit_cube(o, d):
    half = np.float32(0.78)
    o = o - np.array([[0], [0], [half]], np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / np.where(np.abs(d) < 1e-7, np.float32(1e-7), d)
    middle, reach = -o * inverse, np.abs(inverse) * half
    enter, leave = middle - reach, middle + reach
    axis = enter.argmax(0)
    t = enter.max(0)
    t = _first(t, t < leave.min(0))
    normal = np.where(np.arange(3)[:, None] == axis, -np.sign(d), np.float32(0))
    return t, normal


def _hit_round(o, d, radius: float, height: float, taper: float):
    """An upright cylinder (taper 0) or cone (taper radius / height), standing on z = 0."""
    width = radius - taper * o[2]
    a = d[0] ** 2 + d[1] ** 2 - (taper * d[2]) ** 2
    b = o[0] * d[0] + o[1] * d[1] + taper * d[2] * width
    c = o[0] ** 2 + o[1] ** 2 - width**2
    a = np.where(np.abs(a) < 1e-7, np.float32(1e-7), a)
    root = np.sqrt(np.maximum(b * b - a * c, 0))
    t, normal = np.full(d.shape[1], FAR), np.zeros_like(d)
    for side in ((-b - root) / a, (-b + root) / a):
        z = o[2] + side * d[2]
        hit = _first(side, (b * b > a * c) & (z >= 0) & (z <= height))
        nearer = hit < t
        t = np.where(nearer, hit, t)
        x, y = o[0] + side * d[0], o[1] + side * d[1]
        around = np.stack([x, y, taper * np.sqrt(x * x + y * y)])
        normal = np.where(nearer, around, normal)
    for z, up in ((0.0, -1.0), (height, 1.0)):
        cap = (z - o[2]) / np.where(np.abs(d[2]) < 1e-7, np.float32(1e-7), d[2])
        x, y = o[0] + cap * d[0], o[1] + cap * d[1]
        hit = _first(cap, x * x + y * y <= (radius - taper * z) ** 2)
        nearer = hit < t
        t = np.where(nearer, hit, t)
        normal = np.where(nearer, np.array([[0], [0], [up]], np.float32), normal)
    length = np.sqrt((normal * normal).sum(0))
    return t, normal / np.where(length > 0, length, 1)


def _hit_cylinder(o, d):
    return _hit_round(o, d, radius=0.80, height=1.75, taper=0.0)


def _hit_cone(o, d):
    return _hit_round(o, d, radius=0.98, height=1.95, taper=0.98 / 1.95)


_HITS = {"sphere": _hit_sphere, "cube": _hit_cube, "cylinder": _hit_cylinder, "cone": _hit_cone}


def contact_sheet(pictures: list[np.ndarray], columns: int, gap: int = 4) -> np.ndarray:
    """Lay (h, w, 3) pictures out in rows of `columns`, on white."""
    rows = -(-len(pictures) // columns)
    blank = np.full_like(pictures[0], 255)
    cells = np.stack(pictures + [blank] * (rows * columns - len(pictures)))
    cells = np.pad(cells, ((0, 0), (gap, gap), (gap, gap), (0, 0)), constant_values=255)
    return rearrange(cells, "(r c) h w k -> (r h) (c w) k", c=columns)


def column(solid: Solid, size: int) -> int:
    """The pixel column of a solid's axis in a picture of `size` pixels."""
    forward = _unit(TARGET - CAMERA)
    away = np.array([solid.x, solid.y, SIZES[solid.size]], np.float32) - CAMERA
    return int(size * (0.5 + 0.5 * solid.x / (float(away @ forward) * HALF_WIDTH)))
