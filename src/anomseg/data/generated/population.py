"""Who and what stands where: rows of houses and gardens, parked and moving cars, people, street furniture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from anomseg.data.generated.buildings import House
from anomseg.data.generated.camera import Camera
from anomseg.data.generated.canvas import CAR, Canvas
from anomseg.data.generated.furniture import draw_bollard, draw_lamp_post, draw_railing, draw_sign, draw_traffic_light
from anomseg.data.generated.mesh import render
from anomseg.data.generated.people import draw_bicyclist, draw_pedestrian
from anomseg.data.generated.plants import draw_bare_tree, draw_hedge, draw_leafy_tree
from anomseg.data.generated.street import Street
from anomseg.data.generated.vehicles import HATCHBACK, PAINTS, SALOON, VAN, build_car


@dataclass(frozen=True)
class Item:
    """Something that waits to be painted, farthest first.

    Attributes:
        x: Place across the street in metres.
        z: Distance in metres, which orders the painting.
        half_width: Half its extent across the view.
        half_length: Half its extent along the view.
        draw: Paints it.
    """

    x: float
    z: float
    half_width: float
    half_length: float
    draw: Callable[[Canvas], None]

    def bearing(self) -> tuple[float, float]:
        """Leftmost and rightmost direction (x over z) in which it is seen."""
        depths = max(self.z - self.half_length, 0.8), self.z + self.half_length
        reach = [(self.x + side * self.half_width) / depth for side in (-1, 1) for depth in depths]
        return min(reach), max(reach)

    def in_view(self, camera: Camera) -> bool:
        """Whether any of it can be seen."""
        left, right = self.bearing()
        return (
            right > -camera.centre / camera.focal - 0.05 and left < (camera.width - camera.centre) / camera.focal + 0.05
        )

    def disturbs(self, bearing: tuple[float, float], z: float, half_length: float) -> bool:
        """Whether it would stand in or before something seen within ``bearing`` around distance ``z``."""
        if self.z - self.half_length > z + half_length + 0.3:
            return False
        left, right = self.bearing()
        return left < bearing[1] and right > bearing[0]


def plan_sides(street: Street, rng: np.random.Generator) -> list[Item]:
    """Houses, walls, hedges and trees along both building lines."""
    items: list[Item] = []
    for side in (-1, 1):
        line = street.left_walls if side < 0 else street.right_walls
        z, green = 1.6, rng.random() < 0.22
        hidden = 0.0
        while z < 118:
            length = float(rng.uniform(5.5, 13))
            ends = (line + float(street.shift(z)), line + float(street.shift(z + length)))
            if rng.random() < (0.8 if green else 0.1):
                items += _garden(ends, z, z + length, side, rng)
                hidden = 0.0
            else:
                house = House(ends, z, z + length, side, _rng(int(rng.integers(2**31))), hidden)
                hidden = house.style.height
                items.append(Item(ends[0] + side * 3.5, z + length / 2, 4.0, length / 2, house.draw))
            z += length
            if rng.random() < 0.07:
                z += float(rng.uniform(3, 7))
                hidden = 0.0
    return items


def _garden(ends: tuple[float, float], near: float, far: float, side: int, rng: np.random.Generator) -> list[Item]:
    """A gap in the row: a fence or hedge on the line and trees behind."""
    items = []
    middle = (near + far) / 2
    seed = int(rng.integers(2**31))
    fence = rng.random() < 0.6

    def front(canvas: Canvas) -> None:
        local = np.random.Generator(np.random.PCG64(seed))
        if fence:
            draw_railing(canvas, (ends[0], near), (ends[1], far), local)
        else:
            draw_hedge(canvas, ends, (max(near, 2.5), far), local.uniform(1.2, 2.2), local)

    items.append(Item(ends[0], middle, 0.5, (far - near) / 2, front))
    for _ in range(int(rng.integers(2, 4))):
        x = ends[0] + side * rng.uniform(1.5, 6)
        z = float(rng.uniform(max(near, 5), max(far, 6)))
        items.append(_tree(x, z + 0.5, rng.uniform(5, 11), rng))
    x = ends[0] + side * 6.0
    for z in np.arange(max(near, 6), max(far, 7), 4.0):
        items.append(_tree(x + side * rng.uniform(0, 3), float(z) + 1.5, rng.uniform(4, 8), rng, bare=0.15))
    return items


def _tree(x: float, z: float, height: float, rng: np.random.Generator, bare: float = 0.5) -> Item:
    seed = int(rng.integers(2**31))
    draw = draw_bare_tree if rng.random() < bare else draw_leafy_tree
    return Item(x, z, 0.4 * height, 0.5, lambda canvas: draw(canvas, x, z, height, _rng(seed)))


def _rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def plan_street(street: Street, rng: np.random.Generator) -> list[Item]:
    """Cars, people, bicyclists, trees and furniture on the road and pavements."""
    return [*_cars(street, rng), *_people(street, rng), *_furniture(street, rng)]


def _car(x: float, z: float, yaw: float, rng: np.random.Generator) -> Item:
    body = (HATCHBACK, SALOON, VAN)[int(rng.choice(3, p=[0.52, 0.33, 0.15]))]
    paint = PAINTS[int(rng.integers(len(PAINTS)))]
    if body is VAN and rng.random() < 0.6:
        paint = (205, 206, 204)
    lit, plain_trim = bool(rng.random() < 0.3), bool(rng.random() < 0.4)

    def draw(canvas: Canvas) -> None:
        canvas.ground_shadow(x, z, body.half_width, body.length / 2, 1.4)
        mesh = build_car(body, paint, lit, plain_trim).placed(x, z, yaw)
        sprite = render(mesh, canvas.camera, canvas.light)
        if sprite is not None:
            canvas.paste(sprite, CAR, z)

    return Item(x, z, body.half_width, body.length / 2, draw)


def _cars(street: Street, rng: np.random.Generator) -> list[Item]:
    items = []
    rows = []
    if street.left_kerb < -3.0:
        rows.append((street.left_kerb + 1.05, rng.uniform(0.4, 0.9)))
    if street.right_kerb - street.centre_line > 4.3:
        rows.append((street.right_kerb - 1.05, rng.uniform(0.4, 0.9)))
    for x, density in rows:
        z = rng.uniform(5.5, 12)
        while z < 80:
            if rng.random() < density:
                yaw = rng.normal(0, 0.03) + (np.pi if rng.random() < 0.3 + 0.4 * (x > 0) else 0.0)
                items.append(_car(x + float(street.shift(z)) + rng.normal(0, 0.06), z, float(yaw), rng))
            z += rng.uniform(5.3, 7)
    if rng.random() < 0.75:
        z = rng.uniform(9, 34)
        while z < 95:
            items.append(_car(float(street.shift(z)) + rng.normal(-0.1, 0.15), z, float(rng.normal(0, 0.02)), rng))
            z += rng.uniform(7, 40)
    z = rng.uniform(8, 45)
    while z < 100:
        x = street.centre_line + 1.5 + float(street.shift(z)) + rng.normal(0, 0.12)
        items.append(_car(x, z, float(np.pi + rng.normal(0, 0.03)), rng))
        z += rng.uniform(8, 50)
    return items


def _people(street: Street, rng: np.random.Generator) -> list[Item]:
    items = []
    for side in (-1, 1):
        kerb = street.left_kerb if side < 0 else street.right_kerb
        room = street.left_pavement if side < 0 else street.right_pavement
        for _ in range(int(rng.poisson(2.6))):
            z = float(rng.uniform(8, 45))
            x = kerb + side * rng.uniform(0.4, room - 0.3) + float(street.shift(z))
            items.append(_person(draw_pedestrian, x, z, 0.35, rng))
    if rng.random() < 0.3:
        z = float(rng.uniform(13, 35))
        x = float(rng.uniform(street.left_kerb, street.right_kerb) + street.shift(z))
        items.append(_person(draw_pedestrian, x, z, 0.35, rng))
    for _ in range(int(rng.choice([0, 1, 2], p=[0.45, 0.4, 0.15]))):
        z = float(rng.uniform(8, 28))
        beside = -1.15 if street.left_kerb > -3.0 else -1.0
        x = beside if rng.random() < 0.6 else street.right_kerb - rng.uniform(0.7, 2.3)
        items.append(_person(draw_bicyclist, x + float(street.shift(z)), z, 0.45, rng))
    return items


def _person(
    draw: Callable[[Canvas, float, float, np.random.Generator], None],
    x: float,
    z: float,
    half: float,
    rng: np.random.Generator,
) -> Item:
    seed = int(rng.integers(2**31))
    return Item(x, z, half, half, lambda canvas: draw(canvas, x, z, _rng(seed)))


def _furniture(street: Street, rng: np.random.Generator) -> list[Item]:
    items = []
    for side in (-1, 1):
        kerb = street.left_kerb if side < 0 else street.right_kerb
        room = street.left_pavement if side < 0 else street.right_pavement
        z = rng.uniform(7, 20)
        while z < 80:
            x = kerb + side * 0.45 + float(street.shift(z))
            items.append(_person(draw_lamp_post, x, float(z), 0.1, rng))
            z += rng.uniform(16, 28)
        for _ in range(int(rng.poisson(1.3))):
            z = float(rng.uniform(8, 38))
            items.append(_person(draw_sign, kerb + side * 0.5 + float(street.shift(z)), z, 0.35, rng))
        if rng.random() < 0.25:
            z = float(rng.uniform(9, 22))
            items.append(_person(draw_traffic_light, kerb + side * 0.4 + float(street.shift(z)), z, 0.2, rng))
        if rng.random() < 0.2:
            start = rng.uniform(7, 14)
            for k in range(int(rng.integers(3, 8))):
                z = float(start + 1.8 * k)
                x = kerb + side * 0.35 + float(street.shift(z))
                items.append(Item(x, z, 0.1, 0.1, lambda canvas, x=x, z=z: draw_bollard(canvas, x, z)))  # type: ignore[misc]
        elif rng.random() < 0.2:
            items.append(_pavement_rail(kerb + side * 0.3, street, rng))
        if room > 2.4 and rng.random() < 0.45:
            z = rng.uniform(9, 20)
            while z < 70:
                x = kerb + side * 0.8 + float(street.shift(z))
                items.append(_tree(x, float(z), rng.uniform(5, 9), rng, bare=0.7))
                z += rng.uniform(8, 16)
    return items


def _pavement_rail(x: float, street: Street, rng: np.random.Generator) -> Item:
    near = float(rng.uniform(6, 16))
    far = near + float(rng.uniform(5, 14))
    seed = int(rng.integers(2**31))
    ends = (x + float(street.shift(near)), near), (x + float(street.shift(far)), far)
    return Item(
        ends[0][0], (near + far) / 2, 0.1, (far - near) / 2, lambda canvas: draw_railing(canvas, *ends, _rng(seed))
    )
