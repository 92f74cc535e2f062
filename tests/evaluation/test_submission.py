"""Submissions to SegmentMeIfYouCan: whole, exact, checked; on small trees in the official layout."""

import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from small_run import TinySegmenter

sys.path.insert(0, str(Path(__file__).parent.parent / "data"))
from trees import OBSTACLE_NIGHT, OBSTACLE_SNOW, OBSTACLE_TEST, anomaly_track, obstacle_track

from anomseg.benchmarks import get_benchmark
from anomseg.detectors import create_detector
from anomseg.errors import AnomsegError, ConfigError, DataError
from anomseg.evaluation import evaluate, submit

TEST = ("cow0003", "boat_trailer0001", "piano0000")


def complete(name: str, **counts: int):
    """The benchmark, as if it had only so many frames a split."""
    bench = get_benchmark(name)
    splits = tuple(replace(split, expected=counts[split.name]) for split in bench.spec.splits)
    return replace(bench, spec=replace(bench.spec, splits=splits))


ANOMALY = complete("road_anomaly_21", validation=3, test=3)
OBSTACLE = complete("road_obstacle_21", validation=3, test=3, night=1, snowstorm=2)


@pytest.fixture
def tree(tmp_path):
    return anomaly_track(tmp_path / "dataset_AnomalyTrack", test=TEST)


def run(tree, out, bench=ANOMALY, detector="max_logit", **options):
    return submit(bench, tree, TinySegmenter(), create_detector(detector), out, **options)


def stored(path):
    with h5py.File(path) as file:
        return file["value"][()], file["value"].compression, file["value"].compression_opts, list(file)


def test_every_frame_in_the_layout_of_the_challenge(tree, tmp_path):
    made = run(tree, tmp_path / "out", method="Mine-v1", archive=True)
    folder = tmp_path / "out" / "anomaly_p" / "Mine-v1" / "AnomalyTrack-all"
    assert made.folder == folder
    names = sorted([*(f"validation{index:04d}" for index in range(3)), *TEST])
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.hdf5" for name in names]
    for name in names:
        score, compression, level, keys = stored(folder / f"{name}.hdf5")
        assert (score.dtype, score.shape, keys) == (np.float16, (8, 12), ["value"])
        assert (compression, level) == ("gzip", 9)
        assert np.isfinite(score).all()
    assert (made.frames, made.labelled) == (6, 3)
    with zipfile.ZipFile(made.archive) as archive:
        assert sorted(archive.namelist()) == [f"anomaly_p/Mine-v1/AnomalyTrack-all/{name}.hdf5" for name in names]
        assert archive.read(archive.namelist()[0]) == (folder / Path(archive.namelist()[0]).name).read_bytes()
    record = json.loads((tmp_path / "out" / "Mine-v1-AnomalyTrack-all.json").read_text())
    assert record["checked"] is True
    assert record["frames"] == 6


def test_average_precision_is_that_of_the_evaluation_up_to_rounding(tree, tmp_path):
    made = run(tree, tmp_path / "out")
    card = evaluate(ANOMALY, tree, TinySegmenter(), ["max_logit"], layout="official")[0]
    assert made.ap["direct"] == card["pixel"]["ap"]
    back = evaluate(ANOMALY, tree, scores=tmp_path / "out", layout="official")[0]
    assert back["frames"] == 3
    assert back["pixel"]["ap"] == made.ap["submitted"]
    assert made.ap["rounding"] == made.ap["submitted"] - made.ap["direct"]
    assert abs(made.ap["rounding"]) < 0.02


def test_obstacle_track_keeps_dots_in_names_and_takes_all_splits(tmp_path):
    tree = obstacle_track(tmp_path / "dataset_ObstacleTrack")
    made = run(tree, tmp_path / "out", OBSTACLE)
    assert made.folder.name == "ObstacleTrack-all"
    names = {path.name.removesuffix(".hdf5") for path in made.folder.iterdir()}
    assert names == {"validation_1", "validation_2", "validation_10", *OBSTACLE_TEST, *OBSTACLE_SNOW, *OBSTACLE_NIGHT}
    run(anomaly_track(tmp_path / "dataset_AnomalyTrack", test=TEST), tmp_path / "out")
    assert sorted(path.name for path in made.folder.parent.iterdir()) == ["AnomalyTrack-all", "ObstacleTrack-all"]


