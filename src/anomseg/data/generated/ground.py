"""The road plane: asphalt, worn paint, gutters, kerbs and paving slabs, drawn for each pixel in metres."""

from __future__ import annotations

import numpy as np

from anomseg.data.generated.camera import FloatArray
from anomseg.data.generated.canvas import PAVEMENT, ROAD, Canvas
from anomseg.data.generated.street import Street
from anomseg.data.generated.textures import noise_tile, sample, smoothstep

KERB = 0.14


def draw_ground(canvas: Canvas, street: Street, rng: np.random.Generator) -> None:
    """Paint everything below the horizon with road and pavement."""
    camera = canvas.camera
    rows = slice(max(int(np.ceil(camera.horizon)), 0), camera.height)
    x, z = camera.ground(rows, slice(0, camera.width))
    x = x - street.shift(z)
    on_road = (x > street.left_kerb) & (x < street.right_kerb)
    depth = np.broadcast_to(z, x.shape)
    colour = np.empty((*x.shape, 3), np.float32)
    for part, surface, tint in (
        (on_road, _road, _tint(rng, 0.97, 1.0, 1.05)),
        (~on_road, _pavement, _tint(rng, 1.0, 1.0, 1.0)),
    ):
        there = depth[part]
        colour[part] = surface(x[part], there, there / camera.focal, street, rng)[:, None] * tint
    _paint_lines(colour, x, z, z / camera.focal, street, rng)
    colour *= (_daylight(canvas, x, z, street, rng))[..., None]
    canvas.colour[rows] = canvas.light.fade(colour, z)
    canvas.classes[rows] = np.where(on_road, ROAD, PAVEMENT)


def _tint(rng: np.random.Generator, red: float, green: float, blue: float) -> FloatArray:
    return (np.array([red, green, blue]) * rng.normal(1, 0.012, 3)).astype(np.float32)


def _grain(x: FloatArray, z: FloatArray, pixel: FloatArray, cells: float, sigma: float, octaves: int) -> FloatArray:
    """Noise at ``cells`` per metre that fades where a pixel covers more than a cell."""
    # Along the street a pixel covers z / elevation times more than across it.
    footprint = pixel * (1 + z / 3.0) * cells / max(sigma, 1.0)
    return sample(noise_tile(sigma, octaves), x * cells, z * cells) / (1 + footprint)


def _road(x: FloatArray, z: FloatArray, pixel: FloatArray, street: Street, rng: np.random.Generator) -> FloatArray:
    offset = rng.uniform(0, 40, 2)
    x0, z0 = x + offset[0], z + offset[1]
    base = rng.uniform(92, 116)
    shade = 1 + rng.uniform(0.06, 0.12) * _grain(x0, z0, pixel, 90, 0.8, 1)
    shade += 0.035 * _grain(x0, z0, pixel, 16, 1.0, 3)
    shade += 0.04 * _grain(x0 * 1.0, z0 * 0.35, pixel, 4, 2.0, 2)
    # Tyres polish two tracks in each lane.
    for lane in (-0.05, street.centre_line + 1.75):
        for side in (-0.72, 0.72):
            shade += 0.035 * np.exp(-(((x - lane - side) / 0.3) ** 2))
    shade -= 0.12 * smoothstep(0.6, 0.0, np.minimum(x - street.left_kerb, street.right_kerb - x))
    for _ in range(int(rng.integers(0, 4))):
        _repair(shade, x, z, street, rng)
    # Asphalt looks lighter at a glancing view.
    shade *= 1 + 0.14 * smoothstep(6, 60, z)
    return (base * shade).astype(np.float32)


def _repair(shade: FloatArray, x: FloatArray, z: FloatArray, street: Street, rng: np.random.Generator) -> None:
    """A newer patch of asphalt, a trench or an iron cover."""
    px = rng.uniform(street.left_kerb + 0.4, street.right_kerb - 0.6)
    pz = rng.uniform(4.5, 25)
    kind = rng.integers(0, 3)
    half_x, half_z = ((rng.uniform(0.4, 1.0), rng.uniform(0.5, 2.5)), (0.16, rng.uniform(4, 12)), (0.28, 0.28))[kind]
    inside = (np.abs(x - px) < half_x) & (np.abs(z - pz) < half_z)
    shade[inside] *= (rng.uniform(0.82, 1.12), 0.86, 0.62)[kind]


