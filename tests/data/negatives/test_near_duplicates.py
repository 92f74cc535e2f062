"""Copies of evaluation images are found however they were saved; nothing else is."""

import io

import numpy as np
import pytest
from negative_trees import picture, plain, save
from PIL import Image

from anomseg.data import load_frames
from anomseg.data.negatives import NearDuplicates, Negative, load_negatives, perceptual_hash
from anomseg.data.negatives.duplicates import hamming
from anomseg.errors import ConfigError, DataError


def as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.array(Image.open(stream))


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


CHANGES = {
    "jpeg": lambda image: as_jpeg(image, 15),
    "smaller": lambda image: as_jpeg(resize(image, 320, 180), 60),
    "larger": lambda image: resize(image, 1600, 900),
    "square": lambda image: as_jpeg(resize(image, 256, 256), 60),
    "grey": lambda image: np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2),
    "brighter": lambda image: (255 * (image / 255) ** 0.7).astype(np.uint8),
    "mirrored": lambda image: as_jpeg(resize(image, 300, 200), 40)[:, ::-1],
    "margins cut": lambda image: image[10:-10, 20:-20],
}


@pytest.fixture(scope="module")
def road_anomaly(shared_data):
    return load_frames("road_anomaly", shared_data / "anomaly" / "RoadAnomaly")


@pytest.fixture(scope="module")
def known(road_anomaly):
    return NearDuplicates(road_anomaly)


def test_copies_of_real_frames_are_found_in_every_form(road_anomaly, known):
    for frame in road_anomaly[::12]:
        image = frame.image()
        for name, change in CHANGES.items():
            found, distance = known.nearest(change(image))
            assert (found, distance <= known.threshold) == (frame.id, True), (frame.id, name, distance)


def test_no_false_alarm_among_a_thousand_imagenet_images(shared_data, known):
    negatives = load_negatives("imagenet", shared_data / "negatives" / "imagenet_sample", regime="all")
    screened = known.screen(negatives)
    assert (len(screened.kept), screened.duplicates, screened.unreadable) == (1000, [], [])


def test_frames_of_the_set_are_not_duplicates_of_each_other(road_anomaly):
    hashes = np.array([perceptual_hash(frame.image()) for frame in road_anomaly], np.uint64)
    distances = np.array([hamming(hashes, one) for one in hashes]) + 64 * np.eye(len(hashes), dtype=int)
    assert distances.min() > 8


def test_screening_parts_duplicates_and_unreadable_ones(tmp_path):
    yy, xx = np.mgrid[:90, :120]
    scene = np.stack([(2 * yy + xx) % 256, 128 + 100 * np.sin(xx / 17), 60 + yy], axis=-1).astype(np.uint8)
    save(tmp_path / "evaluation" / "scene.png", scene)
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    save(tmp_path / "copy.jpg", resize(scene, 60, 45)[:, ::-1], quality=50)
    save(tmp_path / "other.png", picture(5, 90, 120))
    (tmp_path / "evaluation").rename(tmp_path.parent / f"{tmp_path.name}-evaluation")
    known = NearDuplicates(tmp_path.parent / f"{tmp_path.name}-evaluation")
    screened = known.screen(load_negatives("folder", tmp_path, regime="all"))
    assert [one.id for one in screened.kept] == ["other.png"]
    assert [(one.negative, one.frame) for one in screened.duplicates] == [("copy.jpg", "scene.png")]
    assert screened.duplicates[0].distance <= 8
    assert screened.unreadable == ["bad.jpg"]


def test_distances_are_counts_of_differing_bits():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 50, dtype=np.uint64)
    expected = [bin(int(one) ^ int(hashes[0])).count("1") for one in hashes]
    assert hamming(hashes, hashes[0]).tolist() == expected


def test_the_hash_is_64_bits_of_the_cosine_transform():
    from scipy.fft import dctn

    image = picture(1, 32, 32)
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float64)
    low = dctn(grey, type=2)[:8, :8]
    bits = (low > np.median(low)).ravel()
    found = perceptual_hash(image)
    assert found.dtype == np.uint64
    assert np.unpackbits(np.array([found]).view(np.uint8)).astype(bool).tolist() == bits.tolist()


def test_what_cannot_be_compared(tmp_path):
    with pytest.raises(DataError, match="no evaluation images"):
        NearDuplicates([])
    with pytest.raises(DataError, match="does not exist"):
        NearDuplicates(tmp_path / "absent")
    with pytest.raises(ConfigError, match="threshold"):
        NearDuplicates([plain("a", 3)], threshold=64)
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"no evaluation images.*bad\.jpg"):
        NearDuplicates(tmp_path)
    with pytest.warns(UserWarning, match="1 evaluation images are not compared"):
        known = NearDuplicates([*load_negatives("folder", tmp_path, regime="all"), Negative("a", picture)])
    assert known.ids == ["a"]
