"""A data set against negative images, from files to cards: the metric on maps made apart."""

import json

import numpy as np
import pytest
from PIL import Image
from small_run import COUNT, TinySegmenter, write_tree

from anomseg.cli.main import run
from anomseg.data import load_frames
from anomseg.detectors import create_detector, default_detector
from anomseg.errors import DataError
from anomseg.evaluation import against_negatives
from anomseg.inference import predict
from anomseg.metrics import PixelCurve, equal_pixel_ap


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = write_tree(tmp_path_factory.mktemp("data"))
    folder = tmp_path_factory.mktemp("negatives")
    generator = np.random.default_rng(5)
    for index in range(9):
        image = generator.integers(0, 255, (30 + index, 41, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / f"n{index}.png")
    return root, folder


def expected(root, folder, detector, **options):
    network, curve = TinySegmenter(), PixelCurve()
    for index in range(COUNT):
        label = np.asarray(Image.open(root / "labels_masks" / f"{index}.png"))
        score = predict(root / "images" / f"{index}.png", network, detector).anomaly_map
        curve.update(score, np.where(label == 0, 0, 255))
    maps = {path.stem: predict(path, network, detector).anomaly_map for path in folder.glob("*.png")}
    return equal_pixel_ap(curve, list(maps), maps.get, **options)


def test_cards(data, tmp_path):
    root, folder = data
    frames = load_frames("road_anomaly_21", root)
    detectors = {name: create_detector(name) for name in ("msp", "energy")}
    cards = against_negatives(frames, [folder], TinySegmenter(), detectors, tmp_path, repeats=6, seed=2)
    for card in cards:
        wanted = expected(root, folder, detectors[card["folder"]], repeats=6, seed=2)
        assert card["ap"] == {"mean": wanted.mean, "std": wanted.std, "draws": list(wanted.aps)}
        assert card["pixels"] == wanted.pixels
        assert card["images_per_draw"] == list(wanted.images)
        assert (card["frames"], card["negatives"]["images"], card["skipped"]) == (COUNT, 9, [])
        assert json.loads((tmp_path / card["folder"] / "against.json").read_text()) == card
    # The state on disk is that of the inliers, so that draws can be made again from maps at hand.
    assert PixelCurve.load(tmp_path / "msp" / "inliers.npz").inlier == cards[0]["pixels"]
    again = against_negatives(frames, [folder], TinySegmenter(), detectors, repeats=6, seed=2)
    assert again == cards
    assert against_negatives(frames, [folder], TinySegmenter(), detectors, repeats=6, seed=3) != cards


def test_frames_with_classes_alone_and_without_labels(data, tmp_path):
    _, folder = data
    for kind, value in (("images", 90), ("labels", 3)):
        (tmp_path / kind / "test").mkdir(parents=True)
        array = np.full((20, 30, 3) if kind == "images" else (20, 30), value, np.uint8)
        if kind == "labels":
            array[:4] = 255
        Image.fromarray(array).save(tmp_path / kind / "test" / "0001TP_1.png")
    frames = load_frames("camvid", tmp_path, "test")
    (card,) = against_negatives(frames, [folder], TinySegmenter(), {"msp": create_detector("msp")}, repeats=2)
    assert card["pixels"] == 16 * 30
    (card,) = against_negatives(
        load_frames("folder:images=n", _moved(folder, tmp_path / "own" / "n"), limit=1),
        [folder], TinySegmenter(), {"msp": create_detector("msp")}, repeats=2,
    )  # fmt: skip
    assert card["pixels"] == 30 * 41


def _moved(folder, target):
    target.mkdir(parents=True)
    for path in folder.glob("*.png"):
        (target / path.name).write_bytes(path.read_bytes())
    return target.parent


def test_bad_images_are_left_out_and_too_few_are_refused(data, tmp_path):
    root, folder = data
    frames = load_frames("road_anomaly_21", root, limit=2)
    bad = _moved(folder, tmp_path / "bad" / "n")
    (bad / "n" / "broken.png").write_bytes(b"no picture")
    (card,) = against_negatives(frames, [bad / "n"], TinySegmenter(), {"msp": create_detector("msp")}, repeats=1)
    assert [item["frame"] for item in card["skipped"]] == ["broken"]
    with pytest.raises(DataError, match="1 negative images have 1230 pixels, fewer than"):
        against_negatives(frames, [folder / "n0.png"], TinySegmenter(), {"msp": create_detector("msp")})
    with pytest.raises(DataError, match="none of 1 negative images can be used"):
        against_negatives(frames, [bad / "n" / "broken.png"], TinySegmenter(), {"msp": create_detector("msp")})


def test_command(data, tmp_path, capsys):
    root, folder = data
    argv = ["against", "--data", f"road_anomaly_21={root}", "--negatives", str(folder), "--repeats", "3"]
    assert run([*argv, "--detector", "chance", "--size", "32x40", "--out", str(tmp_path)]) == 0
    card = json.loads((tmp_path / "chance" / "against.json").read_text())
    assert len(card["ap"]["draws"]) == 3
    assert "over 3 draws" in capsys.readouterr().out
    # Noise cannot tell one half from the other.
    assert card["ap"]["mean"] == pytest.approx(0.5, abs=0.02)


def test_the_default_detector_is_decided_in_one_place():
    assert default_detector(network_named=True) == "energy"
    assert create_detector(default_detector()).registry_name == default_detector()
