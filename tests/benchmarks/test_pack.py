"""The pack script: what it writes reads back, fits, and never touches what is not its own."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomseg.data import load_frames

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "pack.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("pack_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def _scene(rng, size):
    """A smooth picture with some grain, and a label with every class and void."""
    height, width = size
    ramp = np.linspace(40, 200, width)[None, :, None] + np.linspace(0, 40, height)[:, None, None]
    pixels = (ramp + rng.normal(0, 6, (height, width, 3))).clip(0, 255).astype(np.uint8)
    label = rng.integers(0, 11, (height, width)).astype(np.uint8)
    label[:5, :7] = 255
    return pixels, label


@pytest.fixture
def camvid(tmp_path):
    """The layout of the SegNet split, whose void is 11, so that the packed labels have to be translated."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 18), ("val", 2)):
        for index in range(count):
            pixels, label = _scene(rng, (60, 80))
            label[label == 255] = 11
            for folder, array in ((split, pixels), (f"{split}annot", label)):
                path = tmp_path / "camvid" / folder / f"0001TP_{index:06d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
    return tmp_path / "camvid"


@pytest.fixture
def idd(tmp_path):
    """The official layout: drives, and names that do not pair by themselves."""
    rng = np.random.default_rng(1)
    for index in range(3):
        pixels, label = _scene(rng, (50, 70))
        label[label < 255] %= 7
        for folder, name, array in (("leftImg8bit", "image.jpg", pixels), ("gtFine", "label.png", label)):
            path = tmp_path / "idd" / folder / "train" / "12" / f"00{index}_{name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path, quality=95)
    return tmp_path / "idd"


def test_with_room_images_are_copied_and_labels_kept(script, camvid, idd, tmp_path, capsys):
    out = tmp_path / "packed"
    arguments = ["--camvid", str(camvid), "--idd-lite", str(idd), "--out", str(out), "--tree", str(SCRIPT.parents[1])]
    assert script.main(arguments) == 0
    for name, root, split in (("camvid", camvid, "train"), ("camvid", camvid, "val"), ("idd_lite", idd, "train")):
        before, after = load_frames(name, root, split), load_frames(name, out / name, split)
        assert [frame.id for frame in before] == [frame.id for frame in after]
        for one, other in zip(before, after, strict=True):
            assert Path(one.meta["path"]).read_bytes() == Path(other.meta["path"]).read_bytes()
            np.testing.assert_array_equal(one.classes, other.classes)
            assert 255 in other.classes
    told = capsys.readouterr().out
    assert "camvid/train: 18 frames" in told
    assert "images as they were, labels equal" in told
    assert f"anomseg train bundled-mask --roots.camvid {out}/camvid --roots.idd_lite {out}/idd_lite" in told
    assert told.splitlines()[-1] in (out / "README.md").read_text()


def test_a_tight_budget_takes_the_best_quality_that_fits(script, camvid, tmp_path):
    whole = sum(path.stat().st_size for path in camvid.rglob("*.png"))
    budget = 0.6 * whole / 1e6
    lines = script.pack({"camvid": camvid}, tmp_path / "packed", budget, least=20)
    written = sum(path.stat().st_size for path in (tmp_path / "packed" / "camvid").rglob("*") if path.is_file())
    assert written <= budget * 1e6
    assert "images WebP of quality" in lines[-2]
    quality = int(lines[-2].split("quality ")[1].split(";")[0])
    better = script.LADDER[script.LADDER.index(quality) - 1]
    assert script.estimate(script.find_sources({"camvid": camvid}, ["train", "val"]), better, 640) > budget * 1e6
    for one, other in zip(
        load_frames("camvid", camvid, "train"), load_frames("camvid", tmp_path / "packed/camvid", "train"), strict=True
    ):
        assert math.isfinite(script.psnr(one.image(), other.image()))
        np.testing.assert_array_equal(one.classes, other.classes)


def test_large_images_are_shrunk_and_their_labels_stay_class_numbers(script, camvid, tmp_path):
    script.pack({"camvid": camvid}, tmp_path / "packed", 60, longest=40, splits=["val"])
    one, other = (load_frames("camvid", root, "val")[0] for root in (camvid, tmp_path / "packed" / "camvid"))
    assert other.image().shape == (30, 40, 3)
    np.testing.assert_array_equal(other.classes, one.classes[1::2, 1::2])


def test_what_does_not_fit_or_looks_too_bad_is_refused(script, camvid, tmp_path, capsys):
    common = ["--camvid", str(camvid), "--out", str(tmp_path / "packed")]
    assert script.main([*common, "--budget-mb", "0.001"]) == 2
    assert "do not fit into 0.001 MB" in capsys.readouterr().err
    with pytest.raises(script.DataError, match="less than 90"):
        script.pack({"camvid": camvid}, tmp_path / "packed", 0.12, least=90)
    assert script.main(["--camvid", str(tmp_path / "nowhere"), "--out", str(tmp_path / "other")]) == 2
    assert script.main([]) == 2
    assert "nothing to pack" in capsys.readouterr().err


def test_a_folder_of_something_else_is_left_alone(script, camvid, tmp_path):
    other = tmp_path / "mine"
    other.mkdir()
    (other / "README.md").write_text("# My project\n")
    (other / "camvid").mkdir()
    (other / "camvid" / "notes.txt").write_text("kept")
    with pytest.raises(script.ConfigError, match="was not packed here"):
        script.pack({"camvid": camvid}, other, 60)
    assert (other / "camvid" / "notes.txt").read_text() == "kept"


def test_what_is_packed_must_not_lie_where_an_earlier_pack_is_deleted(script, camvid, tmp_path):
    out = tmp_path / "packed"
    script.pack({"camvid": camvid}, out, 60)
    before = sorted(out.rglob("*"))
    with pytest.raises(script.ConfigError, match="where an earlier pack is deleted"):
        script.pack({"camvid": out / "camvid"}, out, 60)
    assert sorted(out.rglob("*")) == before


def test_a_second_pack_replaces_the_first(script, camvid, tmp_path):
    out = tmp_path / "packed"
    script.pack({"camvid": camvid}, out, 60)
    script.pack({"camvid": camvid}, out, 60, splits=["val"])
    assert [path.name for path in (out / "camvid" / "images").iterdir()] == ["val"]


def test_a_damaged_label_is_told(script, camvid, tmp_path):
    sources = script.find_sources({"camvid": camvid}, ["val"])
    script.write(sources, script.AS_THEY_ARE, 640, tmp_path / "packed")
    path = next((tmp_path / "packed" / "camvid" / "labels" / "val").iterdir())
    values = np.array(Image.open(path))
    values[-1, -1] = (values[-1, -1] + 1) % 11
    Image.fromarray(values).save(path)
    with pytest.raises(script.DataError, match=r"packed label of camvid .* differs"):
        list(script.verify(sources, 640, tmp_path / "packed", 30))


def test_the_tree_counts_what_git_does_not_ignore(script, tmp_path):
    assert script.tree_bytes(SCRIPT.parents[1]) > SCRIPT.stat().st_size
    with pytest.raises(script.ConfigError, match="no working tree"):
        script.tree_bytes(tmp_path / "nowhere")
