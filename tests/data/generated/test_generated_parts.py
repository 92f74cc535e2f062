"""The parts generated scenes are drawn with, against plain geometry."""

import numpy as np
import pytest
from PIL import Image

from anomseg.data.generated.buildings import wall_sprite
from anomseg.data.generated.camera import Camera
from anomseg.data.generated.canvas import CAR, Canvas, Sprite
from anomseg.data.generated.light import Light, draw_light
from anomseg.data.generated.mesh import Mesh, render
from anomseg.data.generated.solids import Capsule, render_solids
from anomseg.data.generated.textures import noise_tile, patch

CAMERA = Camera(width=640, height=480, focal=500.0, centre=320.0, horizon=240.0, elevation=1.5)
LIGHT = Light((0.0, 1.0, 0.0), 0.5, 0.7, (200.0, 200.0, 200.0), 300.0, (220.0, 230.0, 240.0))


def test_ground_is_the_inverse_of_projection():
    x, z = CAMERA.ground(slice(250, 480), slice(0, 640))
    points = np.stack([x, np.zeros_like(x), np.broadcast_to(z, x.shape)], -1)
    pixels = CAMERA.project(points)
    np.testing.assert_allclose(pixels[..., 0], np.arange(640)[None] + 0.5 + 0 * x, atol=1e-2)
    np.testing.assert_allclose(pixels[..., 1], np.arange(250, 480)[:, None] + 0.5 + 0 * x, atol=1e-2)


def test_a_box_covers_the_pixels_its_corners_span_and_shows_only_outer_faces():
    mesh = Mesh()
    mesh.box((-1.0, 0.0, 9.0), (1.0, 1.0, 11.0), (200, 0, 0))
    sprite = render(mesh, CAMERA, LIGHT)
    rows, columns = np.nonzero(sprite.mask)
    left, bottom = CAMERA.project([-1.0, 0.0, 9.0])
    right = CAMERA.project([1.0, 0.0, 9.0])[0]
    top = CAMERA.project([0.0, 1.0, 11.0])[1]
    assert abs(columns.min() + sprite.left - left) < 1.5
    assert abs(columns.max() + sprite.left - right) < 1.5
    assert abs(rows.max() + sprite.top - bottom) < 1.5
    assert abs(rows.min() + sprite.top - top) < 1.5
    # Front face darker than the top, which looks at the sun; the hidden faces would bring further tones.
    tones, counts = np.unique(sprite.colour[sprite.mask][:, 0] // 8, return_counts=True)
    assert len(tones[counts > 0.03 * counts.sum()]) == 2


def test_a_ball_is_round_and_lit_from_the_sun():
    ball = [Capsule((0, 0.5, 0), (0, 0.5, 0), 0.5, 0.5, (180, 180, 180))]
    rng = np.random.default_rng(0)
    sprite = render_solids(ball, (0.5, 6.0), 0.3, CAMERA, LIGHT, rng)
    scale = CAMERA.pixels_per_metre(6.0)
    assert sprite.mask.sum() == pytest.approx(np.pi * (0.5 * scale) ** 2, rel=0.03)
    height = sprite.mask.shape[0]
    upper = sprite.colour[: height // 3][sprite.mask[: height // 3]].mean()
    lower = sprite.colour[-height // 3 :][sprite.mask[-height // 3 :]].mean()
    assert upper > 1.3 * lower


def test_nothing_of_a_solid_reaches_below_the_ground():
    ball = [Capsule((0, 0.0, 0), (0, 0.0, 0), 0.5, 0.5, (180, 180, 180))]
    sprite = render_solids(ball, (0.0, 20.0), 0.0, CAMERA, LIGHT, np.random.default_rng(0))
    rows = np.nonzero(sprite.mask.any(1))[0] + sprite.top
    front = CAMERA.project([0.0, 0.0, 19.5])[1]
    assert rows.max() <= front + 1


def test_a_picture_on_a_wall_keeps_its_left_and_right_and_gets_smaller_far_away():
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40] = (255, 0, 0)
    pixels[:, 40:] = (0, 0, 255)
    sprite = wall_sprite(Image.fromarray(pixels), (-4.0, 6.0), (-4.0, 26.0), 3.0, CAMERA, 1.0)
    first = CAMERA.project([-4.0, 0.0, 6.0])[0]
    middle = CAMERA.project([-4.0, 0.0, 16.0])[0]
    covered = np.flatnonzero(sprite.mask.any(0))
    columns = covered + sprite.left + 0.5
    red = np.array([(sprite.colour[:, k, 0][sprite.mask[:, k]] > 127).mean() for k in covered])
    assert (red[(columns > first + 2) & (columns < middle - 2)] == 1).all()
    assert (red[columns > middle + 2] == 0).all()
    heights = sprite.mask.sum(0)[covered]
    assert heights[2] > 3 * heights[-3] > 0


def test_paste_writes_colour_class_and_object_together_and_clips():
    canvas = Canvas(CAMERA, LIGHT)
    mask = np.ones((20, 20), bool)
    mask[:10] = False
    canvas.paste(Sprite(np.full((20, 20, 3), 50, np.float32), mask, -5, 470), CAR, 1.0, odd=2)
    assert not canvas.objects.any()
    canvas.paste(Sprite(np.full((20, 20, 3), 50, np.float32), mask, -5, 100), CAR, 1.0, odd=2)
    assert (canvas.objects == 2).sum() == (canvas.classes == CAR).sum() == 15 * 10
    assert (canvas.colour.sum(-1) > 0).sum() == 150


def test_haze_takes_far_colours_to_the_haze_and_leaves_near_ones():
    near, far = LIGHT.fade(np.zeros(3), 0.0), LIGHT.fade(np.zeros(3), 3000.0)
    assert near.max() == 0
    np.testing.assert_allclose(far, 200, atol=0.1)


def test_noise_is_periodic_and_standardised():
    tile = noise_tile(4.0, 2)
    assert abs(tile.mean()) < 1e-4
    assert tile.std() == pytest.approx(1, abs=1e-4)
    inner = np.abs(np.diff(tile, axis=0)).mean()
    assert np.abs(tile[0] - tile[-1]).mean() < 1.5 * inner
    assert patch(np.random.default_rng(0), (700, 30), 1.0).shape == (700, 30)


def test_the_sun_is_a_unit_vector_above_the_horizon():
    for seed in range(20):
        light = draw_light(np.random.default_rng(seed))
        assert np.linalg.norm(light.sun) == pytest.approx(1)
        assert light.sun[1] > 0
