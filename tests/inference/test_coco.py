"""COCO run-length encoding and component annotations, against brute force and against the format's own tool."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from inference_parts import picture
from PIL import Image

from anomseg.detectors import create_detector
from anomseg.errors import ConfigError, DataError, FrameError
from anomseg.inference import component_annotations, decode_rle, encode_rle, join_coco, predict_to_directory

MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def plain_runs(mask) -> list[int]:
    """Run lengths column by column, outside first, pixel by pixel."""
    runs, current = [0], False
    for x in range(mask.shape[1]):
        for y in range(mask.shape[0]):
            if bool(mask[y, x]) != current:
                runs.append(0)
                current = not current
            runs[-1] += 1
    return runs


def plain_text(runs) -> str:
    """The text by the rule: base 32 with a sign bit in the last digit, from the fourth run on the difference."""
    letters = ""
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        while True:
            digit = value % 32
            value = (value - digit) // 32
            if (value == 0 and digit < 16) or (value == -1 and digit >= 16):
                letters += chr(48 + digit)
                break
            letters += chr(48 + digit + 32)
    return letters


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_encoding_is_the_plain_one_and_comes_back(mask):
    rle = encode_rle(mask)
    assert rle == {"size": list(mask.shape), "counts": plain_text(plain_runs(mask))}
    assert np.array_equal(decode_rle(rle), mask)
    assert np.array_equal(decode_rle({"size": rle["size"], "counts": plain_runs(mask)}), mask)


def test_long_runs_and_falling_ones():
    mask = np.zeros((300, 400), bool)
    mask[10:290, 3] = True
    mask[0:5, 200:] = True
    mask[299, 399] = True
    rle = encode_rle(mask)
    assert rle["counts"] == plain_text(plain_runs(mask))
    assert np.array_equal(decode_rle(rle), mask)


def test_as_the_formats_own_tool_does():
    tool = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (7, 5), (64, 48)):
        for share in (0.0, 0.03, 0.5, 1.0):
            mask = rng.random(shape) < share
            theirs = tool.encode(np.asfortranarray(mask.astype(np.uint8)))
            assert encode_rle(mask) == {"size": list(theirs["size"]), "counts": theirs["counts"].decode()}


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [2, 2], "counts": "2"},
        {"size": [2, 2], "counts": "22P"},
        {"size": [2, 2], "counts": "2 "},
        {"size": [2, 2], "counts": [5, -1]},
        {"size": [2], "counts": "4"},
        {"counts": "4"},
    ],
)
def test_damaged_encodings_are_named(rle):
    with pytest.raises(DataError, match="damaged"):
        decode_rle(rle)


def flood(mask):
    """Components over 8 neighbours, by a plain flood."""
    left, parts = {(int(y), int(x)) for y, x in np.argwhere(mask)}, []
    while left:
        todo, part = [left.pop()], set()
        while todo:
            y, x = todo.pop()
            part.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            todo += near
        parts.append(part)
    return parts


@settings(max_examples=40, deadline=None)
@given(MASKS, st.integers(0, 99))
def test_annotations_are_those_of_a_plain_flood(mask, seed):
    score = np.random.default_rng(seed).normal(size=mask.shape).astype(np.float32)
    found = component_annotations(score, mask, image_id="a")
    assert [one["id"] for one in found] == list(range(1, len(found) + 1))
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
    parts = {frozenset(part) for part in flood(mask)}
    assert len(found) == len(parts)
    for one in found:
        part = frozenset((int(y), int(x)) for y, x in np.argwhere(decode_rle(one["segmentation"])))
        assert part in parts
        ys, xs = [y for y, _ in part], [x for _, x in part]
        assert one["bbox"] == [min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1]
        assert one["area"] == len(part)
        assert one["score"] == pytest.approx(np.mean([float(score[y, x]) for y, x in part]), abs=1e-12)
        assert (one["image_id"], one["category_id"], one["iscrowd"]) == ("a", 1, 0)


def test_shapes_that_do_not_belong_together():
    with pytest.raises(FrameError, match="do not belong together"):
        component_annotations(np.zeros((2, 3), np.float32), np.zeros((3, 2), bool))
    with pytest.raises(FrameError, match="no map"):
        encode_rle(np.zeros((2, 2, 2)))


def test_predict_writes_components_of_each_image_and_of_all(tmp_path):
    for name in ("a", "b"):
        Image.fromarray(picture(ord(name), (8, 12))).save(tmp_path / f"{name}.png")
    detector = create_detector("local_contrast")
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="the format coco writes components at a threshold"):
        predict_to_directory(str(tmp_path / "*.png"), None, detector, out, ["coco"])
    with pytest.raises(ConfigError, match="--task failure"):
        predict_to_directory(
            str(tmp_path / "*.png"), None, detector, out, ["coco"], threshold=0.0, task="failure"
        )  # fmt: skip
    first = predict_to_directory(str(tmp_path / "a.png"), None, detector, out, ["npy"])
    middle = float(np.median(np.load(out / f"{first.done[0]}.npy")))
    predict_to_directory(str(tmp_path / "*.png"), None, detector, out, ["npy", "coco"], threshold=middle)
    every = []
    for name in ("a", "b"):
        content = json.loads((out / f"{name}.coco.json").read_text())
        union = np.zeros((8, 12), bool)
        for one in content["annotations"]:
            union |= decode_rle(one["segmentation"])
        assert np.array_equal(union, np.load(out / f"{name}.npy") >= middle)
        assert content["images"] == [{"id": 1, "file_name": name, "height": 8, "width": 12}]
        assert content["info"]["threshold"] == middle
        assert f"{name}.coco.json" in json.loads((out / f"{name}.json").read_text())["files"]
        every += content["annotations"]
    joint = json.loads((out / "all.coco.json").read_text())
    assert [one["id"] for one in joint["images"]] == [1, 2]
    assert [one["id"] for one in joint["annotations"]] == list(range(1, len(every) + 1))
    assert [one["segmentation"] for one in joint["annotations"]] == [one["segmentation"] for one in every]
    assert {one["image_id"] for one in joint["annotations"]} <= {1, 2}
    # Without the format the file of the image goes again.
    predict_to_directory(str(tmp_path / "a.png"), None, detector, out, ["npy"])
    assert not (out / "a.coco.json").exists()
    (out / "b.coco.json").write_text("{}")
    with pytest.raises(DataError, match="damaged"):
        join_coco(out, ["b"])
