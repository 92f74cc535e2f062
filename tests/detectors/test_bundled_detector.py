"""The detector that ships: found by its name wherever detectors are named, small, and of use."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TinySegmenter

from anomseg.cli.main import run
from anomseg.data import load_frames
from anomseg.data.negatives import PasteConfig, Paster, load_negatives
from anomseg.detectors import create_detector, detector_names, load_detector, resolve_detector, save_detector
from anomseg.detectors.bundled import Bundled
from anomseg.detectors.noisy_negatives.start import with_outlier_outputs
from anomseg.detectors.saved import shipped_directory
from anomseg.errors import DataError
from anomseg.metrics import PixelCurve
from anomseg.segmenters import load_segmenter
from anomseg.segmenters.scene import make_scene


@pytest.fixture(scope="module")
def detector() -> Bundled:
    found = load_detector("bundled")
    assert isinstance(found, Bundled)
    return found


def test_every_way_to_name_it_gives_the_same_scores(detector):
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3)).astype(np.uint8)
    scene = make_scene([image], ["a"], detector.segmenter)
    expected = detector.score(scene)
    assert expected.shape == (1, 90, 120)
    assert 0 <= float(expected.min()) <= float(expected.max()) <= 1
    for other in (create_detector("bundled"), resolve_detector("bundled"), load_detector(shipped_directory("bundled"))):
        assert type(other) is Bundled
        assert torch.equal(other.score(make_scene([image], ["a"], other.segmenter)), expected)


def test_it_scores_with_its_own_network_whichever_is_given(detector):
    image = np.random.default_rng(1).integers(0, 256, (72, 96, 3)).astype(np.uint8)
    own = detector.score(make_scene([image], ["a"], detector.segmenter))
    stranger = TinySegmenter()
    assert detector.score(make_scene([image], ["a"], stranger)).shape == own.shape
    assert detector.flags.owns_network
    assert detector.flags.uses_negatives
    assert detector.forward_passes == 1


def test_it_knows_what_it_was_trained_on(detector):
    training = detector.fitted_on["training"]
    assert training["recipe"] == "bundled-detector"
    assert training["data"] == {"camvid/train": 367, "idd_lite/train": 1403, "camvid/val": 101}
    assert training["negatives"]["regime"] == "minus_test_categories"
    # It starts from our own segmenter and from no other network.
    assert training["start"]["name"] == "bundled"
    assert training["start"]["sha256"] == load_segmenter("bundled").fingerprint()
    assert "encoder" not in training
    assert detector.segmenter.classes == load_segmenter("bundled").classes


def test_what_ships_is_small_and_says_its_terms():
    folder = shipped_directory("bundled")
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 10e6
    assert "non-commercial" in (folder / "WEIGHTS_LICENSE").read_text()
    card = (folder / "MODEL_CARD.md").read_text()
    assert "bundled-detector" in card
    assert "RoadAnomaly" in card


def test_saved_again_it_stays_small_and_scores_the_same(detector, tmp_path):
    save_detector(detector, tmp_path / "copy")
    weights = Path("networks/network/model.safetensors")
    assert (tmp_path / "copy" / weights).read_bytes() == (shipped_directory("bundled") / weights).read_bytes()
    copy = load_detector(tmp_path / "copy")
    image = np.random.default_rng(2).integers(0, 256, (72, 96, 3)).astype(np.uint8)
    scores = [one.score(make_scene([image], ["a"], one.segmenter)) for one in (detector, copy)]
    assert torch.equal(*scores)


def test_only_what_ships_is_found_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped_directory("energy") is None
    with pytest.raises(DataError):
        load_detector("energy")
    assert "bundled" in detector_names("weights")


def test_it_finds_pasted_objects_that_it_has_not_seen(detector, shared_data):
    objects = load_negatives("coco_panoptic", shared_data / "negatives" / "coco_panoptic", half="odd", regime="all")
    paster = Paster(objects, PasteConfig(share=1.0, shape="mask", area=(0.02, 0.15)))
    curve, plain = PixelCurve(), PixelCurve()
    energy, network = create_detector("energy"), load_segmenter("bundled")
    for number, frame in enumerate(load_frames("camvid", root=shared_data / "camvid", split="val", limit=5)):
        pasted = paster.paste(frame.image(), np.random.default_rng(number))
        for one, segmenter, state in ((detector, detector.segmenter, curve), (energy, network, plain)):
            score = one.score(make_scene([pasted.image], [frame.id], segmenter))
            state.update(score[0].numpy(), pasted.outlier)
    found, compared = curve.compute(), plain.compute()
    assert found.ap > 0.6
    assert found.ap > compared.ap + 0.2
    assert found.fpr95 < compared.fpr95


def test_a_network_to_start_from_may_be_given_another_working_size():
    started = load_segmenter("bundled")
    grown = with_outlier_outputs(started, {"size": [320, 432], "outlier_layers": ["decoder8"]}, seed=0)
    assert grown.size == (320, 432)
    kept = started.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in grown.state_dict().items() if name in kept)


def test_its_recipe_trains_a_network_of_its_form(detector, shared_data, tmp_path):
    roots = {
        "camvid": "camvid",
        "idd_lite": "idd_lite",
        "imagenet": "negatives/imagenet_sample",
        "coco_panoptic": "negatives/coco_panoptic",
    }
    texts = [word for name, folder in roots.items() for word in (f"--roots.{name}", str(shared_data / folder))]
    short = {"data.limit": 2, "data.batch_size": 2, "trainer.steps": 1, "trainer.validate_every": 1}
    short["trainer.precision"] = "32-true"
    texts += [word for key, value in short.items() for word in (f"--stages.detector.{key}", str(value))]
    assert run(["train", "bundled-detector", *texts, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    made = load_detector(tmp_path / "out")
    assert made.chosen == detector.chosen
    assert made.segmenter.config() == detector.segmenter.config()
    weights = "networks/network/model.safetensors"
    sizes = [(folder / weights).stat().st_size for folder in (tmp_path / "out", shipped_directory("bundled"))]
    assert sizes[0] == sizes[1]