def _pavement(x: FloatArray, z: FloatArray, pixel: FloatArray, street: Street, rng: np.random.Generator) -> FloatArray:
    offset = rng.uniform(0, 40, 2)
    outside = np.where(x < 0, street.left_kerb - x, x - street.right_kerb)
    slab = rng.uniform(0.45, 0.9)
    line_x = np.abs((outside / slab) % 1 - 0.5) * slab
    line_z = np.abs((z / slab / 1.5 + np.floor(outside / slab) * 0.5) % 1 - 0.5) * slab * 1.5
    seam = smoothstep(0.024, 0.004, np.minimum(slab / 2 - line_x, slab * 0.75 - line_z)) / (1 + 60 * pixel)
    cell = sample(noise_tile(0.0), np.floor(outside / slab) * 7, np.floor(z / slab / 1.5) * 3)
    shade = 1 + 0.05 * cell / (1 + 30 * pixel)
    shade += 0.07 * _grain(x + offset[0], z + offset[1], pixel, 60, 0.8, 2)
    shade += 0.06 * _grain(x + offset[0], z + offset[1], pixel, 6, 2.0, 2)
    shade -= 0.28 * seam
    shade *= rng.uniform(100, 132)
    kerb = outside < KERB
    shade[kerb] = shade[kerb] * 0.3 + rng.uniform(95, 120)
    joint = kerb & (np.abs((z / 0.9) % 1 - 0.5) > 0.485)
    shade[joint] *= 0.8
    shade[(outside > KERB) & (outside < KERB + 0.025 + 0.6 * pixel)] *= 0.8
    return shade.astype(np.float32)


def _cover(distance: FloatArray, half: float, pixel: FloatArray) -> FloatArray:
    """Share of a pixel under a stripe whose middle is ``distance`` away."""
    return np.clip((half - np.abs(distance)) / pixel + 0.5, 0, 1) * np.minimum(1, 2 * half / pixel)


def _paint_lines(
    colour: FloatArray, x: FloatArray, z: FloatArray, pixel: FloatArray, street: Street, rng: np.random.Generator
) -> None:
    wear = np.clip(rng.uniform(0.6, 0.95) + 0.2 * sample(noise_tile(1.0, 3), x * 25, z * 12), 0.1, 1)
    along = pixel * np.maximum(z / 1.45, 1)
    white = np.zeros_like(x)
    phase = rng.uniform(0, 9)
    if street.marking == "dashes":
        period, dash = (6.0, 2.0) if rng.random() < 0.5 else (9.0, 4.0)
        on = np.clip((dash / 2 - np.abs((z + phase) % period - period / 2)) / along + 0.5, 0, 1)
        white += _cover(x - street.centre_line, 0.06, pixel) * on
    elif street.marking == "zigzag":
        for line in (street.centre_line, street.left_kerb + 0.5, street.right_kerb - 0.5):
            wave = np.abs((z + phase) % 4.0 - 2.0) - 1.0
            white += _cover(x - line - 0.22 * np.clip(wave * 2.5, -1, 1), 0.06, pixel)
    else:
        for line in (-0.55, 0.55):
            white += _cover(x - street.centre_line - line, 0.06, pixel)
        stripe = (z * 0.8 + x * 0.9 + phase) % 2.4 < 0.35
        white += stripe * (np.abs(x - street.centre_line) < 0.55) * np.clip(0.1 / pixel, 0, 1)
    if rng.random() < 0.3:
        stop = rng.uniform(7, 20)
        in_lane = (x > street.left_kerb + 0.3) & (x < street.centre_line)
        white += in_lane * np.clip((0.16 - np.abs(z - stop)) / along + 0.5, 0, 1)
    mix = (np.clip(white, 0, 1) * wear * 0.8)[..., None]
    colour += mix * (np.array([205, 207, 206], np.float32) - colour)
    if street.yellow_lines:
        edge = np.minimum(x - street.left_kerb, street.right_kerb - x)
        yellow = _cover(edge - 0.28, 0.04, pixel) + _cover(edge - 0.46, 0.04, pixel)
        colour += (np.clip(yellow, 0, 1) * wear * 0.65)[..., None] * (np.array([178, 155, 80], np.float32) - colour)


def _daylight(canvas: Canvas, x: FloatArray, z: FloatArray, street: Street, rng: np.random.Generator) -> FloatArray:
    """Brightness of the ground, with the soft-edged shadow that the sunward row of houses throws."""
    light = canvas.light
    lit = float(light.shade(np.array([0.0, 1.0, 0.0])))
    shadow = lit - light.direct * light.sun[1]
    reach = rng.uniform(0.5, 8.0)
    from_sun = (street.right_walls - x) if light.sun[0] > 0 else (x - street.left_walls)
    roofs = np.floor(z / 7.3 + rng.uniform(0, 9))
    ragged = reach + 1.1 * sample(noise_tile(0.0), roofs * 5, np.zeros_like(roofs)) + z * 0.03 * light.sun[2]
    dapple = 0.5 * sample(noise_tile(2.0, 3), x * 6, z * 6)
    return shadow + (lit - shadow) * smoothstep(-0.25, 0.25, from_sun - ragged + dapple * 0.25)
