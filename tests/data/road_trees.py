"""Writers of small trees of the data sets that came later, in the layouts that they are published or relied on in."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from trees import HEIGHT, WIDTH, encode, mask, pixels, png, put

LAF_TRAIN = ("01_Hanns_Klemm_Str_45_000000_000010", "03_Hanns_Klemm_Str_19_000002_000130")
LAF_TEST = (
    "02_Hanns_Klemm_Str_44_000000_000080",
    "02_Hanns_Klemm_Str_44_000001_000100",
    "04_Maurener_Weg_8_000010_000020",
    "15_Rechbergstr_Deckenpfronn_000000_000060",
)


def lost_and_found(root: Path) -> Path:
    """LostAndFound: a folder a scene, images with a gamma chunk, four maps a label and polygons."""
    gamma = (b"gAMA", struct.pack(">I", 100000))
    for split, names in (("train", LAF_TRAIN), ("test", LAF_TEST)):
        for index, name in enumerate(names):
            scene = "_".join(name.split("_")[:-2])
            picture = png(WIDTH, HEIGHT, 8, 2, pixels(index).tobytes(), gamma)
            put(root / "leftImg8bit" / split / scene / f"{name}_leftImg8bit.png", picture)
            folder = root / "gtCoarse" / split / scene
            # The second test frame shows nothing at all.
            values = (0,) if (split, index) == ("test", 1) else (0, 1, 2, 31, 43)
            put(folder / f"{name}_gtCoarse_labelIds.png", mask(*values))
            put(folder / f"{name}_gtCoarse_labelTrainIds.png", mask(255, 1, 2, 0))
            put(folder / f"{name}_gtCoarse_instanceIds.png", mask(0, 1, 2))
            put(folder / f"{name}_gtCoarse_color.png", pixels(index))
            put(folder / f"{name}_gtCoarse_polygons.json", b"{}")
    region = np.full((HEIGHT, WIDTH), 255, np.uint8)
    region[-1] = 0
    put(root / "LAF_roi_2048.png", region)
    return root


def cityscapes(root: Path, train_ids: bool = True, label_ids: bool = True) -> Path:
    """Cityscapes: a folder a city; label files of the test part hold void alone."""
    frames = {
        "train": (("aachen", "aachen_000000_000019"), ("bremen", "bremen_000002_000019")),
        "val": (("frankfurt", "frankfurt_000000_000294"),),
        "test": (("berlin", "berlin_000000_000019"),),
    }
    for split, names in frames.items():
        for index, (city, name) in enumerate(names):
            put(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", pixels(index))
            folder, dummy = root / "gtFine" / split / city, split == "test"
            if label_ids:
                put(folder / f"{name}_gtFine_labelIds.png", mask(*((3,) if dummy else (7, 33, 0, 9, 31))))
            if train_ids:
                put(folder / f"{name}_gtFine_labelTrainIds.png", mask(*((255,) if dummy else (0, 18, 255, 255, 16))))
            put(folder / f"{name}_gtFine_instanceIds.png", mask(7))
            put(folder / f"{name}_gtFine_color.png", pixels(index))
            put(folder / f"{name}_gtFine_polygons.json", b"{}")
    return root


WD2_LABELS = [
    {"id": 0, "name": "unlabeled"},
    {"id": 1, "name": "ego vehicle"},
    {"id": 7, "name": "road"},
    {"id": 19, "name": "traffic light"},
    {"id": 34, "name": "pick-up"},
    {"id": 35, "name": "van"},
    {"id": 38, "name": "road marking"},
    {"id": 31, "name": "on rails"},
    {"id": 36, "name": "billboard"},
]


def wilddash_2(root: Path, policy: str = "wilddash2-meta.json", key: str = "labels") -> Path:
    """WildDash 2: labels in policy numbers, a JSON file that names these, a benchmark part without labels."""
    folder = root / "wd_public_02"
    for index, name in enumerate(("aa0001_100000", "zz.2_100000")):
        put(folder / "images" / f"{name}.jpg", encode(pixels(index), "JPEG"))
        put(folder / "labels" / f"{name}.png", mask(7, 1, 35, 34, 31, 36, 38, 19))
        put(folder / "instances" / f"{name}.png", mask(0, 1))
    put(folder / policy, json.dumps({key: WD2_LABELS}).encode())
    put(root / "wd_both_02" / "images" / "wd0001_100000.jpg", encode(pixels(9), "JPEG"))
    return root


VISTAS_EXTRA = ("animal--bird", "void--ego-vehicle")


def vistas(root: Path, labels: str = "v1.2/labels", copied: bool = False) -> Path:
    """Mapillary Vistas, or what Vistas-NP's script copies from it; labels are palette images."""
    from PIL import Image

    from anomseg.data.specs.vistas_np import _GROUPS

    names = sorted(name for group in _GROUPS.values() for name in group.split()) + list(VISTAS_EXTRA)
    number = {name: index for index, name in enumerate(names)}
    road, bird = number["construction--flat--road"], number["animal--bird"]
    person, rider = number["human--person"], number["human--rider--other-rider"]
    put(root / "config.json", json.dumps({"labels": [{"name": name, "readable": name} for name in names]}).encode())
    frames = {
        ("training", "aaa"): (road, bird),
        ("training", "bbb"): (road, person),
        ("validation", "ccc"): (road, number["object--vehicle--car"]),
        ("validation", "ddd"): (rider, road, bird),
    }
    for index, ((part, name), values) in enumerate(frames.items()):
        where = "test" if copied and name in ("bbb", "ddd") else part
        put(root / where / "images" / f"{name}.jpg", encode(pixels(index), "JPEG"))
        label = Image.fromarray(mask(*values))
        label.putpalette([channel for value in range(256) for channel in (255 - value, value, 7)])
        path = root / where / ("labels" if copied else labels) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        label.save(path)
        if not copied:
            put(root / part / "v1.2" / "instances" / f"{name}.png", mask(0, 1))
    if not copied:
        put(root / "testing" / "images" / "eee.jpg", encode(pixels(9), "JPEG"))
    return root


