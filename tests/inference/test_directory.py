import errno
import json
from hashlib import sha256

import h5py
import numpy as np
import pytest
from inference_parts import (
    BrightnessSegmenter,
    Constant,
    Darkness,
    Interrupting,
    NotANumber,
    leftovers,
    picture,
    write_pictures,
)
from PIL import Image

from anomseg._version import __version__
from anomseg.errors import ConfigError, DataError
from anomseg.inference import predict, predict_to_directory, read_map


@pytest.fixture
def images(tmp_path):
    write_pictures(tmp_path / "in")
    return tmp_path / "in"


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_everything_is_written_and_reads_back(images, tmp_path):
    out = tmp_path / "out"
    summary = predict_to_directory(
        images, BrightnessSegmenter(), Darkness(), out, ("png", "npy", "hdf5"), threshold=1.0
    )
    assert summary.done == ("a", "b", "c")
    assert summary.skipped == ()
    assert summary.throughput > 0
    assert names(out) == sorted(
        f"{name}{suffix}"
        for name in "abc"
        for suffix in (
            ".json",
            ".npy",
            ".hdf5",
            "_overlay.png",
            "_mask.png",
            "_segmentation.png",
            "_open_set.png",
            "_open_set_labels.png",
        )
    )
    assert leftovers(out) == []
    result = predict(images / "a.png", BrightnessSegmenter(), Darkness())
    assert np.array_equal(read_map(out / "a.npy", (40, 60)), result.anomaly_map)
    with h5py.File(out / "a.hdf5") as file:
        assert np.array_equal(file["value"][()], result.anomaly_map.astype(np.float16))
    assert np.array_equal(np.asarray(Image.open(out / "a_mask.png")) == 255, result.mask(1.0))
    assert np.array_equal(np.asarray(Image.open(out / "a_segmentation.png")), result.segmentation)
    assert np.array_equal(np.asarray(Image.open(out / "a_overlay.png")), result.overlay(threshold=1.0))
    assert np.array_equal(np.asarray(Image.open(out / "a_open_set.png")), result.coloured_open_set(1.0))
    assert np.array_equal(np.asarray(Image.open(out / "a_open_set_labels.png")), result.open_set(1.0))


def test_the_sidecar_says_what_made_the_files(images, tmp_path):
    out = tmp_path / "out"
    segmenter = BrightnessSegmenter(size=(32, 48))
    predict_to_directory([images / "a.png"], segmenter, Darkness(0.5), out, ("npy", "hdf5"), dtype="float16", seed=7)
    sidecar = json.loads((out / "a.json").read_text())
    scores = np.load(out / "a.npy")
    assert sidecar["version"] == __version__
    assert sidecar["score"] == {"name": "darkness", "sign": "higher = more anomalous", "bounded": False}
    assert sidecar["detector"]["parameters"] == {"offset": 0.5}
    assert sidecar["segmenter"]["sha256"] == segmenter.fingerprint()
    assert sidecar["image"]["sha256"] == sha256((images / "a.png").read_bytes()).hexdigest()
    assert (sidecar["image"]["height"], sidecar["image"]["width"]) == (40, 60)
    assert sidecar["image"]["working_size"] == [32, 48]
    assert sidecar["settings"] == {"size": None, "roi": None, "seed": 7}
    assert sidecar["output"] == {
        "formats": ["hdf5", "npy"],
        "dtype": {"hdf5": "float16", "npy": "float16"},
        "threshold": None,
        "range": None,
    }
    assert sidecar["range"]["min"] == pytest.approx(scores.min(), rel=1e-3)
    assert sidecar["range"]["max"] == pytest.approx(scores.max(), rel=1e-3)
    assert sidecar["files"] == ["a.npy", "a.hdf5"]


