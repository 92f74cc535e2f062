"""SynthCP on every kind of network that segments, and from the command line."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cp_networks import made_comparator, made_generator
from PIL import Image
from tiny import TinySegmenter, made_image

from anomseg.cli.main import run
from anomseg.detectors import anomaly_maps, load_detector, save_detector
from anomseg.detectors.synthcp import SynthCP, save_generator
from anomseg.errors import CompatibilityError
from anomseg.inference import predict, predict_to_directory
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import load_segmenter, make_scene, save_segmenter
from anomseg.segmenters.execution import run_as

CLAIMS = Path(__file__).parents[3] / "benchmarks" / "claims"
KINDS = (
    "erfnet", "pyramid", "erfnet_pyramid", "pspnet", "deeplabv3plus", "ladder_densenet", "hf SegFormer",
    "hf MaskFormer", "hf Mask2Former", "hf OneFormer", "hf EoMT", "module",
)  # fmt: skip


@pytest.fixture
def instances(monkeypatch):
    monkeypatch.syspath_prepend(str(CLAIMS))
    before = set(sys.modules)
    import learned_hosts

    yield learned_hosts.instances()
    for name in set(sys.modules) - before:
        if name.startswith(("learned", "mask_families")):
            del sys.modules[name]


def test_no_kind_is_left_out(instances):
    assert {*KINDS, "smp"} == set(instances)


@pytest.mark.parametrize("kind", KINDS)
def test_it_attaches_to_any_network_with_features(kind, instances, tmp_path):
    torch.manual_seed(0)
    network = instances[kind]().eval()
    detector = SynthCP.of(made_generator(network.classes), made_comparator(network.classes), gate=1)
    picture = made_image(0, (50, 70))
    needs = detector.needs(network)
    assert needs.features
    plain = make_scene([picture], ["made"], network)
    beside = make_scene([picture], ["made"], network, features=needs.features)
    found = anomaly_maps(detector, beside)[0]
    assert found.shape == (50, 70)
    assert found.isfinite().all()
    assert found.max() > found.min()
    torch.testing.assert_close(plain.logits(), beside.logits(), atol=0, rtol=0)
    judged = detector.assess(beside)
    assert judged.class_quality.shape == (1, len(network.classes))
    save_detector(detector, tmp_path / "saved", network)
    again = make_scene([picture], ["made"], network, features=needs.features)
    assert torch.equal(anomaly_maps(load_detector(tmp_path / "saved"), again)[0], found)


def test_a_network_run_in_tiles_or_at_half_precision_has_features_too():
    network = SEGMENTERS.create("pyramid", classes=["road", "sky"], widths=(4, 6, 8, 8), bottleneck=6).eval()
    detector = SynthCP.of(made_generator(("road", "sky")), gate=1, scales="0.5+1")
    for wrapped in (run_as(network, tile=(32, 48), overlap=16), run_as(network, precision="bfloat16")):
        found = anomaly_maps(detector, make_scene([made_image(0, (50, 70))], ["made"], wrapped))[0]
        assert found.shape == (50, 70)
        assert found.isfinite().all()


def test_a_backbone_without_classes_is_refused():
    student = SEGMENTERS.create("student", channels=6, size=(64, 96), encoder="pyramid", width=4, branch=8)
    with pytest.raises(CompatibilityError, match=r"synthcp .*no classes"):
        SynthCP.of(made_generator()).needs(student)


@pytest.fixture
def folders(tmp_path):
    """A generator, a network of the same classes, and two pictures."""
    torch.manual_seed(0)
    classes = ("road", "sky", "car")
    save_segmenter(
        SEGMENTERS.create("pyramid", classes=classes, size=None, widths=(4, 6, 8, 8), bottleneck=6).eval(),
        tmp_path / "network",
    )
    generator = made_generator(classes)
    save_generator(generator, tmp_path / "generator", generator.meta)
    (tmp_path / "images").mkdir()
    for name, size in (("a", (45, 61)), ("b", (32, 48))):
        Image.fromarray(made_image(len(name), size)).save(tmp_path / "images" / f"{name}.png")
    return tmp_path


def test_predict_writes_the_rendering_beside_the_map(folders):
    command = ["predict", str(folders / "images"), "--segmenter", str(folders / "network"), "--quiet"]
    command += ["--detector", f"synthcp:generator={folders / 'generator'}", "--out", str(folders / "out")]
    assert run(command) == 0
    rendering = np.asarray(Image.open(folders / "out/a_rendering.png"))
    assert rendering.shape == (45, 61, 3)
    assert len(np.unique(rendering)) > 5
    sidecar = json.loads((folders / "out/a.json").read_text())
    assert "a_rendering.png" in sidecar["files"]
    before = (folders / "out/a_rendering.png").stat().st_mtime_ns
    assert run(command) == 0
    assert (folders / "out/a_rendering.png").stat().st_mtime_ns == before  # kept, not made again
    # Another detector's files take the place of these, and no picture of synthcp's is left to be mistaken.
    assert run([*command[:5], "--detector", "msp", "--out", str(folders / "out")]) == 0
    assert not (folders / "out/a_rendering.png").exists()
    assert (folders / "out/a_overlay.png").exists()


def test_pictures_only_where_pictures_are_asked_for(folders):
    network = load_segmenter(str(folders / "network"))
    detector = SynthCP(str(folders / "generator"))
    predict_to_directory(str(folders / "images"), network, detector, folders / "maps", ("npy",))
    assert {path.suffix for path in (folders / "maps").iterdir()} == {".npy", ".json"}
    prediction = predict(folders / "images/a.png", network, detector)
    assert prediction.pictures["rendering"].shape == (45, 61, 3)
    written = prediction.save(folders / "saved")
    assert folders / "saved" / "a_rendering.png" in written
    assert predict(folders / "images/a.png", TinySegmenter(), load_detector("bundled")).pictures == {}


class Named(SynthCP):
    """A detector whose picture would overwrite the overlay."""

    def pictures(self, scene):
        return {"overlay": super().pictures(scene)["rendering"]}


def test_a_picture_cannot_take_the_name_of_another_file(folders):
    network = load_segmenter(str(folders / "network"))
    prediction = predict(folders / "images/a.png", network, Named(str(folders / "generator")))
    with pytest.raises(CompatibilityError, match="cannot be called 'overlay'"):
        prediction.save(folders / "saved")


def test_the_gate_is_fitted_from_the_command_line(folders, capsys):
    (folders / "street").mkdir()
    for number in range(3):
        Image.fromarray(made_image(number, (40, 56))).save(folders / "street" / f"{number}.png")
    command = ["fit", "--detector", f"synthcp:generator={folders / 'generator'};gate=fit;share=0.25", "--quiet"]
    command += ["--segmenter", str(folders / "network"), "--data", f"folder={folders / 'street'}"]
    assert run([*command, "--out", str(folders / "fitted")]) == 0
    loaded = load_detector(folders / "fitted")
    assert loaded.fitted_on["gate"]["compared"] == pytest.approx(0.25, abs=0.01)
    assert loaded.threshold < 1
    assert run([*command[:1], *command[4:], "--detector", "synthcp:gate=2", "--out", str(folders / "x")]) == 2
    assert "gate must be" in capsys.readouterr().err
