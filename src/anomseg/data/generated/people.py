"""People on foot and on bicycles, built of capsules."""

from __future__ import annotations

import numpy as np

from anomseg.data.generated.canvas import BICYCLIST, PEDESTRIAN, Canvas
from anomseg.data.generated.mesh import Colour
from anomseg.data.generated.solids import Capsule, Skin, render_solids

_COATS: tuple[Colour, ...] = (
    (34, 36, 44), (52, 48, 46), (28, 40, 70), (110, 30, 34), (84, 84, 80), (62, 74, 56), (150, 140, 124), (30, 30, 32),
)  # fmt: skip
_TROUSERS: tuple[Colour, ...] = ((36, 42, 62), (30, 30, 34), (60, 58, 54), (84, 78, 68))
_SKINS: tuple[Colour, ...] = ((206, 160, 132), (186, 138, 110), (124, 86, 64), (220, 178, 152))
_HAIR: tuple[Colour, ...] = ((40, 30, 24), (78, 56, 36), (24, 22, 22), (130, 112, 84), (120, 118, 116))


def _pick(rng: np.random.Generator, palette: tuple[Colour, ...]) -> Colour:
    return palette[int(rng.integers(len(palette)))]


def _limb(*points: tuple[float, float, float], radii: tuple[float, ...], colour: Colour) -> list[Capsule]:
    return [Capsule(points[k], points[k + 1], radii[k], radii[k + 1], colour) for k in range(len(points) - 1)]


def _head(x: float, y: float, skin: Colour, hair: Colour) -> list[Capsule]:
    return [
        Capsule((x, y - 0.17, 0), (x, y - 0.08, 0), 0.055, 0.055, skin),
        Capsule((x + 0.01, y - 0.02, 0), (x, y + 0.05, 0), 0.085, 0.095, skin),
        Capsule((x - 0.02, y + 0.05, 0.03), (x - 0.03, y + 0.06, 0.02), 0.105, 0.1, hair),
    ]


def draw_pedestrian(canvas: Canvas, x: float, z: float, rng: np.random.Generator) -> None:
    """Paint someone who stands or walks, 1.5 to 1.9 metres tall."""
    tall = float(rng.uniform(0.88, 1.08))
    coat, trousers, skin, hair = _pick(rng, _COATS), _pick(rng, _TROUSERS), _pick(rng, _SKINS), _pick(rng, _HAIR)
    stride, swing = rng.uniform(0.0, 0.34), rng.uniform(0.05, 0.3)
    parts: list[Capsule] = []
    for side, step in ((-1, stride), (1, -stride)):
        hip, knee = (0.0, 0.88, side * 0.09), (step * 0.5 + 0.03, 0.48, side * 0.09)
        foot = (step, 0.07, side * 0.09)
        parts += _limb(hip, knee, foot, radii=(0.095, 0.075, 0.055), colour=trousers)
        parts.append(Capsule(foot, (step + 0.14, 0.05, side * 0.09), 0.05, 0.04, (26, 24, 24)))
        hand = (-step * swing * 3, 0.82, side * 0.27)
        parts += _limb((0, 1.40, side * 0.2), (-0.03, 1.10, side * 0.25), hand, radii=(0.07, 0.055, 0.045), colour=coat)
        parts.append(Capsule(hand, hand, 0.05, 0.05, skin))
    length = 0.62 if rng.random() < 0.3 else 0.84
    for side in (-1, 1):
        parts.append(Capsule((0, length, side * 0.07), (0, 1.38, side * 0.11), 0.12, 0.11, coat))
    parts += _head(0.02, 1.62, skin, hair)
    if rng.random() < 0.3:
        parts.append(Capsule((-0.2, 1.12, 0.05), (-0.17, 1.34, 0.05), 0.12, 0.1, _pick(rng, _COATS)))
    _draw(canvas, _scaled(parts, tall), x, z, rng, PEDESTRIAN, (0.28, 0.22, 1.7))


