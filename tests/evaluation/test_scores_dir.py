"""Anybody's maps: the same figures as the run that wrote them, and bad maps are named."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest
from small_run import BENCHMARK, COUNT, TinySegmenter, write_tree

from anomseg.errors import DataError, FrameError
from anomseg.evaluation import ScoresDirectory, evaluate
from anomseg.evaluation.scores_dir import resize_map

FIGURES = ("pixel", "pixel_ci95", "per_image_mean", "component", "frames", "pixels", "fpr95_by_rule")


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "data")


@pytest.fixture
def run(tree, tmp_path):
    return evaluate(BENCHMARK, tree, TinySegmenter(), ["max_logit"], tmp_path / "run", keep_maps=True)[0]


@pytest.fixture
def maps(run, tmp_path):
    return shutil.copytree(tmp_path / "run" / "max_logit" / "maps", tmp_path / "mine")


def test_dumped_maps_give_the_figures_of_the_run(tree, tmp_path, run, maps):
    card = evaluate(BENCHMARK, tree, scores=maps, out=tmp_path / "out")[0]
    assert {name: card[name] for name in FIGURES} == {name: run[name] for name in FIGURES}
    assert card["folder"] == "mine"
    assert card["segmenter"] is None
    assert card["mdm"] is None
    assert (tmp_path / "out" / "mine" / "metrics.json").is_file()


@pytest.mark.parametrize("start", ["", "anomaly_p", "anomaly_p/mine", "anomaly_p/mine/AnomalyTrack-all"])
def test_layout_of_the_smiyc_exchange(tree, tmp_path, maps, start):
    folder = tmp_path / "outputs" / "anomaly_p" / "mine" / "AnomalyTrack-all"
    folder.mkdir(parents=True)
    scores = {path.stem: np.load(path).astype(np.float16) for path in maps.iterdir()}
    for name, score in scores.items():
        with h5py.File(folder / f"{name}.hdf5", "w") as file:
            file.create_dataset("value", data=score, compression="gzip", compression_opts=9)
        np.save(maps / f"{name}.npy", score.astype(np.float32))
    one = evaluate(BENCHMARK, tree, scores=tmp_path / "outputs" / start)[0]
    two = evaluate(BENCHMARK, tree, scores=maps)[0]
    assert one["pixel"] == two["pixel"]


def test_small_maps_are_resized_and_others_skipped(tree, tmp_path, maps):
    score = np.load(maps / "2.npy")
    np.save(maps / "2.npy", score[::2, ::2])
    np.save(maps / "4.npy", score[:, :32])
    card = evaluate(BENCHMARK, tree, scores=maps)[0]
    assert card["frames"] == COUNT - 1
    assert [item["frame"] for item in card["skipped"]] == ["4"]
    assert "32x32 and the label 32x40" in card["skipped"][0]["reason"]


def test_missing_and_broken_maps_are_named_skips(tree, tmp_path, maps):
    (maps / "0.npy").unlink()
    (maps / "1.npy").write_bytes(b"not an array")
    score = np.load(maps / "5.npy")
    score[3, 3] = np.nan
    np.save(maps / "5.npy", score)
    card = evaluate(BENCHMARK, tree, scores=maps)[0]
    reasons = {item["frame"]: item["reason"] for item in card["skipped"]}
    assert list(reasons) == ["0", "1", "5"]
    assert "no map in" in reasons["0"]
    assert "cannot be read" in reasons["1"]
    assert "1 NaN or infinite" in reasons["5"]
    assert card["frames"] == COUNT - 3


def test_changed_maps_are_another_run(tree, tmp_path, maps):
    evaluate(BENCHMARK, tree, scores=maps, out=tmp_path / "out")
    np.save(maps / "3.npy", np.load(maps / "3.npy") + 1)
    with pytest.raises(Exception, match=r"another run \(detectors differ\)"):
        evaluate(BENCHMARK, tree, scores=maps, out=tmp_path / "out")


def test_all_maps_missing(tree, tmp_path, maps):
    for path in list(maps.iterdir()):
        path.rename(maps / f"other_{path.name}")
    with pytest.raises(DataError, match="none of 7 frames could be evaluated; the first because: 0: no map in"):
        evaluate(BENCHMARK, tree, scores=maps, out=tmp_path / "out")
    assert not (tmp_path / "out" / "run.json").exists()


def test_folder_without_maps(tree, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, words in (
        (tmp_path / "empty", "holds no score maps"),
        (tmp_path / "nowhere", "no folder of score maps"),
    ):
        with pytest.raises(DataError, match=words):
            evaluate(BENCHMARK, tree, scores=folder)


def test_two_methods_in_one_folder_are_not_mixed(tmp_path):
    for method in ("a", "b"):
        (tmp_path / method).mkdir()
        np.save(tmp_path / method / "7.npy", np.zeros((2, 2), np.float32))
    with pytest.raises(DataError, match="several maps of 7"):
        ScoresDirectory(tmp_path).find("7")


def test_most_exact_type_and_dots_in_names(tmp_path):
    for name in ("snow_00.578.npy", "snow_00.578.png", "0001_anomaly.npy", "snow_00.npy"):
        (tmp_path / name).write_bytes(b"x")
    scores = ScoresDirectory(tmp_path, "mine")
    assert scores.find("snow_00.578").name == "snow_00.578.npy"
    assert scores.find("0001").name == "0001_anomaly.npy"
    assert scores.find("snow") is None


def test_resize_is_bilinear_without_aligned_corners():
    score = np.array([[0.0, 1.0]], np.float32)
    assert np.allclose(resize_map(np.repeat(score, 2, 0), (4, 4), "a")[0], [0, 0.25, 0.75, 1])
    with pytest.raises(FrameError, match="uniform scale"):
        resize_map(score, (4, 4), "a")
