"""Exported graphs under ONNX Runtime against the library itself, and what is refused."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from anomseg.detectors import anomaly_maps, create_detector
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.export import export_onnx
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import load_segmenter, make_scene
from anomseg.types import Frame

CLASSES = ("road", "sky", "car", "tree")
SIZE = (45, 61)


class _Network(nn.Module):
    """Strided convolutions that refuse sizes which are no multiples of 8."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, len(CLASSES), 1)
        )

    def forward(self, x):
        return 6 * self.body(x).reshape(-1, len(CLASSES), x.shape[-2] // 8 * 2, x.shape[-1] // 8 * 2)


@pytest.fixture(scope="module")
def segmenter():
    return load_segmenter(_Network(), classes=CLASSES, divisor=8, size=SIZE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3))


@pytest.fixture(scope="module")
def bundled(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundled") / "model.onnx"
    segmenter = load_segmenter("bundled")
    return segmenter, export_onnx(segmenter, create_detector("energy"), path, size=(72, 90), threshold=-6.0)


def _images(count=2, size=SIZE, seed=1):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, size[0] // 8 + 1, size[1] // 8 + 1, 3), np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)[:, : size[0], : size[1]]


def _run(path, images, threshold=0.0):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = {"image": images.transpose(0, 3, 1, 2), "threshold": np.array(threshold, np.float32)}
    return session.run(["anomaly_map", "mask", "segmentation"], feed)


def _library(segmenter, detector, images):
    size = images.shape[1:3]
    features = detector.needs(segmenter).features
    scene = make_scene(list(images), [str(row) for row in range(len(images))], segmenter, size=size, features=features)
    return torch.stack(anomaly_maps(detector, scene)).numpy(), scene.prediction().numpy()


def _fitted_sml(segmenter):
    frames = [Frame(str(seed), lambda seed=seed: _images(1, SIZE, seed)[0]) for seed in (7, 8)]
    return create_detector("sml").fit(segmenter, frames)


@pytest.mark.parametrize(
    "spec", ["msp", "max_logit", "entropy:normalized=false", "energy:temperature=2;upsample=score", "not_road", "sml"]
)
def test_maps_are_those_of_the_library_on_odd_sizes(segmenter, tmp_path, spec):
    detector = _fitted_sml(segmenter) if spec == "sml" else create_detector(spec)
    done = export_onnx(segmenter, detector, tmp_path / "m.onnx", opset=17)
    images = _images(3)
    scores, classes = _library(segmenter, detector, images)
    found, mask, labels = _run(done.path, images, float(np.median(scores)))
    np.testing.assert_allclose(found, scores, rtol=1e-4, atol=1e-4)
    assert found.dtype == np.float32
    assert mask.dtype == labels.dtype == np.uint8
    assert np.array_equal(labels, classes)
    assert 0.3 < mask.mean() < 0.7
    assert done.card["exporter"] == "torchscript"


def test_the_newer_exporter_serves_any_size_and_batch(tmp_path):
    torch.manual_seed(5)
    segmenter = load_segmenter(nn.Conv2d(3, 4, 4, 4), classes=CLASSES, divisor=8)
    done = export_onnx(segmenter, create_detector("msp"), tmp_path / "m.onnx", dynamic=True)
    assert done.card["exporter"] == "dynamo"
    assert done.card["inputs"]["image"]["shape"] == ["batch", 3, "height", "width"]
    for count, size in ((1, (33, 47)), (3, (64, 72)), (1, (8, 100))):
        images = _images(count, size)
        np.testing.assert_allclose(
            _run(done.path, images)[0], _library(segmenter, create_detector("msp"), images)[0], atol=1e-5
        )


def test_the_bundled_network_agrees_on_its_real_weights(bundled):
    segmenter, done = bundled
    images = _images(2, (72, 90))
    scores, classes = _library(segmenter, create_detector("energy"), images)
    found, _, labels = _run(done.path, images)
    np.testing.assert_allclose(found, scores, atol=1e-4)
    assert (labels == classes).mean() > 0.9999
    assert done.parity.max_difference < 1e-4


def test_the_threshold_is_an_input(bundled):
    _, done = bundled
    images = _images(1, (72, 90))
    score = _run(done.path, images)[0]
    shares = []
    for threshold in (float(score.min()), float(np.median(score)), float(score.max()) + 1):
        mask = _run(done.path, images, threshold)[1]
        assert np.array_equal(mask, score >= np.float32(threshold))
        shares.append(mask.mean())
    assert shares[0] == 1
    assert 0.3 < shares[1] < 0.7
    assert shares[2] == 0


def test_the_card_is_in_the_file_and_beside_it(bundled):
    segmenter, done = bundled
    session = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
    inside = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    assert inside == json.loads(done.card_path.read_text()) == json.loads(json.dumps(done.card))
    assert inside["threshold"] == -6.0
    assert inside["classes"] == list(segmenter.classes)
    assert inside["segmenter"]["sha256"] == segmenter.fingerprint()
    assert inside["detector"]["name"] == "energy"
    shapes = {port.name: port.shape for port in (*session.get_inputs(), *session.get_outputs())}
    for name, said in {**inside["inputs"], **inside["outputs"]}.items():
        assert shapes[name] == said["shape"]


def test_features_are_read_inside_the_graph(tmp_path):
    segmenter = SEGMENTERS.create("erfnet", classes=CLASSES, void=True, size=(40, 56)).eval()
    done = export_onnx(segmenter, create_detector("void_class"), tmp_path / "m.onnx", opset=17)
    images = _images(1, (40, 56))
    expected = _library(segmenter, create_detector("void_class"), images)[0]
    np.testing.assert_allclose(_run(done.path, images)[0], expected, atol=1e-4)


def test_a_transformer(tmp_path):
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(0)
    config = SegformerConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        num_labels=4,
        id2label=dict(enumerate(CLASSES)),
    )
    segmenter = load_segmenter(SegformerForSemanticSegmentation(config).eval())
    done = export_onnx(segmenter, create_detector("max_logit"), tmp_path / "m.onnx", size=(64, 96), opset=17)
    images = _images(3, (64, 96))
    expected = _library(segmenter, create_detector("max_logit"), images)[0]
    assert expected.std() > 0
    np.testing.assert_allclose(_run(done.path, images)[0], expected, atol=1e-4)


