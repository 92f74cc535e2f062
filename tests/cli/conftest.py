"""A tiny saved network and a small labelled folder, enough to run every command for real."""

import numpy as np
import pytest
import torch
from PIL import Image

from anomseg.data.label_space import label_space
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import save_segmenter


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    torch.manual_seed(0)
    space = label_space("camvid")
    segmenter = SEGMENTERS.create(
        "pyramid", classes=space.names, palette=space.palette, size=(48, 64), widths=(8, 12, 16, 24), bottleneck=16
    )
    folder = tmp_path_factory.mktemp("networks") / "tiny"
    save_segmenter(segmenter.eval(), folder)
    return folder


@pytest.fixture
def dataset(tmp_path):
    """Six frames in the repackaged layout: noise pictures with one bright box that is the anomaly."""
    root = tmp_path / "RoadAnomaly21"
    rng = np.random.default_rng(0)
    for index in range(6):
        image = rng.integers(60, 120, (60, 80, 3), np.uint8)
        label = np.zeros((60, 80), np.uint8)
        label[20 + index : 40 + index, 10:40] = 1
        label[:4] = 255
        image[label == 1] = rng.integers(150, 250, (int((label == 1).sum()), 3), np.uint8)
        for folder, array in (("images", image), ("labels_masks", label)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"{index}.png")
    return root
