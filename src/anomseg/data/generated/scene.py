"""One generated scene, from a seed to image, classes and label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomseg.data.generated.canvas import ODD, Canvas
from anomseg.data.generated.ground import draw_ground
from anomseg.data.generated.light import draw_light
from anomseg.data.generated.odd_objects import OddObject, checked_kinds, make_object, paint_object
from anomseg.data.generated.population import Item, plan_sides, plan_street
from anomseg.data.generated.sensor import expose, resize_labels
from anomseg.data.generated.sky import draw_sky, draw_skyline
from anomseg.data.generated.street import Street, draw_camera, draw_street
from anomseg.errors import ConfigError
from anomseg.types import ANOMALY, INLIER, UInt8Array

SMALLEST = 64
MOST_OBJECTS = 3
CLASS_NAMES: tuple[str, ...] = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
"""CamVid's eleven classes, in the order of their indices."""

# Pixels of the drawing before it is brought to the wanted size: twice as many each way, within these bounds.
_FEWEST_PIXELS, _MOST_PIXELS = 300 * 400, 720 * 960


@dataclass(frozen=True)
class GeneratedScene:
    """A drawn street scene with exact labels.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        classes: ``(H, W)`` uint8, indices of `CLASS_NAMES`, 255 on odd objects.
        label: ``(H, W)`` uint8, 0 inlier, 1 odd object.
        objects: Kind and box ``(left, top, right, bottom)`` (right and bottom exclusive) of each odd object.
        seed: What it was drawn from.
    """

    image: UInt8Array
    classes: UInt8Array
    label: UInt8Array
    objects: tuple[tuple[str, tuple[int, int, int, int]], ...]
    seed: int


def generate_scene(
    seed: int, size: tuple[int, int] = (360, 480), objects: int | None = 1, kinds: Sequence[str] | None = None
) -> GeneratedScene:
    """Draw a street scene.

    The same arguments give the same scene; scenes of one seed with and without odd objects show the same street,
    but for what had to make room.

    Args:
        seed: Any integer from 0.
        size: ``(height, width)`` in pixels, each at least 64.
        objects: Number of odd objects, 0 to 3; None lets the seed choose 1 to 3.
        kinds: Names from `OBJECT_KINDS` to choose from; all of them when None.

    Returns:
        The scene.

    Raises:
        ConfigError: A negative seed, a size below 64, a number of objects outside 0..3, or an unknown kind.

    Example:
        >>> scene = generate_scene(7, size=(96, 128), kinds=["cow"])
        >>> scene.image.shape, scene.objects[0][0], int(scene.label.max())
        ((96, 128, 3), 'cow', 1)
    """
    height, width = size
    if seed < 0:
        raise ConfigError(f"seed {seed} of a generated scene is negative; give an integer from 0")
    if height < SMALLEST or width < SMALLEST:
        raise ConfigError(
            f"a generated scene of {height} x {width} is too small; give at least {SMALLEST} x {SMALLEST}"
        )
    if objects is not None and not 0 <= objects <= MOST_OBJECTS:
        raise ConfigError(f"{objects} odd objects do not fit; give 0 to {MOST_OBJECTS}, or None")
    choice = checked_kinds(kinds)
    streams = [np.random.Generator(np.random.PCG64(part)) for part in np.random.SeedSequence(seed).spawn(4)]
    layout, ground, odd, sensor = streams
    pixels = min(max(4 * height * width, _FEWEST_PIXELS), _MOST_PIXELS)
    rows = max(round(float(np.sqrt(pixels * height / width))), 48)
    camera = draw_camera(layout, rows, max(pixels // rows, 48))
    street = draw_street(layout)
    canvas = Canvas(camera, draw_light(layout))
    sides, items = plan_sides(street, layout), plan_street(street, layout)
    draw_sky(canvas, ground)
    draw_skyline(canvas, ground)
    draw_ground(canvas, street, ground)
    things = _odd_things(canvas, street, odd, objects, choice)
    _paint_items(canvas, sides, [])
    _paint_items(canvas, items, things)
    image = expose(canvas.colour, size, sensor)
    numbers = resize_labels(canvas.objects, size)
    label = np.where(numbers > 0, ANOMALY, INLIER).astype(np.uint8)
    classes = resize_labels(canvas.classes, size)
    found = tuple((thing.kind, _box(numbers == k + 1)) for k, thing in enumerate(things) if (numbers == k + 1).any())
    return GeneratedScene(image, classes, label, found, seed)


def _odd_things(
    canvas: Canvas, street: Street, rng: np.random.Generator, objects: int | None, kinds: tuple[str, ...]
) -> list[OddObject]:
    count = int(rng.integers(1, MOST_OBJECTS + 1)) if objects is None else objects
    limits = (street.left_walls + 0.6, street.right_walls - 0.6)
    things: list[OddObject] = []
    # Each has its own stripe of the picture, so none hides another.
    order = rng.permutation(count).tolist()
    for k in order:
        share = float(np.exp(rng.uniform(np.log(0.006), np.log(0.05)))) / count**0.5
        place = (k + rng.uniform(0.15, 0.85)) / count
        kind = kinds[int(rng.integers(len(kinds)))]
        things.append(make_object(kind, max(share, 0.005), place, limits, canvas, rng))
    return things


def _paint_items(canvas: Canvas, items: list[Item], things: list[OddObject]) -> None:
    """Paint from far to near, leaving out what would stand in or before an odd object."""
    kept = [
        item for item in items if item.in_view(canvas.camera) and not any(_in_the_way(item, thing) for thing in things)
    ]
    waiting: list[tuple[float, int, Item | OddObject]] = [(-item.z, k, item) for k, item in enumerate(kept)]
    waiting += [(-thing.z, -1 - k, thing) for k, thing in enumerate(things)]
    for _, _, entry in sorted(waiting, key=lambda row: row[:2]):
        if isinstance(entry, OddObject):
            paint_object(entry, canvas, ODD, things.index(entry) + 1)
        else:
            entry.draw(canvas)


def _in_the_way(item: Item, thing: OddObject) -> bool:
    return item.disturbs(thing.bearing, thing.z, thing.half_length)


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
