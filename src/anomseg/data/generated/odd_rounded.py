"""Odd objects of rounded parts: animals, a boulder, a ball, cones, tyres and a sofa."""

from __future__ import annotations

import numpy as np

from anomseg.data.generated.mesh import Colour
from anomseg.data.generated.solids import Capsule, Skin

Solid = tuple[list[Capsule], Skin]


def build_cow(rng: np.random.Generator) -> Solid:
    """A cow, about 2.3 metres long and 1.5 high: brown, black and white, or cream."""
    coat, spots = (((98, 62, 42), None), ((210, 204, 196), (34, 30, 30)), ((170, 140, 108), None))[int(rng.integers(3))]
    graze = rng.random() < 0.4
    parts = [
        Capsule((-0.72, 1.02, 0), (0.55, 1.0, 0), 0.37, 0.36, coat, spots),
        Capsule((-0.1, 0.86, 0), (0.2, 0.86, 0), 0.38, 0.36, coat, spots),
        Capsule((-0.86, 1.1, 0.12), (-0.8, 0.9, 0.14), 0.24, 0.26, coat, spots),
        Capsule((-0.86, 1.1, -0.12), (-0.8, 0.9, -0.14), 0.24, 0.26, coat, spots),
        Capsule((0.6, 1.12, 0), (0.66, 0.9, 0), 0.28, 0.26, coat, spots),
        Capsule((-1.1, 1.28, 0), (-1.18, 0.72, 0), 0.035, 0.025, coat),
        Capsule((-1.18, 0.72, 0), (-1.18, 0.58, 0), 0.04, 0.06, (40, 34, 30)),
        Capsule((-0.42, 0.58, 0), (-0.36, 0.56, 0), 0.12, 0.1, (196, 150, 140)),
    ]
    for along, side in ((-0.82, -0.17), (-0.82, 0.17), (0.58, -0.17), (0.58, 0.17)):
        step = float(rng.normal(0, 0.06))
        knee = (along + step, 0.48, side)
        foot = (along + step * 1.6, 0.07, side)
        parts.append(Capsule((along, 0.86, side), knee, 0.15, 0.085, coat, spots))
        parts.append(Capsule(knee, foot, 0.075, 0.06, coat))
        parts.append(Capsule(foot, (foot[0] + 0.03, 0.04, side), 0.075, 0.075, (38, 34, 32)))
    neck, head, nose = (
        ((1.0, 1.0, 0), (1.18, 0.62, 0), (1.34, 0.34, 0))
        if graze
        else ((0.98, 1.34, 0), (1.12, 1.42, 0), (1.46, 1.2, 0))
    )
    parts += [
        Capsule((0.62, 1.08, 0), neck, 0.27, 0.19, coat, spots),
        Capsule(neck, head, 0.19, 0.17, coat, spots),
        Capsule(head, nose, 0.165, 0.10, coat),
        Capsule(nose, nose, 0.115, 0.115, (168, 132, 120)),
    ]
    for side in (-1, 1):
        parts.append(
            Capsule(
                (head[0], head[1] + 0.09, side * 0.13), (head[0] - 0.06, head[1] + 0.1, side * 0.33), 0.07, 0.03, coat
            )
        )
        parts.append(
            Capsule(
                (head[0], head[1] + 0.15, side * 0.09),
                (head[0] + 0.05, head[1] + 0.3, side * 0.2),
                0.035,
                0.012,
                (205, 196, 176),
            )
        )
        parts.append(
            Capsule(
                (head[0] + 0.1, head[1] + 0.02, side * 0.125),
                (head[0] + 0.1, head[1] + 0.02, side * 0.125),
                0.03,
                0.03,
                (18, 16, 16),
            )
        )
    return parts, Skin(grain=0.06, bumps=0.07, size=0.03)


