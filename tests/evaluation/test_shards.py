"""Shards merge to exactly one run; doubled, missing and foreign ones are found."""

from __future__ import annotations

import json

import numpy as np
import pytest
from small_run import BENCHMARK, COUNT, TinySegmenter, write_tree

from anomseg.errors import ConfigError, DataError
from anomseg.evaluation import MapCache, evaluate, merge

DETECTORS = ["msp", "chance"]
APART = ("seconds", "frames_per_second", "shards")


def comparable(cards):
    return [{key: value for key, value in card.items() if key not in APART} for card in cards]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    return out, evaluate(BENCHMARK, tree, TinySegmenter(), DETECTORS, out)


@pytest.fixture(scope="module")
def shards(tree, tmp_path_factory):
    folders = [tmp_path_factory.mktemp(f"shard{index}") for index in range(3)]
    for index, folder in enumerate(folders):
        assert evaluate(BENCHMARK, tree, TinySegmenter(), DETECTORS, folder, shard=(index, 3)) == []
    return folders


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_merged_shards_equal_one_run(tmp_path, whole, shards, order):
    undivided, cards = whole
    merged = merge([shards[index] for index in order], tmp_path / "merged")
    assert comparable(merged) == comparable(cards)
    assert merged[0]["shards"] == 3
    assert merged[0]["component"] is not None
    assert merged[0]["pixel_ci95"] is not None
    for name in DETECTORS:
        one, two = tmp_path / "merged" / name, undivided / name
        assert (one / "per_image.csv").read_bytes() == (two / "per_image.csv").read_bytes()
        with np.load(one / "curve.npz") as merged_curve, np.load(two / "curve.npz") as curve:
            assert all(np.array_equal(merged_curve[key], curve[key]) for key in curve.files)
    written = json.loads((tmp_path / "merged" / "msp" / "metrics.json").read_text())
    assert written == merged[0]


def test_shard_takes_every_nth_frame_and_writes_no_figures(shards):
    assert sorted(path.stem for path in (shards[1] / "msp" / "maps").iterdir()) == ["1", "4"]
    assert not (shards[1] / "msp" / "metrics.json").exists()


def test_shards_keep_their_maps_and_merge_copies_them_when_asked(tmp_path, shards):
    merge(shards, tmp_path / "merged", keep_maps=True)
    for index in range(COUNT):
        there = MapCache(tmp_path / "merged" / "msp").read(str(index))
        assert np.array_equal(there, MapCache(shards[index % 3] / "msp").read(str(index)))


def test_missing_shard_is_named_by_its_frames(tmp_path, shards):
    with pytest.raises(DataError, match=r"2 of 7 frames are in no shard \(2, 5\)"):
        merge(shards[:2], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_doubled_shard_is_named_by_its_frames(tmp_path, shards):
    with pytest.raises(DataError, match=r"'0', '3', '6' are counted twice"):
        merge([*shards, shards[0]], tmp_path / "merged")


def test_unfinished_shard_lacks_frames(tree, tmp_path, shards):
    def interrupt(done, total, text):
        raise KeyboardInterrupt

    out = tmp_path / "first"
    with pytest.raises(KeyboardInterrupt):
        evaluate(BENCHMARK, tree, TinySegmenter(), DETECTORS, out, shard=(0, 3), on_progress=interrupt)
    with pytest.raises(DataError, match=r"2 of 7 frames are in no shard \(3, 6\)"):
        merge([out, *shards[1:]], tmp_path / "merged")


def test_shards_of_other_runs_do_not_merge(tree, tmp_path, shards):
    evaluate(BENCHMARK, tree, TinySegmenter(7), DETECTORS, tmp_path / "other", shard=(2, 3))
    with pytest.raises(ConfigError, match=r"of another run than .*segmenter differ"):
        merge([*shards[:2], tmp_path / "other"], tmp_path / "merged")


def test_merge_needs_shards(tmp_path):
    with pytest.raises(DataError, match="holds no run"):
        merge([tmp_path], tmp_path / "merged")
    with pytest.raises(ConfigError, match="no folders to merge"):
        merge([], tmp_path / "merged")


def test_merge_onto_a_shard_is_refused(shards):
    with pytest.raises(ConfigError, match="holds shard 0/3 of this run"):
        merge(shards, shards[0])


@pytest.mark.parametrize("shard", [(3, 3), (-1, 3), (0, 0)])
def test_impossible_shard(tree, tmp_path, shard):
    with pytest.raises(ConfigError, match="there is no shard"):
        evaluate(BENCHMARK, tree, TinySegmenter(), DETECTORS, tmp_path / "out", shard=shard)


def test_whole_run_does_not_continue_a_shard(tree, shards):
    with pytest.raises(ConfigError, match="holds shard 0/3"):
        evaluate(BENCHMARK, tree, TinySegmenter(), DETECTORS, shards[0])


def test_shard_without_anomalies_is_no_error(tmp_path):
    tree = write_tree(tmp_path / "data", clean=[1, 3, 5])
    whole = evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], tmp_path / "whole")
    folders = [tmp_path / "even", tmp_path / "odd"]
    for index, folder in enumerate(folders):
        evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], folder, shard=(index, 2))
    assert comparable(merge(folders, tmp_path / "merged")) == comparable(whole)


def test_more_shards_than_frames(tmp_path):
    tree = write_tree(tmp_path / "data", count=2)
    whole = evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], tmp_path / "whole")
    folders = [tmp_path / str(index) for index in range(3)]
    for index, folder in enumerate(folders):
        evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], folder, shard=(index, 3))
    assert comparable(merge(folders, tmp_path / "merged")) == comparable(whole)


def test_a_run_file_that_names_folders_elsewhere_is_refused(tmp_path):
    from anomseg.errors import DataError
    from anomseg.evaluation.run_folder import identity_of, read_record
    from anomseg.files import write_json

    content = {"detectors": {"../../evil": {}}, "frames": {}}
    record = {"identity": identity_of(content), "shard": None, "merged_from": 0, "folders": ["msp"], "run": content}
    write_json(tmp_path / "run.json", record)
    with pytest.raises(DataError, match="damaged"):
        read_record(tmp_path)
