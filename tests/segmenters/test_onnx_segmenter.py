"""Networks of other people's making in ONNX files: what they may look like, and what is refused with which words."""

import sys

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from onnx_networks import kept_network, reference, write_network

from anomseg.detectors import anomaly_maps, create_detector
from anomseg.errors import AnomsegError, CompatibilityError, ConfigError, DataError
from anomseg.segmenters import load_segmenter, make_scene
from anomseg.segmenters.onnx import OnnxSegmenter


def _batch(count=2, size=(16, 24), seed=3):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def _float(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _refused(error, *words, **options):
    with pytest.raises(error) as told:
        OnnxSegmenter(**options)
    text = str(told.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


def test_logits_are_those_of_the_same_network_in_pytorch(tmp_path):
    segmenter = OnnxSegmenter(write_network(tmp_path / "n.onnx"), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.5))
    batch = _batch()
    mean, std = torch.tensor([0.4, 0.5, 0.6])[:, None, None], torch.tensor([0.2, 0.25, 0.5])[:, None, None]
    torch.testing.assert_close(segmenter(batch).logits, reference((batch - mean) / std)[0], rtol=1e-5, atol=1e-5)
    assert segmenter.classes == tuple(f"class_{index}" for index in range(5))
    assert segmenter.provides == {"logits"}


def test_a_fixed_graph_sets_the_working_size_and_is_called_once_an_image(tmp_path):
    segmenter = OnnxSegmenter(write_network(tmp_path / "n.onnx", image=(1, 3, 16, 24)), divisor=32)
    assert segmenter.size == (16, 24)
    batch = _batch(3)
    torch.testing.assert_close(segmenter(batch).logits, reference(batch)[0], rtol=1e-5, atol=1e-5)
    scene = make_scene([np.zeros((41, 37, 3), np.uint8)], ["a"], segmenter)
    assert anomaly_maps(create_detector("energy"), scene)[0].shape == (41, 37)
    with pytest.raises(CompatibilityError, match="takes images of 16x24"):
        segmenter(_batch(1, (32, 24)))
    _refused(ConfigError, "16x24 only", model=str(tmp_path / "n.onnx"), size=(32, 24))


def test_a_fixed_batch_is_filled_up(tmp_path):
    segmenter = OnnxSegmenter(write_network(tmp_path / "n.onnx", image=(2, 3, "h", "w")))
    batch = _batch(3)
    torch.testing.assert_close(segmenter(batch).logits, reference(batch)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "scale", "tolerance"), [(TensorProto.UINT8, 255.0, 1e-3), (TensorProto.FLOAT16, 1.0, 1e-2)]
)
def test_other_input_types(tmp_path, kind, scale, tolerance):
    segmenter = OnnxSegmenter(write_network(tmp_path / "n.onnx", kind=kind))
    batch = (_batch() * 255).round() / 255
    torch.testing.assert_close(segmenter(batch).logits, reference(batch * scale)[0], rtol=tolerance, atol=tolerance)
    if kind == TensorProto.UINT8:
        _refused(ConfigError, "uint8", "leave mean and std out", model=str(tmp_path / "n.onnx"), mean=(0.5, 0.5, 0.5))


def test_channels_last(tmp_path):
    path = write_network(tmp_path / "n.onnx", image=("n", "h", "w", 3), channels_last=True)
    batch = _batch()
    for options in ({}, {"layout": "nhwc"}):
        logits = OnnxSegmenter(path, **options)(batch).logits
        torch.testing.assert_close(logits, reference(batch)[0], rtol=1e-5, atol=1e-5)
    _refused(ConfigError, "layout must be", model=path, layout="hwc")


def test_further_maps_are_features(tmp_path):
    segmenter = OnnxSegmenter(write_network(tmp_path / "n.onnx", features=True), output="logits")
    assert dict(segmenter.feature_info)["stem"].channels == 8
    assert segmenter.feature_info["stem"].stride == 2
    batch = _batch()
    torch.testing.assert_close(segmenter(batch, features=("stem",)).features["stem"], reference(batch)[1])


def test_void_is_the_last_channel_and_nineteen_classes_are_cityscapes(tmp_path):
    segmenter = OnnxSegmenter(write_network(tmp_path / "n.onnx", classes=20), void=True)
    assert segmenter.classes[0] == "road"
    assert len(segmenter.classes) == 19
    assert {"logits", "void"} == segmenter.provides
    output = segmenter(_batch())
    torch.testing.assert_close(output.void_logits, reference(_batch(), 20)[0][:, 19:], rtol=1e-5, atol=1e-5)


def test_undeclared_shapes_are_found_by_running(tmp_path):
    segmenter = OnnxSegmenter(write_network(tmp_path / "n.onnx", undeclared=True), classes=list("abcde"))
    assert segmenter(_batch()).logits.shape == (2, 5, 8, 12)


def test_weights_beside_the_file(tmp_path):
    inside = OnnxSegmenter(write_network(tmp_path / "inside.onnx"))
    path = write_network(tmp_path / "n.onnx", external="weights.bin")
    segmenter = OnnxSegmenter(path)
    assert torch.equal(segmenter(_batch()).logits, inside(_batch()).logits)
    before = segmenter.fingerprint()
    data = bytearray((tmp_path / "weights.bin").read_bytes())
    data[40] ^= 1
    (tmp_path / "weights.bin").write_bytes(bytes(data))
    assert OnnxSegmenter(path).fingerprint() != before
    (tmp_path / "weights.bin").unlink()
    _refused(DataError, "weights.bin", "missing", model=path)


