"""Small ONNX graphs, written node by node, as other people's exporters might."""

import atexit
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_network(
    path,
    classes=5,
    image=("n", 3, "h", "w"),
    kind=TensorProto.FLOAT,
    tail=(),
    output=None,
    features=False,
    channels_last=False,
    undeclared=False,
    external=None,
):
    """Two random convolutions at stride 2; ``tail`` holds nodes that read ``logits`` and write ``answer``."""
    rng = np.random.default_rng(7)
    inputs = 3 if channels_last or not isinstance(image[1], int) else image[1]
    weights = {
        "w1": rng.normal(0, 0.3, (8, inputs, 3, 3)).astype(np.float32),
        "w2": rng.normal(0, 0.6, (classes, 8, 1, 1)).astype(np.float32),
        "b2": rng.normal(0, 1, classes).astype(np.float32),
    }
    nodes = []
    start = "image"
    if kind != TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", [start], ["cast"], to=TensorProto.FLOAT))
        start = "cast"
    if channels_last:
        nodes.append(helper.make_node("Transpose", [start], ["first"], perm=[0, 3, 1, 2]))
        start = "first"
    nodes += [
        helper.make_node("Conv", [start, "w1"], ["c1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["stem"]),
        helper.make_node("Conv", ["stem", "w2", "b2"], ["logits"]),
    ]
    if channels_last:
        nodes.append(helper.make_node("Transpose", ["logits"], ["last"], perm=[0, 2, 3, 1]))
        tail, output = (), helper.make_tensor_value_info("last", TensorProto.FLOAT, ("n", "y", "x", classes))
    nodes += tail
    shape = None if undeclared else ("n", classes, "y", "x")
    outputs = [output or helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)]
    if features:
        outputs.append(helper.make_tensor_value_info("stem", TensorProto.FLOAT, ("n", 8, "y", "x")))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", kind, image)],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if external:
        onnx.save(model, path, save_as_external_data=True, location=external, size_threshold=0)
    else:
        onnx.save(model, path)
    return str(path)


def reference(images, classes=5):
    """Logits and stem of the same network in PyTorch, of ``(B, 3, h, w)`` float32."""
    import torch
    from torch.nn import functional as F

    rng = np.random.default_rng(7)
    w1 = torch.from_numpy(rng.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32))
    w2 = torch.from_numpy(rng.normal(0, 0.6, (classes, 8, 1, 1)).astype(np.float32))
    b2 = torch.from_numpy(rng.normal(0, 1, classes).astype(np.float32))
    stem = F.relu(F.conv2d(images, w1, stride=2, padding=1))
    return F.conv2d(stem, w2, b2), stem


def kept_network(**options):
    """A network file that stays until the tests end."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return write_network(Path(folder) / "network.onnx", **options)
