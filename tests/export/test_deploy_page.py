"""The code of docs/deploy.md, run where it says it runs: without this library and without PyTorch."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

from anomseg.detectors import create_detector
from anomseg.export import export_onnx
from anomseg.segmenters import load_segmenter

PAGE = Path(__file__).parents[2] / "docs" / "deploy.md"

ALONE = """
import sys
class Alone:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("anomseg", "torch", "onnx"):
            raise ImportError(f"{name} is not needed to run an exported file")
sys.meta_path.insert(0, Alone())
"""


def test_the_page_runs_with_onnxruntime_alone(tmp_path):
    (snippet,) = [
        block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if "onnxruntime" in block
    ]
    segmenter = load_segmenter(nn.Conv2d(3, 4, 4, 4), classes=("road", "sky", "car", "tree"), size=(40, 60), divisor=8)
    export_onnx(segmenter, create_detector("msp"), tmp_path / "model.onnx", threshold=0.5, opset=17)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (81, 133, 3), np.uint8)).save(tmp_path / "street.png")
    told = subprocess.run(
        [sys.executable, "-c", ALONE + snippet], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert re.fullmatch(r"[\d.]+% anomalous, mostly (road|sky|car|tree)\n", told.stdout)


@pytest.mark.parametrize("name", ["image", "threshold", "anomaly_map", "mask", "segmentation"])
def test_the_page_names_what_the_graph_has(name):
    from anomseg.export.graph import INPUTS, OUTPUTS

    assert name in (*INPUTS, *OUTPUTS)
    assert f"`{name}`" in PAGE.read_text()
