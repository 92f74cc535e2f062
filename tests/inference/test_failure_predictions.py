"""Where a segmentation is likely wrong, image by image: arrays, pictures, files and the table of classes."""

import csv
import json

import numpy as np
import pytest
import torch
from inference_parts import BoundedDarkness, BrightnessSegmenter
from PIL import Image

from anomseg.detectors import create_detector
from anomseg.detectors.base import FailureDetector
from anomseg.errors import CompatibilityError, ConfigError, FrameError
from anomseg.inference import FailureAssessment, Prediction, predict, predict_to_directory, quality_text, read_quality
from anomseg.types import FailurePrediction


class Foretold(FailureDetector):
    """The green channel as error map; quality: brightness of dark, nothing of medium, 0.25 of bright."""

    registry_name = "foretold"

    def __init__(self, maps=True, measure="iou", classes=3):
        super().__init__()
        self.maps, self.measure, self.classes = maps, measure, classes

    def assess(self, scene):
        quality = torch.full((len(scene.images), self.classes), 0.25)
        quality[:, 0] = scene.images.mean((1, 2, 3))
        quality[:, 1] = float("nan")
        maps = scene.resize(scene.images[:, 1:2])[:, 0]
        return FailurePrediction(maps if self.maps else None, quality, self.measure)

    def pictures(self, scene):
        return {"rendering": (scene.images.permute(0, 2, 3, 1) * 255).to(torch.uint8)}


def image(low=0, high=255, seed=0, size=(24, 32)):
    return np.random.default_rng(seed).integers(low, high, (*size, 3), dtype=np.uint8)


def test_an_assessment_has_map_quality_and_segmentation():
    photo = image()
    found = predict(photo, BrightnessSegmenter(), Foretold(), task="failure")
    assert isinstance(found, FailureAssessment)
    assert np.allclose(found.error_map, photo[..., 1] / 255, atol=1e-6)
    assert found.quality == {"dark": pytest.approx(photo.mean() / 255, abs=1e-5), "medium": None, "bright": 0.25}
    assert found.measure == "iou"
    plain = predict(photo, BrightnessSegmenter(), BoundedDarkness())
    assert isinstance(plain, Prediction)
    assert np.array_equal(found.segmentation, plain.segmentation)
    shares = np.bincount(plain.segmentation.ravel(), minlength=3) / plain.segmentation.size
    assert list(found.shares.values()) == shares.tolist()
    # The mean is over classes that the segmentation shows and something is said of.
    shown = [value for value, share in zip((photo.mean() / 255, None, 0.25), shares, strict=True) if value and share]
    assert found.mean_quality == pytest.approx(np.mean(shown), abs=1e-5)


def test_any_detector_answers_with_its_map():
    photo = image()
    found = predict(photo, BrightnessSegmenter(), create_detector("msp"), task="failure")
    plain = predict(photo, BrightnessSegmenter(), create_detector("msp"))
    assert np.array_equal(found.error_map, plain.anomaly_map)
    assert (found.class_quality, found.quality, found.mean_quality) == (None, {}, None)
    assert found.range() == (0.0, 1.0)


def test_pictures_show_the_segmentation_under_the_errors():
    photo = image(100, 160)
    found = predict(photo, BrightnessSegmenter(), Foretold(), task="failure", threshold=0.5)
    low, high = float(found.error_map.min()), float(found.error_map.max())
    drawn = found.overlay((low, high), bar=False)
    assert drawn.shape == photo.shape
    # Nothing wrong: the class's own colour, which is green here; likely wrong: the bright end of the colours.
    at_low = drawn[np.unravel_index(found.error_map.argmin(), found.error_map.shape)].astype(int)
    at_high = drawn[np.unravel_index(found.error_map.argmax(), found.error_map.shape)].astype(int)
    assert at_low[1] > at_low[0] + 20 and at_low[1] > at_low[2] + 20  # noqa: PT018
    assert at_high.sum() > at_low.sum() + 150
    assert found.overlay().shape[1] > photo.shape[1]
    assert found.picture(bar=False).shape == photo.shape
    assert np.array_equal(found.mask(), found.error_map >= 0.5)


