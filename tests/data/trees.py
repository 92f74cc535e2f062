"""Writers of small files and folder trees in exactly the layouts that data sets are published in."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 8, 12


def pixels(seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """A random uint8 RGB image."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def mask(*values: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """A label map in which the values follow each other in rows."""
    rows = np.resize(np.array(values, np.uint8), size[0])
    return np.repeat(rows[:, None], size[1], axis=1)


def encode(array: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    """An array as the bytes of an image file."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


def put(path: Path, data: bytes | np.ndarray) -> Path:
    """Write bytes, or an array as PNG, making folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else encode(data))
    return path


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG written chunk by chunk, independent of any library: ``rows`` without filter bytes, big-endian."""
    stride = len(rows) // height if height else 0
    raw = b"".join(b"\0" + rows[y * stride : (y + 1) * stride] for y in range(height if stride else 0))
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", head), *extra, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def anomaly_track(root: Path, validation: int = 3, test: tuple[str, ...] = ("cow0003", "boat_trailer0001")) -> Path:
    """SMIYC anomaly track: labels and coloured twins of the validation frames only."""
    for index in range(validation):
        name = f"validation{index:04d}"
        put(root / "images" / f"{name}.jpg", encode(pixels(index), "JPEG"))
        put(root / "labels_masks" / f"{name}_labels_semantic.png", mask(0, 1, 255))
        put(root / "labels_masks" / f"{name}_labels_semantic_color.png", pixels(index))
    for index, name in enumerate(test):
        put(root / "images" / f"{name}.jpg", encode(pixels(100 + index), "JPEG"))
    put(root / "LICENSE.txt", b"terms")
    return root


OBSTACLE_TEST = ("curvy-street_bottle_3", "greyasphalt_dog_12", "darkasphalt2_cat_1.5")
OBSTACLE_SNOW = ("snowstorm1_00_16_02.578", "snowstorm1_00_16_02.612")
OBSTACLE_NIGHT = ("driveway_can_1",)


def obstacle_track(root: Path, validation: tuple[int, ...] = (1, 2, 10)) -> Path:
    """SMIYC obstacle track: WebP images, dots in names, scenes before the first underscore."""
    for index in validation:
        put(root / "images" / f"validation_{index}.webp", encode(pixels(index), "WEBP", lossless=True))
        put(root / "labels_masks" / f"validation_{index}_labels_semantic.png", mask(0, 255, 255, 1))
        put(root / "labels_masks" / f"validation_{index}_labels_semantic_color.png", pixels(index))
    for index, name in enumerate((*OBSTACLE_TEST, *OBSTACLE_SNOW, *OBSTACLE_NIGHT)):
        put(root / "images" / f"{name}.webp", encode(pixels(50 + index), "WEBP", lossless=True))
    put(root / "image-sources.txt", b"sources")
    return root


def road_anomaly(root: Path, names: tuple[str, ...] = ("animals01", "rhino.crossing_2", "tractor10")) -> Path:
    """RoadAnomaly: a folder of label files beside each image, and a list of frames."""
    for index, name in enumerate(names):
        put(root / "frames" / f"{name}.jpg", encode(pixels(index), "JPEG"))
        folder = root / "frames" / f"{name}.labels"
        put(folder / "labels_semantic.png", mask(0, 2, 0, 3))
        put(folder / "labels_semantic_color.png", pixels(index))
        put(folder / "labels_instance.png", mask(0, 1, 0, 2))
        put(folder / "index.json", b"{}")
    put(root / "frame_list.json", json.dumps([f"{name}.jpg" for name in names]).encode())
    return root


LAF_FRAMES = (
    ("train", "04_Maurener_Weg_8", "04_Maurener_Weg_8_000000_000030"),
    ("test", "02_Hanns_Klemm_Str_44", "02_Hanns_Klemm_Str_44_000005_000120"),
    ("test", "02_Hanns_Klemm_Str_44", "02_Hanns_Klemm_Str_44_000006_000010"),
)