def test_a_missing_frame_is_an_error_unless_allowed(tree, tmp_path):
    (tree / "images" / "cow0003.jpg").unlink()
    with pytest.raises(DataError, match=r"split test of road_anomaly_21 has 3 frames, 2 are in .*needs every frame"):
        run(tree, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    made = run(tree, tmp_path / "out", allow_missing=True)
    assert made.frames == 5
    assert "no whole submission" in made.notes[0]
    for name in TEST:
        (tree / "images" / f"{name}.jpg").unlink(missing_ok=True)
    with pytest.raises(DataError, match="no frames of split 'test'"):
        run(tree, tmp_path / "none")
    assert run(tree, tmp_path / "few", allow_missing=True).frames == 3


def test_a_broken_image_is_named_and_the_rest_is_kept(tree, tmp_path):
    good = (tree / "images" / "cow0003.jpg").read_bytes()
    (tree / "images" / "cow0003.jpg").write_bytes(good[: len(good) // 2])
    with pytest.raises(DataError, match=r"1 of 6 frames could not be scored \(cow0003: .*not whole"):
        run(tree, tmp_path / "out")
    (tree / "images" / "cow0003.jpg").write_bytes(good)
    with pytest.raises(ConfigError, match="--overwrite"):  # the image is another one now
        run(tree, tmp_path / "out")
    assert run(tree, tmp_path / "out", overwrite=True).kept == 0


def test_an_interrupted_submission_goes_on(tree, tmp_path):
    def interrupt(done, total, text):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tree, tmp_path / "out", on_progress=interrupt)
    made = run(tree, tmp_path / "out")
    assert made.kept == 2  # those with ground truth are scored anew
    assert made.ap is not None
    whole = run(tree, tmp_path / "whole")
    for path in whole.folder.iterdir():
        assert np.array_equal(stored(path)[0], stored(made.folder / path.name)[0])


@pytest.mark.parametrize("fault", ["type", "size", "nan", "key", "cut", "value", "stranger"])
def test_every_fault_of_a_file_is_found(tree, tmp_path, fault, monkeypatch):
    import anomseg.evaluation.submission as module

    plain = module.write_hdf5

    def write(path, score):
        plain(path, score)
        if path.stem != ("validation0001" if fault == "value" else "cow0003"):
            return
        if fault == "cut":
            path.write_bytes(path.read_bytes()[:200])
            return
        if fault == "stranger":
            plain(path.parent / "dog.hdf5", score)
            return
        changed = {
            "type": score.astype(np.float32),
            "size": score[1:].astype(np.float16),
            "nan": np.full_like(score, np.nan, dtype=np.float16),
            "key": score.astype(np.float16),
            "value": score[::-1, ::-1].astype(np.float16),
        }[fault]
        with h5py.File(path, "w") as file:
            file["score" if fault == "key" else "value"] = changed

    monkeypatch.setattr(module, "write_hdf5", write)
    words = {
        "type": "float32",
        "size": "7x12",
        "nan": "NaN",
        "key": "value",
        "cut": "cow0003",
        "value": "not what was written",
        "stranger": "dog",
    }
    with pytest.raises(DataError, match=words[fault]) as caught:
        run(tree, tmp_path / "out")
    assert "\n" not in str(caught.value)
    record = json.loads((tmp_path / "out" / "max_logit-AnomalyTrack-all.json").read_text())
    assert record["checked"] is False


def test_scores_beyond_float16_are_refused(tree, tmp_path):
    detector = create_detector("max_logit")
    plain = detector.score
    detector.score = lambda scene: plain(scene) * 1e6
    with pytest.raises(DataError, match="float16"):
        submit(ANOMALY, tree, TinySegmenter(), detector, tmp_path / "out")


def test_other_settings_do_not_mix(tree, tmp_path):
    run(tree, tmp_path / "out", method="m")
    with pytest.raises(ConfigError, match="other settings"):
        run(tree, tmp_path / "out", method="m", detector="msp")
    run(tree, tmp_path / "out", method="m", detector="msp", overwrite=True)
    assert run(tree, tmp_path / "out", method="m", detector="msp").kept == 3


@pytest.mark.parametrize("method", ["a/b", "..", "", ".hidden", "x" * 90])
def test_names_that_cannot_name_a_folder(tree, tmp_path, method):
    with pytest.raises(AnomsegError) if method else _nothing():
        run(tree, tmp_path / "out", method=method)


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


def test_other_benchmarks_are_no_tracks(tree, tmp_path):
    with pytest.raises(ConfigError, match="no track"):
        submit("camvid", tree, TinySegmenter(), create_detector("msp"), tmp_path / "out")


def test_the_repackaged_layout_has_not_the_names_of_the_challenge(tmp_path):
    for index in range(3):
        for folder in ("images", "labels_masks"):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((8, 12), np.uint8)).save(tmp_path / "data" / folder / f"{index}.png")
    with pytest.raises(DataError):
        run(tmp_path / "data", tmp_path / "out")
