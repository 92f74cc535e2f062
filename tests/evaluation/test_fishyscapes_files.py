"""What a Fishyscapes container writes: both maps of every image, read back and checked."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from small_run import TinySegmenter

from anomseg.cli.main import run
from anomseg.data import label_space
from anomseg.detectors import create_detector
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.evaluation import submit_fishyscapes
from anomseg.inference import predict

CITYSCAPES = tuple(label_space("cityscapes").names)


class Streets(TinySegmenter):
    """The tiny network with as many classes as are asked for."""

    def __init__(self, names=CITYSCAPES):
        super().__init__()
        self.classes = tuple(names)
        self.matrix = torch.nn.Parameter(torch.randn(len(names), 3, generator=torch.Generator().manual_seed(1)) * 4)


@pytest.fixture
def images(tmp_path):
    folder, rng = tmp_path / "input", np.random.default_rng(0)
    folder.mkdir()
    for name in ("0000_a_1", "0001_b.5"):
        Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8)).save(folder / f"{name}_rgb.png")
    (folder / "readme.txt").write_text("no image")
    return folder


def test_both_maps_of_every_image(images, tmp_path):
    network, detector = Streets(), create_detector("max_logit")
    made = submit_fishyscapes(images, network, detector, tmp_path / "output")
    assert (made.frames, made.kept, list(made.notes)) == (2, 0, [])
    assert sorted(path.name for path in made.folder.iterdir()) == [
        "0000_a_1_anomaly.npy", "0000_a_1_segmentation.npy", "0001_b.5_anomaly.npy", "0001_b.5_segmentation.npy",
        "submission.json",
    ]  # fmt: skip
    for name in ("0000_a_1", "0001_b.5"):
        direct = predict(images / f"{name}_rgb.png", network, detector)
        score, classes = (np.load(made.folder / f"{name}_{kind}.npy") for kind in ("anomaly", "segmentation"))
        assert (score.dtype, classes.dtype) == (np.float32, np.uint8)
        assert np.array_equal(score, direct.anomaly_map)
        assert np.array_equal(classes, direct.segmentation)
    assert json.loads((made.folder / "submission.json").read_text())["checked"] is True


def test_an_interrupted_one_goes_on_and_damage_is_found(images, tmp_path):
    network, detector, out = Streets(), create_detector("max_logit"), tmp_path / "output"
    submit_fishyscapes(images, network, detector, out)
    score = out / "0001_b.5_anomaly.npy"
    score.unlink()
    calls = network.calls
    assert submit_fishyscapes(images, network, detector, out).kept == 1
    assert network.calls == calls + 1
    for damage, message in (
        (lambda: score.write_bytes(b"no"), "is damaged"),
        (lambda: np.save(score, np.zeros((3, 4), np.float32)), r"is of shape \(3, 4\), its image \(12, 16\)"),
        (lambda: np.save(score, np.full((12, 16), np.nan, np.float32)), "no finite float32"),
        (lambda: np.save(score, np.zeros((12, 16))), "no finite float32"),
        (lambda: np.save(out / "0001_b.5_segmentation.npy", np.full((12, 16), 20, np.uint8)), "below 20"),
        (lambda: np.save(out / "other_anomaly.npy", np.zeros((12, 16), np.float32)), "is of no image"),
    ):
        damage()
        with pytest.raises(DataError, match=message):
            submit_fishyscapes(images, network, detector, out)
        for path in out.glob("*.npy"):
            path.unlink()
        submit_fishyscapes(images, network, detector, out)


def test_other_settings_and_images_are_not_mixed_in(images, tmp_path):
    out = tmp_path / "output"
    submit_fishyscapes(images, Streets(), create_detector("max_logit"), out)
    with pytest.raises(ConfigError, match="other settings or images"):
        submit_fishyscapes(images, Streets(), create_detector("energy"), out)
    assert submit_fishyscapes(images, Streets(), create_detector("energy"), out, overwrite=True).kept == 0
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(images / "0000_a_1_rgb.png")
    with pytest.raises(ConfigError, match="other settings or images"):
        submit_fishyscapes(images, Streets(), create_detector("energy"), out)


def test_networks_that_the_benchmark_cannot_read(images, tmp_path):
    detector = create_detector("max_logit")
    made = submit_fishyscapes(images, TinySegmenter(), detector, tmp_path / "a")
    assert "are not those of Cityscapes" in made.notes[0]
    assert not submit_fishyscapes(images, Streets((*CITYSCAPES, "void")), detector, tmp_path / "b").notes
    with pytest.raises(CompatibilityError, match="the network has 25 classes"):
        submit_fishyscapes(images, Streets([f"c{index}" for index in range(25)]), detector, tmp_path / "c")
    with pytest.raises(CompatibilityError, match="also takes a class map"):
        submit_fishyscapes(images, None, create_detector("local_contrast"), tmp_path / "d")
    with pytest.raises(DataError, match=r"holds no images \(\*_rgb.png\)"):
        submit_fishyscapes(tmp_path, Streets(), detector, tmp_path / "e")
    (images / "0002_c_rgb.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="a submission needs every image"):
        submit_fishyscapes(images, Streets(), detector, tmp_path / "f")


def test_command_line_refuses_options_of_the_other_challenge(images, tmp_path, capsys):
    command = ["submit", "--benchmark", "fishyscapes", "--root", str(images), "--detector", "local_contrast"]
    assert run([*command, "--out", str(tmp_path / "o"), "--zip"]) == 2
    assert "belong to SegmentMeIfYouCan" in capsys.readouterr().err
