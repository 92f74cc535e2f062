"""A small tree in CamVid's layout, and negatives in COCO's, to paste with."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from anomseg.data.negatives import load_negatives

SIZE = (60, 80)
ROAD, CAR, VOID = 3, 8, 255
#: Category, box (top, left, bottom, right) and colour of the objects of each image by number.
OBJECTS = {
    11: [(18, (5, 5, 29, 35), 200)],
    13: [(17, (0, 10, 20, 30), 90), (18, (20, 20, 36, 50), 120)],
    14: [(18, (5, 5, 25, 25), 250)],
    15: [(47, (8, 8, 28, 48), 30)],
}
NAMES = {17: "cat", 18: "dog", 47: "cup"}


def save(path: Path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def camvid(root: Path, count: int = 6, split: str = "test", sequences: tuple[str, ...] = ("0001TP", "Seq05VD")) -> Path:
    """Frames of a grey road with one car each at a place of its own; the top rows are void."""
    rng = np.random.default_rng(5)
    for sequence in sequences:
        for index in range(count):
            label = np.full(SIZE, ROAD)
            label[:4] = VOID
            left = 4 + 8 * index
            label[30:44, left : left + 18] = CAR
            image = rng.integers(60, 90, (*SIZE, 3))
            image[label == CAR] = 150 + 10 * index
            save(root / "images" / split / f"{sequence}_{index:06d}.png", image)
            save(root / "labels" / split / f"{sequence}_{index:06d}.png", label)
    return root


def coco(root: Path) -> Path:
    """Noise of 40x60 with objects of one grey; the numbers decide halves: 14 is even."""
    rng = np.random.default_rng(6)
    annotations = []
    for number, objects in OBJECTS.items():
        name = f"{number:012d}"
        image, ids, infos = rng.integers(0, 256, (40, 60, 3)), np.zeros((40, 60), np.int64), []
        for place, (category, (top, left, bottom, right), grey) in enumerate(objects, 1):
            segment = 1000 * place + number
            ids[top:bottom, left:right], image[top:bottom, left:right] = segment, grey
            area = (bottom - top) * (right - left)
            infos.append({"id": segment, "category_id": category, "iscrowd": 0, "area": area})
        save(root / "train2017" / f"{name}.jpg", image)
        colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1)
        save(root / "annotations" / "panoptic_train2017" / f"{name}.png", colours)
        annotations.append({"image_id": number, "file_name": f"{name}.png", "segments_info": infos})
    content = {
        "images": [{"id": number, "file_name": f"{number:012d}.jpg"} for number in OBJECTS],
        "annotations": annotations,
        "categories": [{"id": number, "name": name, "isthing": 1} for number, name in NAMES.items()],
    }
    (root / "annotations" / "panoptic_train2017.json").write_text(json.dumps(content))
    return root


def objects(root: Path, half: str | None = "odd"):
    return load_negatives("coco_panoptic", root, regime="all", half=half)


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))
