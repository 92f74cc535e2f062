"""Cars and vans: lofted bodies with glass, lamps, plates and wheels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from anomseg.data.generated.camera import FloatArray
from anomseg.data.generated.mesh import Colour, Mesh

PAINTS: tuple[tuple[int, int, int], ...] = (
    (28, 30, 36), (60, 62, 66), (150, 154, 158), (176, 180, 182), (34, 48, 88), (110, 24, 26),
    (205, 206, 204), (48, 70, 64), (66, 84, 110), (120, 132, 140), (30, 60, 110), (40, 36, 34),
)  # fmt: skip
_GLASS: Colour = (34, 40, 44)
_RUBBER: Colour = (20, 20, 21)


@dataclass(frozen=True)
class Body:
    """Side view of a car as stations from the rear (0) to the front (1).

    Attributes:
        length: Metres from bumper to bumper.
        half_width: Half the width in metres.
        stations: Share of the length.
        belt: Height of the lower edge of the windows at each station.
        top: Height of roof or bonnet at each station.
        rear_glass: First and last station of the rear window.
        side_glass: Stations between which the side windows lie, pairs.
        windscreen: First and last station of the windscreen.
    """

    length: float
    half_width: float
    stations: tuple[float, ...]
    belt: tuple[float, ...]
    top: tuple[float, ...]
    rear_glass: tuple[float, float]
    side_glass: tuple[tuple[float, float], ...]
    windscreen: tuple[float, float]


HATCHBACK = Body(
    4.0, 0.84,
    (0.0, 0.03, 0.09, 0.15, 0.22, 0.36, 0.52, 0.62, 0.70, 0.77, 0.88, 0.96, 1.0),
    (0.60, 0.86, 0.93, 0.94, 0.93, 0.92, 0.91, 0.90, 0.90, 0.90, 0.80, 0.70, 0.52),
    (0.62, 0.88, 1.12, 1.32, 1.42, 1.46, 1.44, 1.36, 1.16, 0.96, 0.86, 0.74, 0.54),
    (0.035, 0.16), ((0.15, 0.38), (0.41, 0.69)), (0.60, 0.755),
)  # fmt: skip
SALOON = Body(
    4.5, 0.87,
    (0.0, 0.03, 0.10, 0.16, 0.24, 0.32, 0.45, 0.56, 0.64, 0.72, 0.86, 0.96, 1.0),
    (0.62, 0.90, 0.94, 0.94, 0.93, 0.92, 0.91, 0.90, 0.90, 0.90, 0.82, 0.70, 0.52),
    (0.64, 0.93, 0.98, 1.02, 1.26, 1.40, 1.42, 1.38, 1.20, 0.97, 0.88, 0.74, 0.54),
    (0.165, 0.31), ((0.22, 0.43), (0.45, 0.65)), (0.56, 0.715),
)  # fmt: skip
VAN = Body(
    4.8, 0.95,
    (0.0, 0.01, 0.03, 0.10, 0.30, 0.50, 0.64, 0.72, 0.80, 0.86, 0.94, 0.98, 1.0),
    (0.80, 1.10, 1.15, 1.15, 1.15, 1.15, 1.12, 1.10, 1.08, 1.06, 0.95, 0.80, 0.55),
    (1.60, 1.86, 1.94, 1.98, 2.00, 2.00, 1.97, 1.88, 1.55, 1.18, 1.02, 0.84, 0.58),
    (0.002, 0.016), ((0.66, 0.78),), (0.715, 0.855),
)  # fmt: skip


@lru_cache(maxsize=128)
def build_car(body: Body, paint: Colour, lit: bool = False, plain_trim: bool = False) -> Mesh:
    """Build a car about the middle of its length, its front towards +z.

    Args:
        body: The shape.
        paint: Body colour.
        lit: Lamps are on.
        plain_trim: Bumpers of dark plastic, not painted.

    Returns:
        The mesh in metres; it is kept for the next car of this kind, so place it, do not change it.
    """
    mesh = Mesh()
    _underside(mesh, body)
    _shell(mesh, body, paint)
    _glazing(mesh, body)
    _ends(mesh, body, paint, lit, plain_trim)
    for share in (0.18, 0.81):
        for side in (-1, 1):
            _wheel(mesh, body, share, side)
    for side in (-1, 1):
        z, x = _along(body, 0.66), side * (body.half_width + 0.02)
        y = _at(body, body.belt, 0.66) + 0.02
        low, high = sorted((x, x + side * 0.16))
        mesh.box((low, y, z - 0.05), (high, y + 0.13, z + 0.05), _times(paint, 0.8))
    return mesh


def _at(body: Body, heights: tuple[float, ...], share: float) -> float:
    return float(np.interp(share, body.stations, heights))


def _along(body: Body, share: float) -> float:
    return (share - 0.5) * body.length


def _times(colour: Colour, factor: float) -> Colour:
    return tuple(value * factor for value in colour)


def _half_section(body: Body, share: float) -> FloatArray:
    """Right half of the cross-section ``(7, 2)`` (x, y) from the sill up to the middle of the roof."""
    taper = 1 - 0.10 * max(0.0, 1 - share / 0.05) - 0.16 * max(0.0, (share - 0.88) / 0.12) ** 1.5
    half = body.half_width * taper
    belt, top = _at(body, body.belt, share), _at(body, body.top, share)
    lean = np.clip((top - belt) / 0.5, 0, 1)
    shoulder = half * (0.97 - 0.19 * lean)
    return np.array(
        [
            (half * 0.95, 0.20), (half, 0.36), (half * 1.015, 0.36 + (belt - 0.36) * 0.5), (half * 0.975, belt),
            (shoulder, max(top - 0.07, belt)), (shoulder * 0.86, top), (0.0, top + 0.03),
        ],
        np.float32,
    )  # fmt: skip


def _shell(mesh: Mesh, body: Body, paint: Colour) -> None:
    fine = np.unique(np.concatenate([body.stations, np.linspace(0.04, 0.96, 8)]))
    sections = [_half_section(body, share) for share in fine]
    for i in range(len(fine) - 1):
        z0, z1 = _along(body, fine[i]), _along(body, fine[i + 1])
        for j in range(sections[i].shape[0] - 1):
            (xa, ya), (xb, yb) = sections[i][j], sections[i][j + 1]
            (xc, yc), (xd, yd) = sections[i + 1][j], sections[i + 1][j + 1]
            colour = _times(paint, 0.62) if j == 0 else paint
            gloss = 0.08 if j < 3 else 0.12 if j == 3 else 0.26
            mesh.add([(xa, ya, z0), (xc, yc, z1), (xd, yd, z1), (xb, yb, z0)], colour, gloss)
            mesh.add([(-xa, ya, z0), (-xb, yb, z0), (-xd, yd, z1), (-xc, yc, z1)], colour, gloss)
    for share, outward in ((fine[0], -1), (fine[-1], 1)):
        half = _half_section(body, share)
        ring = [(x, y, _along(body, share)) for x, y in half] + [(-x, y, _along(body, share)) for x, y in half[::-1]]
        mesh.add(ring if outward < 0 else ring[::-1], paint, 0.1)


def _band(body: Body, first: float, last: float, inset: float) -> list[tuple[float, float, float]]:
    """A pane across the car that follows the slope of the roof line between two stations."""
    corners = []
    for share, side in ((first, -1), (first, 1), (last, 1), (last, -1)):
        section = _half_section(body, share)
        x = section[5][0] - inset if section[5][1] - section[3][1] > 0.25 else section[3][0] - inset * 1.3
        corners.append((side * x, float(section[5][1]) + 0.022, _along(body, share)))
    return corners


def _glazing(mesh: Mesh, body: Body) -> None:
    rear = _band(body, *body.rear_glass, 0.07)
    if body.top[0] > 1.2:
        z = _along(body, 0) - 0.02
        for side in (-1, 1):
            x0, x1 = sorted((side * 0.1, side * 0.68))
            mesh.add([(x0, 1.15, z), (x1, 1.15, z), (x1, 1.6, z), (x0, 1.6, z)], _GLASS, 0.12, 0.4)
    else:
        mesh.add(rear, _GLASS, 0.2, 0.9)
    mesh.add(_band(body, *body.windscreen, 0.06), _GLASS, 0.28, 1.1)
    for first, last in body.side_glass:
        upper: list[tuple[float, float, float]] = []
        lower: list[tuple[float, float, float]] = []
        for share in np.linspace(first, last, 6):
            section = _half_section(body, float(share))
            belt, edge = section[3], section[4]
            if edge[1] - belt[1] < 0.1:
                continue
            for place, into in ((0.08, lower), (0.86, upper)):
                x, y = belt + (edge - belt) * place
                into.append((float(x) + 0.012, float(y), _along(body, float(share))))
        ring = [*lower, *upper[::-1]]
        mesh.add(ring, _GLASS, 0.14, 0.25)
        mesh.add([(-x, y, z) for x, y, z in ring[::-1]], _GLASS, 0.14, 0.25)


def _quad(mesh: Mesh, x: tuple[float, float], y: tuple[float, float], z: float, front: bool, colour: Colour) -> None:
    corners = [(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)]
    mesh.add(corners[::-1] if front else corners, colour, 0.0, 0.5)


def _ends(mesh: Mesh, body: Body, paint: Colour, lit: bool, plain_trim: bool) -> None:
    half, tall = body.half_width, body.top[0] > 1.2
    rear, front = _along(body, 0) - 0.05, _along(body, 1) + 0.05
    trim = (40, 40, 42) if plain_trim else _times(paint, 0.85)
    red = (235, 40, 30) if lit else (150, 26, 24)
    low, high = (0.75, 1.2) if tall else (0.64, 0.88)
    _quad(mesh, (-half * 0.9, half * 0.9), (0.32, 0.55), rear, False, trim)
    _quad(mesh, (-half * 0.7, half * 0.7), (0.2, 0.32), rear, False, (26, 26, 27))
    _quad(mesh, (-0.26, 0.26), (0.56, 0.67), rear - 0.01, False, (205, 178, 60))
    for side in (-1, 1):
        x0, x1 = sorted((side * half * 0.62, side * half * 0.9))
        _quad(mesh, (x0, x1), (low, high), rear, False, red)
        _quad(mesh, (x0, x1), (low, low + 0.07), rear - 0.01, False, (200, 120, 60))
        x0, x1 = sorted((side * half * 0.56, side * half * 0.83))
        _quad(mesh, (x0, x1), (0.54, 0.7), front, True, (228, 230, 226) if not lit else (255, 252, 235))
        _quad(mesh, (x0 + 0.02, x1 - 0.02), (0.30, 0.37), front, True, (90, 90, 88))
    _quad(mesh, (-half * 0.55, half * 0.55), (0.54, 0.67), front, True, (38, 38, 40))
    _quad(mesh, (-half * 0.84, half * 0.84), (0.22, 0.5), front - 0.01, True, trim)
    _quad(mesh, (-half * 0.5, half * 0.5), (0.22, 0.33), front, True, (28, 28, 30))
    _quad(mesh, (-0.26, 0.26), (0.40, 0.51), front + 0.01, True, (222, 222, 214))


def _underside(mesh: Mesh, body: Body) -> None:
    half, length = body.half_width * 0.88, body.length
    mesh.box((-half, 0.12, -length * 0.46), (half, 0.34, length * 0.44), (12, 12, 13), layer=-1.0)
    for share in (0.18, 0.81):
        z = _along(body, share)
        for side in (-1, 1):
            x0, x1 = sorted((side * half * 1.05, side * (half - 0.16)))
            mesh.box((x0, 0.0, z - 0.27), (x1, 0.3, z + 0.27), _RUBBER, layer=-0.5)


def _wheel(mesh: Mesh, body: Body, share: float, side: int) -> None:
    z, x = _along(body, share), side * body.half_width
    turn = np.linspace(0, 2 * np.pi, 18, endpoint=False)
    for radius, out, colour, layer in (
        (0.37, 0.020, (18, 18, 19), 0.6),
        (0.31, 0.026, (30, 30, 31), 0.7),
        (0.20, 0.032, (142, 144, 146), 0.8),
        (0.06, 0.036, (70, 70, 72), 0.9),
    ):
        y = 0.31 + radius * np.sin(turn)
        disc = np.stack(
            [np.full_like(turn, x + side * out), np.maximum(y, 0.005), z + radius * np.cos(turn) * side], -1
        )
        mesh.add(disc, colour, 0.05, layer)
    for spoke in range(5):
        angle = spoke * 2 * np.pi / 5
        hub = [
            (x + side * 0.035, 0.31 + r * np.sin(angle + a), z + side * r * np.cos(angle + a))
            for r, a in ((0.07, 0), (0.17, -0.25), (0.17, 0.25))
        ]
        mesh.add(hub, (52, 52, 54), 0.0, 0.95)
