"""Odd objects of flat parts: a crate, a stack of boxes, a stepladder and a boat on its trailer."""

from __future__ import annotations

import itertools

import numpy as np

from anomseg.data.generated.mesh import Mesh


def build_crate(rng: np.random.Generator) -> Mesh:
    """A wooden crate of boards with battens, about 0.9 metres wide."""
    mesh = Mesh()
    half, high = float(rng.uniform(0.38, 0.6)), float(rng.uniform(0.7, 1.0))
    wood = np.array([168, 128, 84]) * rng.uniform(0.8, 1.1)
    mesh.box((-half, 0, -half), (half, high, half), tuple(wood * 0.35))
    boards = 5
    for k in range(boards):
        y0, y1 = high * k / boards + 0.008, high * (k + 1) / boards - 0.008
        edge = half + 0.012
        tone = wood * rng.normal(1, 0.08)
        for corners in _walls(edge, y0, y1):
            mesh.add(corners, tuple(tone * rng.normal(1, 0.03)), layer=0.05)
        x0, x1 = -half + 2 * half * k / boards + 0.008, -half + 2 * half * (k + 1) / boards - 0.008
        mesh.add(
            [(x0, high + 0.01, -edge), (x1, high + 0.01, -edge), (x1, high + 0.01, edge), (x0, high + 0.01, edge)],
            tuple(tone),
            layer=0.05,
        )
    edge, batten = half + 0.03, 0.09
    for y0, y1 in ((0.0, batten), (high - batten, high)):
        for corners in _walls(edge, y0, y1):
            mesh.add(corners, tuple(wood * 0.88), layer=0.1)
    for sign in (-1, 1):
        x0, x1 = sorted((sign * edge, sign * (edge - batten)))
        front = [(x0, 0, -edge - 0.004), (x1, 0, -edge - 0.004), (x1, high, -edge - 0.004), (x0, high, -edge - 0.004)]
        for turn in range(4):
            mesh.add(_turned(front, turn), tuple(wood * 0.92), layer=0.12)
    slant = [
        (-edge + batten, batten, -edge - 0.006),
        (-edge + 2 * batten, batten, -edge - 0.006),
        (edge - batten, high - batten, -edge - 0.006),
        (edge - 2 * batten, high - batten, -edge - 0.006),
    ]
    for turn in range(4):
        mesh.add(_turned(slant, turn), tuple(wood * 0.96), layer=0.12)
    return mesh


def _walls(edge: float, low: float, high: float) -> list[list[tuple[float, float, float]]]:
    front = [(-edge, low, -edge), (edge, low, -edge), (edge, high, -edge), (-edge, high, -edge)]
    return [_turned(front, turn) for turn in range(4)]


def _turned(corners: list[tuple[float, float, float]], quarters: int) -> list[tuple[float, float, float]]:
    for _ in range(quarters):
        corners = [(-z, y, x) for x, y, z in corners]
    return corners


def build_boxes(rng: np.random.Generator) -> Mesh:
    """A pile of cardboard boxes with tape, some skewed."""
    mesh = Mesh()
    places = ((-0.35, 0.0, 0.0), (0.36, 0.0, 0.05), (0.02, 1.0, 0.0))
    base = 0.0
    for x, level, z in places[: int(rng.integers(2, 4))]:
        half, high = float(rng.uniform(0.26, 0.36)), float(rng.uniform(0.38, 0.55))
        low = 0.0 if level == 0 else base
        base = max(base, high) if level == 0 else base
        card = np.array([176, 138, 96]) * rng.normal(0.95, 0.07)
        box = Mesh()
        box.box((-half, 0, -half), (half, high, half), tuple(card))
        box.add(
            [
                (-0.03, high + 0.005, -half),
                (0.03, high + 0.005, -half),
                (0.03, high + 0.005, half),
                (-0.03, high + 0.005, half),
            ],
            (206, 186, 150),
            layer=0.05,
        )
        for turn in range(4):
            label = [
                (-half * 0.5, high * 0.35, -half - 0.004),
                (half * 0.1, high * 0.35, -half - 0.004),
                (half * 0.1, high * 0.7, -half - 0.004),
                (-half * 0.5, high * 0.7, -half - 0.004),
            ]
            mark = (214, 210, 200) if turn % 2 == 0 else tuple(card * 0.7)
            box.add(_turned(label, turn), mark, layer=0.05)
            seam = [
                (-0.025, high * 0.72, -half - 0.003),
                (0.025, high * 0.72, -half - 0.003),
                (0.025, high, -half - 0.003),
                (-0.025, high, -half - 0.003),
            ]
            box.add(_turned(seam, turn), (206, 186, 150), layer=0.04)
        _extend(mesh, box.placed(x, z, float(rng.normal(0, 0.25)), y=low), 1.0 * (level > 0))
    return mesh


def _extend(mesh: Mesh, other: Mesh, layer: float = 0.0) -> None:
    for k, corners in enumerate(other.polygons):
        mesh.add(corners, other.colours[k], other.gloss[k], other.layers[k] + layer, other.two_sided[k])