def fishyscapes_lost_and_found(root: Path) -> Path:
    """Fishyscapes L&F labels beside a LostAndFound tree that holds more frames than are labelled."""
    for index, (split, scene, name) in enumerate(LAF_FRAMES):
        put(root / "leftImg8bit" / split / scene / f"{name}_leftImg8bit.png", pixels(index))
        values = (0, 1, 255) if index != 1 else (0, 255)
        put(root / "fishyscapes_lostandfound" / f"{index:04d}_{name}_labels.png", mask(*values))
    put(root / "leftImg8bit" / "train" / "01_Other" / "01_Other_000000_000000_leftImg8bit.png", pixels(9))
    return root


STATIC_FRAMES = (("frankfurt", "frankfurt_000000_000294"), ("munster", "munster_000007_000019"))


def static_overlay(index: int) -> np.ndarray:
    """A signed overlay that over- and underflows eight bits."""
    return np.random.default_rng(1000 + index).integers(-300, 300, (HEIGHT, WIDTH, 3)).astype(np.int16)


def fishyscapes_static(root: Path, version: str = "v1", shift: int = 0) -> Path:
    """Fishyscapes Static labels and overlays beside a Cityscapes tree."""
    for index, (city, name) in enumerate(STATIC_FRAMES):
        put(root / "leftImg8bit" / "val" / city / f"{name}_leftImg8bit.png", pixels(index))
        folder = root / f"fs_val_{version}"
        put(folder / f"{index:04d}_{name}_labels.png", mask(0, 1, 255) if index == 0 else mask(0, 255))
        stream = io.BytesIO()
        np.savez_compressed(stream, rgb=static_overlay(index + shift))
        put(folder / f"{index:04d}_{name}_rgb.npz", stream.getvalue())
    put(root / "leftImg8bit" / "val" / "lindau" / "lindau_000000_000019_leftImg8bit.png", pixels(7))
    return root


def camvid_segnet(root: Path) -> Path:
    """CamVid as SegNet ships it: 11 is void."""
    for split, names in {"train": ("0001TP_006690", "0006R0_f00930"), "test": ("Seq05VD_f00000",)}.items():
        for index, name in enumerate(names):
            put(root / split / f"{name}.png", pixels(index))
            put(root / f"{split}annot" / f"{name}.png", mask(0, 3, 10, 11) if index == 0 else mask(0, 3, 8))
        put(root / f"{split}.txt", b"list")
    return root


def idd_lite_official(root: Path) -> Path:
    """IDD-Lite as published: a folder a drive, instance labels beside class labels, no test labels."""
    for split, drive, frame in (("train", "0", "024541"), ("train", "100", "206998"), ("val", "3", "004642")):
        put(root / "leftImg8bit" / split / drive / f"{frame}_image.jpg", encode(pixels(int(drive)), "JPEG"))
        put(root / "gtFine" / split / drive / f"{frame}_label.png", mask(0, 2, 6, 255))
        put(root / "gtFine" / split / drive / f"{frame}_inst_label.png", mask(0, 200, 6, 255))
    put(root / "leftImg8bit" / "test" / "7" / "000001_image.jpg", encode(pixels(7), "JPEG"))
    return root


def repackaged(root: Path, anomaly: int = 1, void: bool = True, count: int = 12) -> Path:
    """The layout of repackaged sets: numbered images of several types, one of them JPEG under a .png name."""
    values = (0, anomaly, 255) if void else (0, anomaly)
    kinds = (("png", "JPEG"), ("jpg", "JPEG"), ("webp", "WEBP"), ("png", "PNG"), ("tiff", "TIFF"))
    for index in range(count):
        suffix, kind = kinds[index % len(kinds)]
        put(root / "images" / f"{index}.{suffix}", encode(pixels(index), kind))
        put(root / "labels_masks" / f"{index}.png", mask(*values))
    return root


def folder(root: Path) -> Path:
    """Images and masks of somebody's own: 0 and 255 for nothing and anomaly, one frame without mask."""
    for index, name in enumerate(("a.1", "b", "c")):
        put(root / "photos" / f"{name}.png", pixels(index))
        if name != "c":
            put(root / "gt" / f"{name}.png", mask(0, 255))
    return root