def muad(root: Path) -> Path:
    """MUAD: a folder a part, depth beside labels, unknown classes in ``test_ood`` alone."""
    for part, values in {
        "train": (0, 15, 255), "val": (13, 14, 21), "test_id": (11, 10), "test_ood": (0, 12, 16, 20, 21, 13),
    }.items():  # fmt: skip
        for index in range(2):
            name = f"{index:06d}"
            put(root / part / "leftImg8bit" / f"{name}_leftImg8bit.png", pixels(index))
            put(root / part / "leftLabel" / f"{name}_leftLabel.png", mask(*values))
            put(root / part / "leftDepth" / f"{name}_leftDepth.exr", b"depth")
    return root


def camvid_ood(root: Path) -> Path:
    """CamVid-OOD: SegNet's layout with a test part of its own; 11 void, 12 the anomaly."""
    for folder, annotated, name, values in (
        ("train", "trainannot", "0001TP_006690", (0, 3, 11)),
        ("val", "valannot", "0016E5_07959", (0, 10)),
        ("test_ood", "testannot_ood", "Seq05VD_f00000", (0, 12, 11, 10)),
    ):
        put(root / folder / f"{name}.png", pixels(1))
        put(root / annotated / f"{name}.png", mask(*values))
    return root


ISSU_FRAMES = (
    "static_0_009599", "static_100_1", "static_rain_00.5", "static_lowlight_3",
    "temporal_99_520", "temporal_5_10", "temporal_51_3",
)  # fmt: skip


def issu(root: Path) -> Path:
    """ISSU: images and labels under the same names; part and folder stand before them."""
    for index, name in enumerate(ISSU_FRAMES):
        put(root / "images" / f"{name}.png", pixels(index))
        put(root / "labels_masks" / f"{name}.png", mask(0, 18, 254, 255))
    return root


def ade_ood(root: Path) -> Path:
    """ADE-OoD: masks named after images, which may hold dots."""
    for index, name in enumerate(("ADE_train_00000003", "open.images.7")):
        put(root / "images" / f"{name}.jpg", encode(pixels(index), "JPEG"))
        put(root / "annotations" / f"{name}_mask.png", mask(0, 1, 255))
    return root


def grey16(values: np.ndarray) -> bytes:
    """A 16-bit grey PNG."""
    return png(values.shape[1], values.shape[0], 16, 0, values.astype(">u2").tobytes())


def oodis(root: Path) -> Path:
    """OoDIS on Fishyscapes: 16-bit instance maps beside a LostAndFound tree that holds more frames."""
    for index, name in enumerate(("04_Maurener_Weg_8_000000_000030", "02_Hanns_Klemm_Str_44_000005_000120")):
        scene = "_".join(name.split("_")[:-2])
        put(root / "leftImg8bit" / "test" / scene / f"{name}_leftImg8bit.png", pixels(index))
        numbers = np.zeros((HEIGHT, WIDTH), np.uint16)
        numbers[0], numbers[2:4, :3], numbers[5, 5:] = 255, 26002, 26001
        put(root / "fs_lost_found_instance" / f"{name}_gtCoarse_instanceIds.png", grey16(numbers * (index == 0)))
    put(root / "leftImg8bit" / "train" / "x" / "01_Other_000000_000000_leftImg8bit.png", pixels(9))
    return root