def build_ladder(rng: np.random.Generator) -> Mesh:
    """An open stepladder, wooden or of aluminium, about two metres high."""
    mesh = Mesh()
    tone = (186, 190, 194) if rng.random() < 0.6 else (178, 128, 72)
    high, spread, width = float(rng.uniform(1.6, 2.2)), 0.55, 0.27
    for direction in (-1, 1):
        for side in (-1, 1):
            foot, top = (side * (width + 0.08), 0.0, direction * spread), (side * width * 0.75, high, direction * 0.06)
            _bar(mesh, foot, top, 0.045, tone)
        for k in range(1, int(high / 0.28)):
            share = k * 0.28 / high
            z = direction * (spread + (0.06 - spread) * share)
            x = width + 0.08 + (width * 0.75 - width - 0.08) * share
            deep = 0.06 if direction < 0 else 0.02
            mesh.box(
                (-x, k * 0.28 - 0.025, z - deep), (x, k * 0.28 + 0.02, z + deep), tuple(value * 0.9 for value in tone)
            )
    mesh.box((-width, high - 0.02, -0.14), (width, high + 0.05, 0.14), (200, 60, 40))
    return mesh


def _bar(
    mesh: Mesh,
    foot: tuple[float, float, float],
    top: tuple[float, float, float],
    half: float,
    colour: tuple[int, int, int],
) -> None:
    (x0, y0, z0), (x1, y1, z1) = foot, top
    low = [
        (x0 - half, y0, z0 - half),
        (x0 + half, y0, z0 - half),
        (x0 + half, y0, z0 + half),
        (x0 - half, y0, z0 + half),
    ]
    high = [
        (x1 - half, y1, z1 - half),
        (x1 + half, y1, z1 - half),
        (x1 + half, y1, z1 + half),
        (x1 - half, y1, z1 + half),
    ]
    for k in range(4):
        n = (k + 1) % 4
        mesh.add([low[k], low[n], high[n], high[k]], colour)


def build_boat(rng: np.random.Generator) -> Mesh:
    """A small open boat on a two-wheeled trailer, about 3.5 metres long."""
    mesh = Mesh()
    hull = ((214, 214, 208), (40, 80, 130), (150, 40, 36), (60, 110, 90))[int(rng.integers(4))]
    length, beam, lift = float(rng.uniform(2.8, 3.8)), 0.75, 0.42
    stations = np.linspace(0, 1, 9)
    rings = []
    for share in stations:
        half = beam * (0.82 + 0.18 * np.sin(np.pi * min(share * 1.3, 1))) * (1 - max(0.0, share - 0.45) ** 1.7 * 2.6)
        half = max(half, 0.02)
        rise = 0.35 * share**3
        z = (share - 0.5) * length
        profile = [
            (0.0, lift + rise * 0.8),
            (half * 0.6, lift + 0.08 + rise * 0.8),
            (half * 0.92, lift + 0.3 + rise),
            (half, lift + 0.62 + rise),
            (half * 0.88, lift + 0.64 + rise),
        ]
        rings.append([(x, y, z) for x, y in profile])
    band = (226, 226, 220) if sum(hull) < 560 else (40, 60, 110)
    for a, b in itertools.pairwise(rings):
        for j in range(4):
            colour = band if j >= 3 else tuple(value * (0.85 if j == 0 else 1.0) for value in hull)
            mesh.add([a[j], b[j], b[j + 1], a[j + 1]], colour, 0.12, two_sided=True)
            mesh.add([(-x, y, z) for x, y, z in (a[j], a[j + 1], b[j + 1], b[j])], colour, 0.12, two_sided=True)
    stern = [*rings[0], *[(-x, y, z) for x, y, z in rings[0][::-1]]]
    mesh.add(stern, tuple(value * 0.95 for value in hull), 0.1)
    end = rings[0][0][2]
    mesh.box((-0.16, lift + 0.35, end - 0.3), (0.16, lift + 0.95, end - 0.02), (46, 48, 52), layer=0.2)
    for side in (-1, 1):
        x0, x1 = sorted((side * 0.42, side * 0.36))
        mesh.box((x0, 0.36, -length * 0.5), (x1, 0.44, length * 0.62), (120, 124, 128), layer=-0.3)
        turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        for radius, out, colour in ((0.27, 0.0, (24, 24, 25)), (0.14, 0.01, (150, 152, 154))):
            x = side * (0.72 + out)
            disc = np.stack(
                [np.full_like(turn, x), 0.27 + radius * np.sin(turn), side * radius * np.cos(turn) - 0.2], -1
            )
            mesh.add(disc, colour, layer=0.4 + out)
        x0, x1 = sorted((side * 0.55, side * 0.72))
        mesh.box((x0, 0.0, -0.43), (x1, 0.5, 0.03), (24, 24, 25), layer=-0.2)
        lamp = sorted((side * 0.5, side * 0.68))
        mesh.box((lamp[0], 0.38, -length * 0.5 - 0.08), (lamp[1], 0.5, -length * 0.5), (170, 28, 26), layer=0.3)
    mesh.box((-0.66, 0.38, -length * 0.5 - 0.05), (0.66, 0.48, -length * 0.5), (110, 112, 114), layer=0.1)
    return mesh
