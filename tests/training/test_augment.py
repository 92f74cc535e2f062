import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anomseg.training.augment import AugmentConfig, augment

PLAIN = {"colour": 0.0, "gamma": 0.0}


def _pair(height=30, width=40):
    classes = np.random.default_rng(1).integers(0, 5, (height, width)).astype(np.uint8)
    # A picture whose grey value tells its class, so that image and labels can be compared after moving.
    return np.repeat((classes * 50)[..., None], 3, axis=2), classes


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.tuples(st.integers(5, 60), st.integers(5, 60)))
def test_shape_values_and_determinism(seed, crop):
    image, classes = _pair()
    config = AugmentConfig(crop=crop, scale=(0.5, 2.0))
    first = augment(image, classes, config, np.random.default_rng(seed))
    again = augment(image, classes, config, np.random.default_rng(seed))
    assert first[0].shape == (*crop, 3)
    assert first[1].shape == crop
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert set(np.unique(first[1])) <= {0, 1, 2, 3, 4, 255}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_labels_move_with_the_image(seed):
    image, classes = _pair()
    config = AugmentConfig(crop=(20, 25), scale=(1.0, 1.0), **PLAIN)
    pixels, labels = augment(image, classes, config, np.random.default_rng(seed))
    assert np.array_equal(pixels[..., 0], labels * 50)


def test_a_crop_beyond_the_image_is_void_there():
    image, classes = _pair(10, 10)
    _, labels = augment(
        image, classes, AugmentConfig(crop=(16, 12), scale=(1, 1), flip=0, **PLAIN), np.random.default_rng(0)
    )
    assert (labels[10:] == 255).all()
    assert (labels[:, 10:] == 255).all()
    assert (labels[:10, :10] == classes).all()


def test_flips_happen_at_the_given_rate():
    image, classes = _pair()
    config = AugmentConfig(crop=(30, 40), scale=(1, 1), flip=0.5, **PLAIN)
    rng = np.random.default_rng(0)
    flipped = sum(np.array_equal(augment(image, classes, config, rng)[1], classes[:, ::-1]) for _ in range(200))
    assert 70 < flipped < 130


def test_colour_changes_pixels_but_never_labels():
    image, classes = _pair()
    config = AugmentConfig(crop=(30, 40), scale=(1, 1), flip=0)
    pixels, labels = augment(image, classes, config, np.random.default_rng(3))
    assert not np.array_equal(pixels, image)
    assert np.array_equal(labels, classes)


def test_black_padding_lies_around_the_image():
    image, classes = _pair(20, 30)
    config = AugmentConfig(crop=(27, 30), scale=(1.0, 1.0), flip=0.0, pad="black", **PLAIN)
    pixels, labels = augment(image, classes, config, np.random.default_rng(0))
    assert np.array_equal(pixels[3:23], image)
    assert np.array_equal(labels[3:23], classes)
    assert not pixels[:3].any()
    assert not pixels[23:].any()
    assert (labels[:3] == 255).all()
    assert (labels[23:] == 255).all()


def test_scales_follow_the_law():
    """Half of the uniform scales lie below the middle, half of the logarithmic ones below the geometric mean."""
    image, classes = np.full((64, 4, 3), 255, np.uint8), np.zeros((64, 4), np.uint8)

    def heights(law):
        config = AugmentConfig(crop=(256, 1), scale=(1.0, 4.0), scale_law=law, flip=0.0, pad="black", **PLAIN)
        draws = (augment(image, classes, config, np.random.default_rng(seed))[1] for seed in range(400))
        return np.array([(labels != 255).sum() for labels in draws]) / 64

    assert np.median(heights("uniform")) == np.clip(np.median(heights("uniform")), 2.2, 2.8)
    assert np.median(heights("log")) == np.clip(np.median(heights("log")), 1.75, 2.25)


def test_each_distortion_changes_pixels_alone_and_none_is_on_by_default():
    image, classes = _pair()
    still = {"crop": (30, 40), "scale": (1, 1), "flip": 0.0, **PLAIN}
    same = augment(image, classes, AugmentConfig(**still), np.random.default_rng(0))
    assert np.array_equal(same[0], image)
    for option in ("white", "focus", "jpeg", "grain"):
        config = AugmentConfig(**still, **{option: 1.0})
        pixels, labels = augment(image, classes, config, np.random.default_rng(0))
        assert pixels.dtype == np.uint8
        assert not np.array_equal(pixels, image), option
        assert np.array_equal(labels, classes), option


def test_a_white_balance_moves_each_channel_by_its_own_factor():
    image = np.full((8, 8, 3), 100, np.uint8)
    config = AugmentConfig(crop=(8, 8), scale=(1, 1), flip=0, white=0.2, **PLAIN)
    pixels, _ = augment(image, image[..., 0] * 0, config, np.random.default_rng(0))
    values = pixels[0, 0].astype(float) / 100
    assert len(set(values)) == 3
    assert (values >= np.exp(-0.2) - 0.01).all()
    assert (values <= np.exp(0.2) + 0.01).all()


def test_aspect_stretches_image_and_labels_alike():
    image, classes = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
    image[16:48, 16:48], classes[16:48, 16:48] = 255, 1
    config = AugmentConfig(crop=(96, 96), scale=(1, 1), flip=0, aspect=0.5, **PLAIN)
    ratios = set()
    for seed in range(8):
        pixels, labels = augment(image, classes, config, np.random.default_rng(seed))
        inside = labels == 1
        assert (((pixels[..., 0] > 127) & (labels != 255)) != inside).mean() < 0.01  # borders are rounded their own way
        ratios.add(round(float(inside.any(0).sum() / inside.any(1).sum()), 2))
    assert len(ratios) > 4
    assert min(ratios) < 0.9
    assert max(ratios) > 1.1


def test_magnify_is_a_factor_of_the_scale():
    image, classes = _pair(40, 40)
    pairs = [
        augment(
            image, classes, AugmentConfig(crop=(20, 20), scale=scale, flip=0, **PLAIN), np.random.default_rng(0), by
        )
        for scale, by in (((1.0, 1.0), 0.5), ((0.5, 0.5), 1.0))
    ]
    assert np.array_equal(pairs[0][1], pairs[1][1])
    assert (pairs[0][1] != 255).all()
