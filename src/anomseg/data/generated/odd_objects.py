"""The catalogue of odd objects that no class covers, and how one is sized, placed and painted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from anomseg.data.generated.canvas import Canvas, Sprite
from anomseg.data.generated.mesh import Mesh, render
from anomseg.data.generated.odd_built import build_boat, build_boxes, build_crate, build_ladder
from anomseg.data.generated.odd_rounded import (
    Solid,
    build_ball,
    build_boulder,
    build_cones,
    build_cow,
    build_sheep,
    build_sofa,
    build_tyres,
)
from anomseg.data.generated.solids import render_solids
from anomseg.data.generated.textures import patch
from anomseg.errors import unknown_name


@dataclass(frozen=True)
class _Kind:
    build: Callable[[np.random.Generator], Solid | Mesh]
    half_width: float
    half_length: float
    height: float


_KINDS: dict[str, _Kind] = {
    "ball": _Kind(build_ball, 0.36, 0.36, 0.8),
    "boat": _Kind(build_boat, 0.85, 1.8, 1.2),
    "boulder": _Kind(build_boulder, 0.85, 0.6, 0.8),
    "boxes": _Kind(build_boxes, 0.7, 0.4, 0.7),
    "cones": _Kind(build_cones, 0.7, 0.5, 0.7),
    "cow": _Kind(build_cow, 1.2, 0.45, 1.5),
    "crate": _Kind(build_crate, 0.6, 0.6, 0.9),
    "ladder": _Kind(build_ladder, 0.4, 0.6, 2.0),
    "sheep": _Kind(build_sheep, 0.7, 0.35, 0.9),
    "sofa": _Kind(build_sofa, 0.9, 0.5, 0.95),
    "tyres": _Kind(build_tyres, 0.6, 0.6, 0.5),
}

OBJECT_KINDS: tuple[str, ...] = tuple(_KINDS)
"""Names of all kinds of odd objects."""


@dataclass(frozen=True)
class OddObject:
    """An odd object before it is painted.

    Attributes:
        kind: Its name.
        x: Place across the street in metres.
        z: Distance in metres.
        sprite: How it looks from there.
        bearing: Leftmost and rightmost direction (x over z) in which it is seen.
        half_width: Half its extent across the view, metres.
        half_length: Half its extent along the view.
        height: Metres.
    """

    kind: str
    x: float
    z: float
    sprite: Sprite
    bearing: tuple[float, float]
    half_width: float
    half_length: float
    height: float


def checked_kinds(kinds: Sequence[str] | None) -> tuple[str, ...]:
    """The kinds to choose from, all of them where none are named.

    Raises:
        ConfigError: A name is unknown.
    """
    for name in kinds or ():
        if name not in _KINDS:
            raise unknown_name("kind of odd object", name, _KINDS)
    return tuple(kinds) if kinds else OBJECT_KINDS


def make_object(
    kind: str, share: float, place: float, limits: tuple[float, float], canvas: Canvas, rng: np.random.Generator
) -> OddObject:
    """Build an object and find the distance at which it covers a wanted share of the picture.

    Args:
        kind: One of `OBJECT_KINDS`.
        share: Share of the picture that it shall cover.
        place: Where its foot stands between the left (0) and right (1) edge of the free ground.
        limits: x of the free ground's left and right edge in metres.
        canvas: The drawing.
        rng: Source of its looks.

    Returns:
        The object, not yet painted.
    """
    entry = _KINDS[kind]
    thing = entry.build(rng)
    yaw = float(rng.normal(0, 0.5) + (np.pi if rng.random() < 0.5 else 0.0))
    if kind == "boat":
        yaw = float(rng.normal(0.0, 0.35))
    seed = int(rng.integers(2**31))
    camera = canvas.camera
    total = camera.width * camera.height
    nearest = camera.focal * camera.elevation / (0.94 * camera.height - camera.horizon) + entry.half_length
    z = max(8.0, nearest)
    for attempt in range(3):
        reach = z * min(camera.centre, camera.width - camera.centre) / camera.focal - entry.half_width * 0.8
        low, high = max(limits[0], -reach), min(limits[1], reach)
        x = (low + high) / 2 + (place - 0.5) * max(high - low, 0.0)
        sprite = _sprite(thing, x, z, yaw, canvas, seed)
        covered = int(sprite.mask.sum())
        if attempt == 2 or covered == 0:
            break
        z = float(np.clip(z * np.sqrt(covered / total / share), nearest, 40.0))
    turned = abs(np.sin(yaw))
    across = entry.half_width * (1 - turned) + entry.half_length * turned
    along = entry.half_length * (1 - turned) + entry.half_width * turned
    left, right = sprite.left, sprite.left + sprite.mask.shape[1]
    bearing = (left - camera.centre) / camera.focal, (right - camera.centre) / camera.focal
    return OddObject(kind, x, z, sprite, bearing, across, along, entry.height)


def _sprite(thing: Solid | Mesh, x: float, z: float, yaw: float, canvas: Canvas, seed: int) -> Sprite:
    rng = np.random.Generator(np.random.PCG64(seed))
    if isinstance(thing, Mesh):
        sprite = render(thing.placed(x, z, yaw), canvas.camera, canvas.light)
        if sprite is None:
            return Sprite(np.zeros((1, 1, 3), np.float32), np.zeros((1, 1), bool), 0, 0)
        grain = 1 + 0.06 * patch(rng, sprite.mask.shape, 1.0, 2) + 0.04 * patch(rng, sprite.mask.shape, 8.0, 1)
        return Sprite(sprite.colour * grain[..., None], sprite.mask, sprite.left, sprite.top)
    parts, skin = thing
    return render_solids(parts, (x, z), yaw, canvas.camera, canvas.light, rng, skin)


def paint_object(thing: OddObject, canvas: Canvas, label: int, number: int) -> None:
    """Paint an object with its shadow; ``number`` tells objects apart in the canvas's object map."""
    canvas.ground_shadow(thing.x, thing.z, thing.half_width, thing.half_length, thing.height)
    canvas.paste(thing.sprite, label, thing.z, number)