def build_sheep(rng: np.random.Generator) -> Solid:
    """A sheep, about 1.2 metres long, with a thick fleece and a dark or pale face."""
    wool: Colour = (196, 188, 170)
    face: Colour = (40, 36, 34) if rng.random() < 0.6 else (186, 174, 156)
    parts = [Capsule((-0.35, 0.66, 0), (0.35, 0.68, 0), 0.31, 0.29, wool)]
    for _ in range(26):
        around, along = rng.uniform(-0.3, np.pi + 0.3), rng.uniform(-0.5, 0.48)
        y, side = 0.68 + 0.24 * float(np.sin(around)), 0.24 * float(np.cos(around))
        parts.append(Capsule((along, y, side), (along, y, side), 0.12, 0.12, wool))
    for along, side in ((-0.4, -0.12), (-0.4, 0.12), (0.34, -0.12), (0.34, 0.12)):
        parts.append(Capsule((along, 0.5, side), (along + float(rng.normal(0, 0.03)), 0.04, side), 0.06, 0.04, face))
    parts += [
        Capsule((0.5, 0.8, 0), (0.66, 0.98, 0), 0.19, 0.14, wool),
        Capsule((0.68, 1.0, 0), (0.9, 0.86, 0), 0.11, 0.07, face),
        Capsule((0.66, 1.06, 0), (0.64, 1.08, 0), 0.11, 0.1, wool),
    ]
    for side in (-1, 1):
        parts.append(Capsule((0.68, 1.0, side * 0.09), (0.64, 0.96, side * 0.24), 0.045, 0.025, face))
    return parts, Skin(grain=0.1, bumps=0.4, size=0.05)


def build_boulder(rng: np.random.Generator) -> Solid:
    """A weathered rock, about a metre across, part of it below the ground."""
    size = float(rng.uniform(0.42, 0.75))
    grey = np.array([132, 124, 112]) * rng.uniform(0.75, 1.1)
    parts = []
    for _ in range(34):
        # Lumps on a flattened ball, smaller the farther out: an uneven, weathered outline.
        way = rng.normal(0, 1, 3)
        way /= np.sqrt((way * way).sum())
        far = size * float(rng.uniform(0.1, 0.72))
        radius = (size - far) * float(rng.uniform(0.6, 0.95)) + 0.05
        centre = (float(way[0]) * far * 1.3, max(size * 0.5 + float(way[1]) * far * 0.8, 0.05), float(way[2]) * far)
        colour = tuple(float(value) for value in grey * rng.normal(1, 0.05))
        end = (centre[0] + float(rng.normal(0, 0.12)), centre[1] + float(rng.normal(0, 0.05)), centre[2])
        parts.append(Capsule(centre, end, radius, radius * 0.7, colour))
    return parts, Skin(grain=0.16, bumps=0.4, size=0.12)


def build_ball(rng: np.random.Generator) -> Solid:
    """A big inflated ball, striped like a beach ball or plain like one for gymnastics."""
    radius = float(rng.uniform(0.3, 0.5))
    colour: Colour = ((196, 44, 40), (40, 90, 180), (226, 150, 40), (60, 140, 80))[int(rng.integers(4))]
    parts = [Capsule((0, radius, 0), (0, radius, 0), radius, radius, colour)]
    if rng.random() < 0.6:
        # Rings a hair outside the ball, leaning: stripes that follow its curve.
        lean = rng.uniform(0.2, 1.2)
        for offset in (-0.55, 0.0, 0.55):
            ring, turn = radius * np.sqrt(1 - offset * offset), np.linspace(0, 2 * np.pi, 29)
            flat = np.stack([ring * np.cos(turn), np.full_like(turn, offset * radius), ring * np.sin(turn)], -1)
            x = flat[:, 0] * np.cos(lean) - flat[:, 1] * np.sin(lean)
            y = flat[:, 0] * np.sin(lean) + flat[:, 1] * np.cos(lean) + radius
            line = [
                (float(a), float(b), float(c))
                for a, b, c in zip(x * 0.93, (y - radius) * 0.93 + radius, flat[:, 2] * 0.93, strict=True)
            ]
            parts += [Capsule(line[k], line[k + 1], radius * 0.09, radius * 0.09, (228, 224, 214)) for k in range(28)]
    return parts, Skin(grain=0.03, bumps=0.02, size=0.02, shine=0.5)


