"""WD-Pascal: built from a seed, frozen by its manifest, read under its own rules."""

import io

import numpy as np
import pytest
import trees
from trees import encode, pixels, put

from anomseg.benchmarks import get_benchmark
from anomseg.cli.main import run
from anomseg.data import load_frames, verify
from anomseg.data.negatives import load_negatives
from anomseg.data.pasted import build_pasted, paste_options, read_manifest
from anomseg.errors import ConfigError, DataError, FrameError

SIZE = (60, 80)


def wilddash(root):
    """Three frames, of which the upper rows have no class."""
    label = np.full(SIZE, 7, np.uint8)
    label[:10] = 0
    for index in range(3):
        put(root / "wd_val_01" / f"ar{index:04d}_100000.png", pixels(index, SIZE))
        put(root / "wd_val_01" / f"ar{index:04d}_100000_labelIds.png", label)
    return root


def voc(root):
    """Pascal VOC: a dog of 20x20, a bird of 4x4 (too small), and a car that is no animal."""
    for number, (name, kind, side) in enumerate((("dog", 12, 20), ("bird", 3, 4), ("car", 7, 30)), 1):
        stem = f"2007_{number:06d}"
        instances, classes = np.zeros((40, 50), np.uint8), np.zeros((40, 50), np.uint8)
        instances[5 : 5 + side, 5 : 5 + side], classes[5 : 5 + side, 5 : 5 + side] = 1, kind
        picture = np.full((40, 50, 3), 10, np.uint8)
        picture[instances == 1] = (250, 0, number)
        put(root / "JPEGImages" / f"{stem}.png", picture)
        put(root / "SegmentationObject" / f"{stem}.png", instances)
        put(root / "SegmentationClass" / f"{stem}.png", classes)
        box = f"<xmin>6</xmin><ymin>6</ymin><xmax>{5 + side}</xmax><ymax>{5 + side}</ymax>"
        size = "<size><width>50</width><height>40</height><depth>3</depth></size>"
        xml = f"<annotation>{size}<object><name>{name}</name><bndbox>{box}</bndbox></object></annotation>"
        put(root / "Annotations" / f"{stem}.xml", xml.encode())
    return root


@pytest.fixture
def built(tmp_path):
    wilddash(tmp_path / "wd")
    voc(tmp_path / "voc")
    objects = f"--objects pascal_voc={tmp_path}/voc --recipe wd_pascal --half all"
    words = f"data paste wilddash --root {tmp_path}/wd {objects}"
    assert run([*words.split(), "--seed", "7", "--out", f"{tmp_path}/out", "--quiet"]) == 0
    return tmp_path / "out"


def test_labels_are_one_where_an_animal_was_pasted_and_zero_elsewhere(built):
    frames = load_frames("wd_pascal", built)
    assert len(frames) == 3
    for frame in frames:
        image, label = frame.image(), frame.label
        np.testing.assert_array_equal(label == 1, (image == (250, 0, 1)).all(-1))
        assert int((label == 1).sum()) == 400
        assert set(label.ravel().tolist()) == {0, 1}
    # Void of WildDash is an inlier as published; the option leaves it out.
    assert 255 in load_frames("wd_pascal:void=void", built)[0].label
    assert verify("wd_pascal", built).ok
    assert {paste.source for one in read_manifest(built).frames for paste in one.pastes} == {"2007_000001"}
    assert get_benchmark("wd_pascal").protocol.label_table == "WD-Pascal (0:0,255:0,1:1)"


def test_the_manifest_freezes_the_draw_and_another_seed_is_another_draw(built, tmp_path):
    again = f"data paste wilddash --root {tmp_path}/wd --objects pascal_voc={tmp_path}/voc --half all --quiet".split()
    assert run([*again, "--manifest", str(built), "--out", f"{tmp_path}/twice"]) == 0
    assert run([*again, "--recipe", "wd_pascal", "--seed", "8", "--out", f"{tmp_path}/other"]) == 0
    first, same, other = (load_frames("wd_pascal", tmp_path / name) for name in ("out", "twice", "other"))
    for one, two in zip(first, same, strict=True):
        np.testing.assert_array_equal(one.image(), two.image())
    assert any(not np.array_equal(one.label, two.label) for one, two in zip(first, other, strict=True))


def test_other_recipes_and_other_grounds_are_not_wd_pascal(built, tmp_path):
    animals = load_negatives("pascal_voc", tmp_path / "voc", regime="all")
    smooth = paste_options("wd_pascal", blending="smooth")
    build_pasted("wilddash", tmp_path / "wd", tmp_path / "smooth", animals, smooth)
    with pytest.raises(DataError, match="built by other rules than the recipe wd_pascal"):
        load_frames("wd_pascal", tmp_path / "smooth")
    (built / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"no manifest\.json"):
        load_frames("wd_pascal", built)
    with pytest.raises(ConfigError, match="void"):
        load_frames("wd_pascal:void=nothing", built)


def saved(root, array, save=np.save):
    stream = io.BytesIO()
    save(stream, array)
    put(root / "wd-pascal" / "img" / "0_img.png", encode(pixels()))
    put(root / "wd-pascal" / "label" / "0_label.npy", stream.getvalue())
    return root


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, bool])
def test_a_draw_saved_as_arrays_is_read(tmp_path, kind):
    frames = load_frames("wd_pascal", saved(tmp_path, trees.mask(0, 1).astype(kind)))
    assert [frame.id for frame in frames] == ["0"]
    np.testing.assert_array_equal(frames[0].label, trees.mask(0, 1))
    assert verify("wd_pascal", tmp_path).ok


@pytest.mark.parametrize(
    "array",
    [
        np.full((8, 12), 0.5),
        np.full((8, 12), np.nan),
        np.full((8, 12), -1),
        np.zeros((8, 12, 3), np.uint8),
        np.array([[{"a": 1}]], dtype=object),
        np.full((8, 12), 7),
        np.zeros((0, 12)),
    ],
    ids=["half", "nan", "negative", "colours", "pickled", "unknown", "empty"],
)
def test_damaged_arrays_are_frame_errors_and_nothing_is_unpickled(tmp_path, array):
    frame = load_frames("wd_pascal", saved(tmp_path, array))[0]
    with pytest.raises(FrameError, match=r"0_label\.npy") as error:
        _ = frame.label
    assert "\n" not in str(error.value)


def test_several_arrays_in_one_file_are_no_label(tmp_path):
    frame = load_frames("wd_pascal", saved(tmp_path, np.zeros((8, 12)), np.savez))[0]
    with pytest.raises(FrameError, match="several arrays"):
        _ = frame.label