def street_hazards(root: Path, test_towns: tuple[str, str] = ("t5", "t6")) -> Path:
    """StreetHazards: two archives, a folder a town, images with a fourth channel, labels from 1, lists on one line."""
    parts = {
        "train/{}/training": (("t1", "1", (1, 8, 14)), ("t1", "2", (8, 4)), ("t3", "1", (1, 13))),
        "train/{}/validation": (("t4", "1", (1, 8)),),
        "test/{}/test": ((test_towns[0], "2", (8, 14)), (test_towns[0], "10", (4, 8, 0)), (test_towns[1], "3", (14,))),
    }
    for index, (part, frames) in enumerate(parts.items()):
        for town, number, values in frames:
            opaque = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
            picture = np.concatenate([pixels(index), opaque], 2)
            # Half transparent: reading must drop the channel and not mix colours with it.
            picture[0, :, 3] = 128
            # No training town holds anomalies; 14 there is a value of this tree's first frame only.
            kept = values if part.startswith("test") else tuple(value for value in values if value != 14)
            put(root / part.format("images") / town / f"{number}.png", picture)
            put(root / part.format("annotations") / town / f"{number}.png", mask(*kept))
    for name in ("train/train.odgt", "train/validation.odgt", "test/test.odgt"):
        put(root / name, b'[{"fpath_img": "a.png", "fpath_segm": "b.png", "width": 1280, "height": 720}]')
    return root


BDD_FRAMES = {
    # part, name: trainIds in the label
    ("train", "0004a4c0-d4dff0ad"): (0, 13, 255),
    ("train", "00a1176f-0652080e"): (0, 17, 255),
    ("train", "00a395fe-d60c0b47"): (0, 18, 2),
    ("train", "00ab1f2c-11111111"): (0, 2),
    ("val", "7d06fefd-f7be05a6"): (0, 16, 255),
    ("val", "7d128593-0ccfea4c"): (0, 1),
}


def bdd_anomaly(root: Path, layout: str = "official") -> Path:
    """BDD-Anomaly: BDD100K's images, and labels as the benchmark's authors or BDD100K ship them."""
    for index, ((part, name), values) in enumerate(BDD_FRAMES.items()):
        picture = encode(pixels(index), "JPEG")
        stored = mask(*values)
        if layout == "bdd100k":
            put(root / "bdd100k/images/10k" / part / f"{name}.jpg", picture)
            put(root / "bdd100k/labels/sem_seg/masks" / part / f"{name}.png", stored)
            put(root / "bdd100k/labels/sem_seg/colormaps" / part / f"{name}.png", pixels(index))
            continue
        put(root / "bdd100k/seg/images" / part / f"{name}.jpg", picture)
        if layout == "official":
            put(root / "seg/labels" / part / f"{name}_train_id.png", stored)
        # The authors' second copy, raised by two.
        shifted = np.where(stored == 255, 1, stored.astype(int) + 2).astype(np.uint8)
        put(root / "seg/train_labels" / part / f"{name}_train_id.png", shifted)
        put(root / "seg/color_labels" / part / f"{name}_train_color.png", pixels(index))
    if layout == "bdd100k":
        put(root / "bdd100k/images/10k/test/cabc30fc-e7726578.jpg", encode(pixels(99), "JPEG"))
    return root


def wilddash(root: Path) -> Path:
    """WildDash 1: images and labels side by side in Cityscapes' numbers, the benchmark part without labels."""
    for index, name in enumerate(("ar0002", "ci0010", "zz0001")):
        put(root / "wd_val_01" / f"{name}_100000.png", pixels(index))
        put(root / "wd_val_01" / f"{name}_100000_labelIds.png", mask(7, 33, 0, 30))
        put(root / "wd_val_01" / f"{name}_100000_color.png", pixels(index))
    put(root / "wd_bench_01" / "wd0001_100000.png", pixels(9))
    return root