class _Baked(nn.Module):
    """A network whose graph forgets what it was traced with: a number of Python."""

    def forward(self, x):
        logits = torch.cat([x, 1 - x[:, :1]], 1) * 5
        return logits + torch.arange(4.0)[:, None, None] * float(x.std())


def test_a_graph_that_says_something_else_is_not_written(tmp_path):
    segmenter = load_segmenter(_Baked(), classes=CLASSES, size=(16, 24))
    (tmp_path / "m.onnx").write_bytes(b"an earlier file")
    with pytest.raises(CompatibilityError, match="does not say what PyTorch says: largest difference"):
        export_onnx(segmenter, create_detector("energy"), tmp_path / "m.onnx", opset=17)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_bytes() == b"an earlier file"


def test_pooling_over_a_grid_is_refused_at_dynamic_sizes(tmp_path):
    segmenter = SEGMENTERS.create("pyramid", classes=CLASSES, widths=(4, 4, 4, 4), bottleneck=8).eval()
    with pytest.raises(CompatibilityError, match="give --size HEIGHTxWIDTH in place of --dynamic"):
        export_onnx(segmenter, create_detector("msp"), tmp_path / "m.onnx", dynamic=True, opset=17)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("chance", "chance reads no network"),
        ("odin", "odin needs gradients"),
        ("mc_dropout", "dropout"),
        ("sml", "has not been fitted"),
        ("rba", "mask transformer"),
    ],
)
def test_detectors_that_are_no_graph(segmenter, tmp_path, spec, message):
    with pytest.raises(CompatibilityError, match=message):
        export_onnx(segmenter, create_detector(spec), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_several_passes_are_refused(tmp_path):
    segmenter = SEGMENTERS.create("erfnet", classes=CLASSES, size=(40, 56)).eval()
    with pytest.raises(CompatibilityError, match="forward passes"):
        export_onnx(segmenter, create_detector("mc_dropout"), tmp_path / "m.onnx")


def test_requests_that_make_no_sense(segmenter, tmp_path):
    energy = create_detector("energy")
    path = tmp_path / "m.onnx"
    for error, match, options in (
        (ConfigError, "exclude each other", {"size": SIZE, "dynamic": True}),
        (ConfigError, "opset must be", {"opset": 4}),
        (ConfigError, "finite", {"threshold": float("nan")}),
    ):
        with pytest.raises(error, match=match):
            export_onnx(segmenter, energy, path, **options)
    with pytest.raises(DataError, match="is a directory"):
        export_onnx(segmenter, energy, tmp_path)
    with pytest.raises(ConfigError, match="--size HEIGHTxWIDTH or --dynamic"):
        export_onnx(load_segmenter(_Network(), classes=CLASSES, divisor=8), energy, path)


def test_probabilities_are_refused(tmp_path):
    segmenter = load_segmenter(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Softmax(1)), classes=CLASSES, size=(16, 24))
    with pytest.raises(CompatibilityError, match="probabilities"):
        export_onnx(segmenter, create_detector("msp"), tmp_path / "m.onnx", opset=17)


def test_an_onnx_network_is_no_source(tmp_path, segmenter, monkeypatch):
    monkeypatch.setattr(type(segmenter), "registry_name", "onnx")
    with pytest.raises(CompatibilityError, match="an ONNX graph already"):
        export_onnx(segmenter, create_detector("msp"), tmp_path / "m.onnx")


def test_the_network_is_left_as_it_was(segmenter, tmp_path):
    segmenter.train()
    export_onnx(segmenter, create_detector("msp"), tmp_path / "m.onnx", opset=17)
    assert segmenter.training
    segmenter.eval()


@pytest.mark.parametrize("tolerance", [float("nan"), 0.0, -1.0, float("inf")])
def test_a_tolerance_that_checks_nothing_is_refused(segmenter, tmp_path, tolerance):
    with pytest.raises(ConfigError, match="tolerance"):
        export_onnx(segmenter, create_detector("energy"), tmp_path / "m.onnx", tolerance=tolerance)


def test_a_size_without_pixels_is_refused(segmenter, tmp_path):
    with pytest.raises(ConfigError, match="working size"):
        export_onnx(segmenter, create_detector("energy"), tmp_path / "m.onnx", size=(0, 48))


class _Unwritable(nn.Module):
    """An operation that ONNX does not have."""

    def forward(self, x):
        return torch.linalg.eigvalsh(x[:, :1] @ x[:, :1].mT)[..., None] + torch.cat([x, x[:, :1]], 1)


def test_a_network_that_cannot_be_written_prints_nothing(tmp_path, capfd):
    network = load_segmenter(_Unwritable(), classes=CLASSES, size=(16, 16))
    with pytest.raises(CompatibilityError, match="cannot be written as one ONNX graph") as caught:
        export_onnx(network, create_detector("energy"), tmp_path / "m.onnx")
    assert "eig" in str(caught.value)
    assert str(caught.value).isprintable()
    print("after")  # and standard output is what it was
    captured = capfd.readouterr()
    assert captured.out == "after\n"
    assert captured.err == ""