def draw_bicyclist(canvas: Canvas, x: float, z: float, rng: np.random.Generator) -> None:
    """Paint a rider on a bicycle, seen from behind, from the front or at a slant."""
    coat, trousers, skin, hair = _pick(rng, _COATS), _pick(rng, _TROUSERS), _pick(rng, _SKINS), _pick(rng, _HAIR)
    frame = ((40, 42, 46), (150, 30, 30), (30, 60, 120))[int(rng.integers(3))]
    parts: list[Capsule] = []
    for hub in (-0.52, 0.52):
        turn = np.linspace(0, 2 * np.pi, 21)
        rim = [(hub + 0.33 * float(np.cos(a)), 0.34 + 0.33 * float(np.sin(a)), 0.0) for a in turn]
        parts += [Capsule(rim[k], rim[k + 1], 0.022, 0.022, (24, 24, 25)) for k in range(20)]
        parts += [Capsule((hub, 0.34, 0), rim[k], 0.004, 0.004, (130, 130, 132)) for k in range(0, 20, 4)]
    joints = {
        "rear": (-0.52, 0.34, 0.0),
        "pedal": (-0.08, 0.3, 0.0),
        "seat": (-0.22, 0.86, 0.0),
        "head": (0.38, 0.84, 0.0),
        "front": (0.52, 0.34, 0.0),
    }
    for a, b in (
        ("rear", "pedal"),
        ("rear", "seat"),
        ("pedal", "seat"),
        ("pedal", "head"),
        ("seat", "head"),
        ("head", "front"),
    ):
        parts.append(Capsule(joints[a], joints[b], 0.02, 0.02, frame))
    parts.append(Capsule((0.36, 1.0, -0.27), (0.36, 1.0, 0.27), 0.018, 0.018, (40, 40, 42)))
    parts.append(Capsule((-0.32, 0.93, 0), (-0.12, 0.93, 0), 0.06, 0.04, (24, 24, 25)))
    for side, lift in ((-1, 0.0), (1, 0.3)):
        foot = (-0.04 + lift * 0.3, 0.16 + lift, side * 0.12)
        parts += _limb(
            (-0.22, 0.98, side * 0.1),
            (0.14, 0.62 + lift * 0.5, side * 0.11),
            foot,
            radii=(0.1, 0.075, 0.05),
            colour=trousers,
        )
        parts.append(Capsule(foot, (foot[0] + 0.14, foot[1] - 0.02, foot[2]), 0.05, 0.04, (26, 24, 24)))
        parts += _limb(
            (0.08, 1.42, side * 0.19),
            (0.26, 1.18, side * 0.25),
            (0.38, 1.03, side * 0.23),
            radii=(0.065, 0.055, 0.045),
            colour=coat,
        )
    for side in (-1, 1):
        parts.append(Capsule((-0.2, 1.0, side * 0.06), (0.06, 1.42, side * 0.1), 0.125, 0.12, coat))
    parts += _head(0.16, 1.68, skin, hair)
    slant = rng.choice([np.pi / 2, -np.pi / 2]) + rng.normal(0, 0.45)
    _draw(canvas, parts, x, z, rng, BICYCLIST, (0.3, 0.8, 1.6), slant)


def _scaled(parts: list[Capsule], factor: float) -> list[Capsule]:
    return [
        Capsule(
            tuple(value * factor for value in part.start),
            tuple(value * factor for value in part.end),
            part.start_radius * factor,
            part.end_radius * factor,
            part.colour,
        )
        for part in parts
    ]


def _draw(
    canvas: Canvas,
    parts: list[Capsule],
    x: float,
    z: float,
    rng: np.random.Generator,
    label: int,
    shadow: tuple[float, float, float],
    yaw: float | None = None,
) -> None:
    yaw = float(rng.uniform(0, 2 * np.pi)) if yaw is None else float(yaw)
    canvas.ground_shadow(x, z, *shadow)
    sprite = render_solids(
        parts, (x, z), yaw, canvas.camera, canvas.light, rng, Skin(grain=0.07, bumps=0.14, size=0.03)
    )
    canvas.paste(sprite, label, z)