def test_a_region_of_interest_confines_the_map():
    roi = np.zeros((24, 32), np.uint8)
    roi[5:10] = 255
    found = predict(image(), BrightnessSegmenter(), Foretold(), task="failure", roi=roi)
    inside = found.error_map[5:10]
    assert (found.error_map[:5] == inside.min()).all()
    assert not found.mask(0.0)[:5].any()


def test_files_of_a_folder_and_their_table(tmp_path):
    for index in range(3):
        Image.fromarray(image(seed=index)).save(tmp_path / f"{index}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    arguments = (str(tmp_path), BrightnessSegmenter(), Foretold(), out)
    summary = predict_to_directory(*arguments, task="failure", threshold=0.5)
    assert (summary.done, [name for name, _ in summary.skipped]) == (("0", "1", "2"), ["broken"])
    ends = {path.name[1:] for path in out.glob("0*")}
    assert ends == {
        ".json", "_error.npy", "_error.png", "_error_overlay.png", "_error_mask.png", "_segmentation.png",
        "_rendering.png",
    }  # fmt: skip
    assert np.allclose(np.load(out / "0_error.npy"), image()[..., 1] / 255, atol=1e-6)
    sidecar = json.loads((out / "0.json").read_text())
    assert sidecar["task"] == "failure"
    assert sidecar["score"]["sign"] == "higher = more likely wrong"
    assert sidecar["class_quality"]["classes"]["bright"] == 0.25
    table = list(csv.DictReader((out / "class_quality.csv").open()))
    assert len(table) == 9
    assert [row["iou"] for row in table[:3]] == [str(sidecar["class_quality"]["classes"]["dark"]), "", "0.25"]
    text = quality_text(read_quality(out, summary.done)).splitlines()
    assert text[0].split() == ["class", "images", "predicted", "IoU", "lowest", "in"]
    assert {line.split()[0] for line in text[1:]} == {"dark", "bright"}
    again = predict_to_directory(*arguments, task="failure", threshold=0.5)
    assert again.kept == ("0", "1", "2")
    # The other task in the same folder takes the place of this one's files.
    predict_to_directory(str(tmp_path / "0.png"), BrightnessSegmenter(), BoundedDarkness(), out)
    assert {path.name[1:] for path in out.glob("0*")} == {".json", ".npy", "_overlay.png", "_segmentation.png"}


def test_classes_alone_give_no_map(tmp_path):
    found = predict(image(), BrightnessSegmenter(), Foretold(maps=False, measure="dice"), task="failure")
    assert found.error_map is None
    with pytest.raises(CompatibilityError, match="has no error map: foretold judges classes, not pixels"):
        found.overlay()
    names = [path.name for path in found.save(tmp_path, ("png", "npy", "hdf5"))]
    assert names == ["image_segmentation.png", "image_rendering.png", "image.json"]
    sidecar = json.loads((tmp_path / "image.json").read_text())
    assert (sidecar["range"], sidecar["class_quality"]["measure"]) == (None, "dice")
    rows = read_quality(tmp_path, ["image"])
    assert "predicted Dice" in quality_text(rows)


def test_bad_requests(tmp_path):
    network = BrightnessSegmenter()
    with pytest.raises(CompatibilityError, match="give a segmenter of 1 to 256 classes"):
        predict(image(), None, create_detector("chance"), task="failure")
    with pytest.raises(ConfigError, match="did you mean 'failure'"):
        predict(image(), network, Foretold(), task="failures")
    with pytest.raises(ConfigError, match="not of failures"):
        predict_to_directory([image()], network, Foretold(), tmp_path, task="failure", calibrated=True)
    with pytest.raises(CompatibilityError, match=r"as \(1, 4\) for 1 images and 3 classes"):
        predict(image(), network, Foretold(classes=4), task="failure")
    with pytest.raises(ConfigError, match="has no threshold"):
        predict(image(), network, Foretold(), task="failure").mask()

    class Broken(Foretold):
        def assess(self, scene):
            found = super().assess(scene)
            return FailurePrediction(found.error_map * float("nan"))

    with pytest.raises(FrameError, match="NaN or infinite"):
        predict(image(), network, Broken(), task="failure")
