"""Small trees of negatives in the layouts of their sources."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from anomseg.data.negatives import Negative

COCO_NAMES = {1: ("person", 1), 3: ("car", 1), 18: ("dog", 1), 47: ("cup", 1), 62: ("chair", 1), 109: ("curtain", 0)}


def save(path: Path, array: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path, **options)
    return path


def picture(seed: int = 0, height: int = 20, width: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def plain(name: str, colour: int, height: int = 50, width: int = 100, **options) -> Negative:
    """A negative of one grey."""
    return Negative(name, lambda: np.full((height, width, 3), colour, np.uint8), **options)


def xml(path: Path, size: tuple[int, int], objects: dict[str, tuple[int, int, int, int]]) -> Path:
    """Boxes as (xmin, ymin, xmax, ymax)."""
    parts = [
        f"<object><name>{name}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{u}</xmax><ymax>{v}</ymax></bndbox>"
        "</object>"
        for name, (x, y, u, v) in objects.items()
    ]
    shape = f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation>{shape}{''.join(parts)}</annotation>")
    return path


def coco(root: Path, images: dict[int, list[tuple[int, tuple[int, int, int, int]]]], split: str = "train2017") -> Path:
    """Images of 40x60 with boxes (top, left, bottom, right) of categories as segments; the rest has no segment."""
    annotations = []
    for number, segments in images.items():
        name = f"{number:012d}"
        save(root / split / f"{name}.jpg", picture(number, 40, 60))
        ids = np.zeros((40, 60), np.int64)
        infos = []
        for index, (category, (top, left, bottom, right)) in enumerate(segments):
            segment = 70_000 * (index + 1) + number
            ids[top:bottom, left:right] = segment
            area = (bottom - top) * (right - left)
            infos.append({"id": segment, "category_id": category, "iscrowd": 0, "area": area})
        colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1)
        save(root / "annotations" / f"panoptic_{split}" / f"{name}.png", colours)
        annotations.append({"image_id": number, "file_name": f"{name}.png", "segments_info": infos})
    content = {
        "images": [{"id": number, "file_name": f"{number:012d}.jpg"} for number in images],
        "annotations": annotations,
        "categories": [{"id": i, "name": name, "isthing": thing} for i, (name, thing) in COCO_NAMES.items()],
    }
    (root / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(content))
    return root