def test_a_bad_file_is_named_and_the_rest_done(images, tmp_path):
    whole = (images / "b.png").read_bytes()
    (images / "b.png").write_bytes(whole[: len(whole) // 2])
    (images / "d.jpg").write_text("not an image")
    seen = []
    summary = predict_to_directory(
        images, BrightnessSegmenter(), Darkness(), tmp_path / "out", batch_size=2, on_progress=seen.append
    )
    assert summary.done == ("a", "c")
    assert [name for name, _ in summary.skipped] == ["b", "d"]
    assert all(f"{name}." in reason and "\n" not in reason for name, reason in summary.skipped)
    assert [(step.name, step.status, step.finished, step.total) for step in seen] == [
        ("a", "done", 1, 4),
        ("b", "skipped", 2, 4),
        ("c", "done", 3, 4),
        ("d", "skipped", 4, 4),
    ]
    assert seen[-1].remaining == 0
    assert not list((tmp_path / "out").glob("b*"))


def test_nan_and_overflow_are_skips(images, tmp_path):
    summary = predict_to_directory(images, BrightnessSegmenter(), NotANumber(("c",)), tmp_path / "out")
    assert [name for name, _ in summary.skipped] == ["c"]
    summary = predict_to_directory(images, BrightnessSegmenter(), Constant(1e6), tmp_path / "half", ("png", "hdf5"))
    assert len(summary.skipped) == 3
    assert "float16" in summary.skipped[0][1]
    assert not (tmp_path / "half").exists()


def test_a_refused_frame_leaves_earlier_results(images, tmp_path):
    out = tmp_path / "out"
    predict_to_directory(images, BrightnessSegmenter(), Darkness(), out, ("hdf5",))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    predict_to_directory(images, BrightnessSegmenter(), Constant(1e6), out, ("hdf5",))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_what_is_done_is_kept_and_what_differs_is_redone(images, tmp_path):
    out = tmp_path / "out"

    def run(detector=None, **options):
        summary = predict_to_directory(images, BrightnessSegmenter(), detector or Darkness(), out, **options)
        return summary.done, summary.kept

    assert run() == (("a", "b", "c"), ())
    stamps = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert run() == ((), ("a", "b", "c"))
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == stamps
    (out / "b.npy").unlink()
    assert run() == (("b",), ("a", "c"))
    Image.fromarray(picture(9)).save(images / "c.png")
    assert run() == (("c",), ("a", "b"))
    (out / "a.json").write_text("{")
    assert run() == (("a",), ("b", "c"))
    for changed in (
        {"detector": Darkness(1.0)},
        {"threshold": 2.0},
        {"roi": np.ones((2, 2))},
        {"formats": ("npy",)},
        {"dtype": "float16"},
        {"size": (16, 24)},
        {"seed": 5},
        {"range": (0.0, 9.0)},
        {"overwrite": True},
    ):
        assert run(**changed) == (("a", "b", "c"), ()), changed


def test_files_that_contradict_the_new_sidecar_go(images, tmp_path):
    out = tmp_path / "out"
    predict_to_directory(images, BrightnessSegmenter(), Darkness(), out, ("png", "npy"), threshold=1.0)
    (out / "a_notes.txt").write_text("mine")
    predict_to_directory(images, BrightnessSegmenter(), Darkness(), out, ("npy",))
    assert names(out) == ["a.json", "a.npy", "a_notes.txt", "b.json", "b.npy", "c.json", "c.npy"]


def test_ctrl_c_keeps_what_is_done_and_a_second_run_finishes(images, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict_to_directory(images, BrightnessSegmenter(), Interrupting("b"), out)
    assert [path.stem for path in sorted(out.glob("*.json"))] == ["a"]
    assert leftovers(out) == []
    summary = predict_to_directory(images, BrightnessSegmenter(), Darkness(), out)
    assert (summary.done, summary.kept) == (("b", "c"), ("a",))


@pytest.mark.parametrize("fails_at", range(1, 9))
def test_a_full_disk_stops_with_whole_files_only(images, tmp_path, monkeypatch, fails_at):
    out = tmp_path / "out"
    calls = 0

    def fsync(handle):
        nonlocal calls
        calls += 1
        if calls >= fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("anomseg.files.os.fsync", fsync)
        with pytest.raises(DataError, match=r"No space left on device.*free some space"):
            predict_to_directory(images, BrightnessSegmenter(), Darkness(), out, ("png", "npy", "hdf5"))
    assert leftovers(out) == []
    assert len(names(out)) == fails_at - 1
    for path in out.iterdir():
        if path.suffix == ".png":
            Image.open(path).load()
        elif path.suffix != ".json":
            read_map(path)
    # A sidecar stands only beside a finished set.
    for sidecar in out.glob("*.json"):
        assert all((out / name).is_file() for name in json.loads(sidecar.read_text())["files"])
    assert predict_to_directory(images, BrightnessSegmenter(), Darkness(), out, ("png", "npy", "hdf5")).skipped == ()
    assert len(names(out)) == 15


def test_results_below_the_inputs_are_not_scored_again(images):
    for _ in range(2):
        summary = predict_to_directory([images], BrightnessSegmenter(), Darkness(), images / "out")
        assert summary.done + summary.kept == ("a", "b", "c")
        assert predict_to_directory([images], BrightnessSegmenter(), Darkness(), images / "other").skipped == ()
    assert len(list((images / "other").glob("*.json"))) == 3


@pytest.mark.parametrize(
    "options",
    [
        {"formats": ("pgn",)},
        {"formats": ()},
        {"dtype": "float61"},
        {"batch_size": 0},
        {"range": (1.0, 0.0)},
        {"threshold": float("nan")},
    ],
)
def test_wrong_options_are_refused_before_any_work(images, tmp_path, options):
    with pytest.raises(ConfigError):
        predict_to_directory(images, BrightnessSegmenter(), Darkness(), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_images_in_memory_are_written_too(tmp_path):
    summary = predict_to_directory([picture(0), picture(1)], BrightnessSegmenter(), Darkness(), tmp_path, ("npy",))
    assert summary.done == ("image-0", "image-1")


def test_real_photographs(shared_data, tmp_path):
    photos = sorted((shared_data / "anomaly" / "RoadAnomaly21" / "images").iterdir())[:1]
    summary = predict_to_directory(photos, BrightnessSegmenter(size=(128, 256)), Darkness(), tmp_path, ("png", "hdf5"))
    assert len(summary.done) == 1
    with Image.open(photos[0]) as photo:
        assert read_map(tmp_path / f"{summary.done[0]}.hdf5", photo.size[::-1]).std() > 0


def test_files_of_others_are_never_removed_or_replaced(images):
    (images / "b.npy").write_bytes(b"mine")
    (images / "c.json").write_text('{"shapes": []}')
    with pytest.raises(DataError, match=r"c\.json is no result of anomseg"):
        predict_to_directory(
            [images / f"{name}.png" for name in "abc"], BrightnessSegmenter(), Darkness(), images, ("png",)
        )
    assert (images / "b.npy").read_bytes() == b"mine"
    assert (images / "c.json").read_text() == '{"shapes": []}'
    assert not (images / "c_overlay.png").exists()