def test_weights_elsewhere_are_not_read(tmp_path):
    import onnx

    path = write_network(tmp_path / "n.onnx", external="weights.bin")
    (tmp_path / "inner").mkdir()
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../weights.bin"
    (tmp_path / "inner" / "n.onnx").write_bytes(model.SerializeToString())
    _refused(DataError, "outside its folder", model=str(tmp_path / "inner" / "n.onnx"))


def test_the_fingerprint_is_of_the_file(tmp_path):
    first = OnnxSegmenter(write_network(tmp_path / "a.onnx"))
    same = OnnxSegmenter(write_network(tmp_path / "b.onnx"))
    other = OnnxSegmenter(write_network(tmp_path / "c.onnx", classes=6))
    assert first.fingerprint() == same.fingerprint() != other.fingerprint()
    assert first.identity()["sha256"] == first.fingerprint()


def test_probabilities_are_refused_unless_allowed(tmp_path):
    tail = [helper.make_node("Softmax", ["logits"], ["answer"], axis=1)]
    path = write_network(tmp_path / "n.onnx", tail=tail, output=_float("answer", "n", 5, "y", "x"))
    with pytest.raises(CompatibilityError, match="allow_probabilities=true"):
        OnnxSegmenter(path)(_batch())
    allowed = load_segmenter(f"onnx:{path};allow_probabilities=true")(_batch()).logits
    torch.testing.assert_close(allowed.sum(1), torch.ones(2, 8, 12))


def test_class_maps_are_refused(tmp_path):
    for keep, shape in ((0, ("n", "y", "x")), (1, ("n", 1, "y", "x"))):
        tail = [helper.make_node("ArgMax", ["logits"], ["answer"], axis=1, keepdims=keep)]
        output = helper.make_tensor_value_info("answer", TensorProto.INT64, shape)
        path = write_network(tmp_path / f"{keep}.onnx", tail=tail, output=output)
        _refused(CompatibilityError, "answer int64", "before the argmax", model=path)
        _refused(CompatibilityError, "before the argmax", model=path, output="answer")
    tail = [
        helper.make_node("ArgMax", ["logits"], ["labels"], axis=1),
        helper.make_node("Cast", ["labels"], ["answer"], to=TensorProto.FLOAT),
    ]
    path = write_network(tmp_path / "f.onnx", tail=tail, output=_float("answer", "n", 1, "y", "x"))
    _refused(CompatibilityError, "1 channel", model=path)
    tail = [helper.make_node("ReduceMax", ["logits"], ["answer"], axes=[1], keepdims=0)]
    path = write_network(tmp_path / "s.onnx", tail=tail, output=_float("answer", "n", "y", "x"))
    _refused(CompatibilityError, "no logits", model=path)


def test_several_candidates_are_listed(tmp_path):
    path = write_network(tmp_path / "n.onnx", features=True)
    _refused(ConfigError, "logits float (?, 5, ?, ?)", "stem float (?, 8, ?, ?)", "output=logits", model=path)
    _refused(ConfigError, "did you mean 'logits'", model=path, output="logit")


def test_wrong_inputs_and_counts(tmp_path):
    _refused(CompatibilityError, "has 4 channels", model=write_network(tmp_path / "4.onnx", image=("n", 4, "h", "w")))
    path = write_network(tmp_path / "n.onnx")
    _refused(ConfigError, "has 5 classes", "3 names", model=path, classes=["a", "b", "c"])
    _refused(ConfigError, "three numbers", model=path, std=(1.0, 0.0, 1.0))
    _refused(ConfigError, "give size", model=write_network(tmp_path / "h.onnx", image=("n", 3, 16, "w")))
    _refused(ConfigError, "onnx:NETWORK.onnx")


def test_two_inputs_are_refused(tmp_path):
    nodes = [helper.make_node("Add", ["a", "b"], ["logits"])]
    inputs = [_float(name, "n", 3, "h", "w") for name in "ab"]
    graph = helper.make_graph(nodes, "g", inputs, [_float("logits", "n", 3, "h", "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "n.onnx").write_bytes(model.SerializeToString())
    _refused(CompatibilityError, "takes 2 inputs", model=str(tmp_path / "n.onnx"))


def test_a_graph_that_wants_certain_sizes_says_what_to_give(tmp_path):
    tail = [
        helper.make_node("Constant", [], ["shape"], value_ints=[-1, 5, 12, 12]),
        helper.make_node("Reshape", ["logits", "shape"], ["answer"]),
    ]
    path = write_network(tmp_path / "n.onnx", tail=tail, output=_float("answer", "n", 5, "y", "x"))
    _refused(DataError, "grey picture of 64x64", "divisor=32", model=path)
    assert OnnxSegmenter(path, size=(24, 24)).size == (24, 24)


@pytest.mark.parametrize("content", [b"", b"not a network at all", None])
def test_files_that_are_no_networks(tmp_path, content):
    path = tmp_path / "n.onnx"
    if content is None:
        write_network(path)
        path.write_bytes(path.read_bytes()[:400])
    else:
        path.write_bytes(content)
    _refused(DataError, "n.onnx", model=str(path))
    _refused(DataError, "no ONNX file at", model=str(tmp_path / "missing.onnx"))


def test_a_provider_that_is_not_there(tmp_path):
    _refused(ConfigError, "onnxruntime-gpu", "cpu", model=kept_network(), provider="cuda")


def test_without_onnxruntime_one_line_says_what_to_install(tmp_path, monkeypatch):
    path = write_network(tmp_path / "n.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    _refused(AnomsegError, 'pip install "anomseg[export]"', model=path)


def test_detectors_that_need_a_gradient_are_refused():
    detector = create_detector("odin")
    with pytest.raises(CompatibilityError, match="network in PyTorch"):
        detector.needs(OnnxSegmenter(kept_network()))
