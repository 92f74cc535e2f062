import io

import numpy as np
import pytest
from PIL import Image

from anomseg.data import distortion


def picture(seed=0, side=48):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("change", [distortion.refocused, distortion.recompressed, distortion.grained])
def test_same_generator_same_pixels_and_the_image_given_stays(change):
    image = picture()
    before = image.copy()
    first, again = (change(image, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, again)
    assert np.array_equal(image, before)
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    assert not np.array_equal(first, change(image, np.random.default_rng(4)))


def test_gamma_is_the_power_of_the_values():
    image = picture()
    changed = distortion.gamma_corrected(image, 0.5, np.random.default_rng(0))
    inside = (image > 20) & (image < 235)
    exponent = np.log(changed[inside] / 255) / np.log(image[inside] / 255)
    assert exponent.std() < 0.03
    assert 1 / 1.5 <= exponent.mean() <= 1.5
    assert distortion.gamma_corrected(image, 0.0, np.random.default_rng(0)).tolist() == image.tolist()


def test_recompression_is_that_of_a_jpeg_file():
    image, rng = picture(), np.random.default_rng(5)
    quality = int(np.random.default_rng(5).integers(30, 96))
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    assert np.array_equal(distortion.recompressed(image, rng), np.asarray(Image.open(file)))


def test_focus_either_loses_or_gains_contrast_between_neighbours():
    image = picture()
    steps = [
        np.abs(np.diff(distortion.refocused(image, np.random.default_rng(seed)).astype(int), axis=0)).mean()
        for seed in range(12)
    ]
    plain = np.abs(np.diff(image.astype(int), axis=0)).mean()
    assert min(steps) < plain < max(steps)


def test_grain_has_no_bias_and_a_bounded_strength():
    image = np.full((64, 64, 3), 128, np.uint8)
    for seed in range(5):
        noise = distortion.grained(image, np.random.default_rng(seed)).astype(float) - 128
        assert abs(noise.mean()) < 0.5
        assert 0.9 < noise.std() < 10.5