def build_cones(rng: np.random.Generator) -> Solid:
    """A heap of traffic cones, some standing and some fallen."""
    parts: list[Capsule] = []
    orange, white, dark = (226, 84, 34), (226, 224, 218), (40, 38, 38)
    for _ in range(int(rng.integers(3, 6))):
        x, z = float(rng.uniform(-0.55, 0.55)), float(rng.uniform(-0.3, 0.3))
        fallen = rng.random() < 0.45
        angle = float(rng.uniform(0, 2 * np.pi))
        for low, high, colour in (
            (0.0, 0.28, orange),
            (0.28, 0.45, white),
            (0.45, 0.56, orange),
            (0.56, 0.66, white),
            (0.66, 0.75, orange),
        ):
            r0, r1 = 0.17 - 0.19 * low, 0.17 - 0.19 * high
            if fallen:
                ends = [(x + h * np.cos(angle), 0.16 - 0.12 * h, z + h * np.sin(angle)) for h in (low, high)]
            else:
                ends = [(x, 0.05 + h, z) for h in (low, high)]
            parts.append(Capsule(ends[0], ends[1], r0, r1, colour))
        if not fallen:
            corners = [
                (x - 0.2, 0.025, z - 0.2),
                (x + 0.2, 0.025, z - 0.2),
                (x + 0.2, 0.025, z + 0.2),
                (x - 0.2, 0.025, z + 0.2),
            ]
            parts += [Capsule(corners[k], corners[k - 1], 0.03, 0.03, dark) for k in range(4)]
    return parts, Skin(grain=0.07, bumps=0.04, size=0.03, shine=0.12)


def build_tyres(rng: np.random.Generator) -> Solid:
    """Lost lorry tyres: one lying, or two or three in an untidy stack, or one leaning upright."""
    parts: list[Capsule] = []
    turn = np.linspace(0, 2 * np.pi, 33)
    radius, thick = float(rng.uniform(0.38, 0.5)), float(rng.uniform(0.13, 0.17))
    upright = rng.random() < 0.4
    for k in range(1 if upright else int(rng.integers(1, 4))):
        dx, dz = rng.normal(0, 0.07, 2) if k else (0.0, 0.0)
        if upright:
            ring = [
                (radius * float(np.cos(a)), radius + thick + radius * float(np.sin(a)), 0.25 * float(np.sin(a)))
                for a in turn
            ]
        else:
            height = thick * (1.0 + 1.9 * k)
            ring = [
                (float(dx) + radius * float(np.cos(a)), height, float(dz) + radius * float(np.sin(a))) for a in turn
            ]
        for j in range(32):
            tone = 36 + (6 if j % 2 else 0)
            parts.append(Capsule(ring[j], ring[j + 1], thick, thick, (tone, tone, tone + 1)))
    return parts, Skin(grain=0.16, bumps=0.2, size=0.02, shine=0.06)


def build_sofa(rng: np.random.Generator) -> Solid:
    """An old armchair or sofa in cloth or leather."""
    cloth: Colour = ((128, 44, 40), (92, 74, 58), (62, 84, 74), (150, 134, 108), (70, 62, 96))[int(rng.integers(5))]
    dark = tuple(value * 0.8 for value in cloth)
    half = float(rng.choice([0.42, 0.75, 0.95]))
    parts = [Capsule((-half, 0.22, z), (half, 0.22, z), 0.13, 0.13, dark) for z in (-0.3, -0.12, 0.1, 0.3)]
    parts += [
        Capsule((-half, 0.08 + 0.09 * k, -0.38), (half, 0.08 + 0.09 * k, -0.38), 0.06, 0.06, dark) for k in range(3)
    ]
    seats = max(int(half / 0.35), 1)
    for k in range(seats):
        x0, x1 = -half + 2 * half * k / seats + 0.13, -half + 2 * half * (k + 1) / seats - 0.13
        for z in (-0.3, -0.1, 0.1):
            parts.append(Capsule((x0, 0.40, z), (x1, 0.40, z), 0.13, 0.13, cloth))
        for y in (0.58, 0.7, 0.82):
            parts.append(
                Capsule((x0, y, 0.24 + (y - 0.58) * 0.3), (x1, y, 0.24 + (y - 0.58) * 0.3), 0.125, 0.125, cloth)
            )
    parts += [
        Capsule((-half - 0.05, y, 0.36), (half + 0.05, y, 0.36 + (y - 0.3) * 0.3), 0.12, 0.12, dark)
        for y in (0.2, 0.4, 0.6, 0.8)
    ]
    for side in (-1, 1):
        for y, r in ((0.14, 0.11), (0.3, 0.12), (0.46, 0.13), (0.58, 0.15)):
            parts.append(Capsule((side * (half + 0.08), y, -0.36), (side * (half + 0.08), y, 0.36), r, r, cloth))
    return parts, Skin(grain=0.09, bumps=0.16, size=0.035, shine=0.08)
