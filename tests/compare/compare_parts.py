"""A small saved network, small labelled folders and configurations, enough to compare for real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from anomseg.data.label_space import label_space
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import save_segmenter


def write_network(folder: Path, seed: int = 0) -> Path:
    """A network of random weights with CamVid's classes."""
    torch.manual_seed(seed)
    space = label_space("camvid")
    segmenter = SEGMENTERS.create(
        "pyramid", classes=space.names, palette=space.palette, size=(32, 48), widths=(8, 12, 16, 24), bottleneck=16
    )
    save_segmenter(segmenter.eval(), folder)
    return folder


def write_frames(root: Path, count: int = 5, seed: int = 0) -> Path:
    """Frames in RoadAnomaly21's repackaged layout: noise with one bright box that is the anomaly."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        image = rng.integers(60, 120, (32, 48, 3), np.uint8)
        label = np.zeros((32, 48), np.uint8)
        label[8 + index : 20 + index, 6:30] = 1
        label[:3] = 255
        image[label == 1] = rng.integers(150, 250, (int((label == 1).sum()), 3), np.uint8)
        for folder, array in (("images", image), ("labels_masks", label)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"{index}.png")
    return root


def write_config(folder: Path, **content: object) -> Path:
    """A configuration with some defaults, as YAML."""
    entries = {
        "segmenter": "network",
        "benchmark": {"name": "road_anomaly_21", "root": "frames"},
        "costs": False,
        "detectors": ["energy", "msp", "chance", "position_prior"],
    }
    path = folder / "compare.yaml"
    path.write_text(yaml.safe_dump({**entries, **content}), "utf-8")
    return path


def write_camvid(root: Path, count: int = 4) -> Path:
    """Frames of noise with class maps of noise, in CamVid's layout and two sequences."""
    rng = np.random.default_rng(0)
    for index in range(count):
        image = rng.integers(0, 255, (32, 48, 3), np.uint8)
        label = rng.choice(np.array([*range(11), 255], np.uint8), (32, 48))
        name = f"0001TP_{index:06d}.png" if index % 2 else f"Seq05VD_f{index:05d}.png"
        for folder, array in (("images", image), ("labels", label)):
            (root / folder / "test").mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / "test" / name)
    return root
