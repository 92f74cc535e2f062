"""LostAndFound's test frames are a track of the challenge: all of them, under the challenge's own name."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_run import TinySegmenter

sys.path.insert(0, str(Path(__file__).parent.parent / "data"))
from road_trees import LAF_TEST, lost_and_found

from anomseg.benchmarks import get_benchmark
from anomseg.detectors import create_detector
from anomseg.errors import DataError
from anomseg.evaluation import evaluate, submit


def sized(count: int):
    bench = get_benchmark("lost_and_found")
    splits = tuple(replace(split, expected=count) if split.name == "test" else split for split in bench.spec.splits)
    return replace(bench, spec=replace(bench.spec, splits=splits))


def test_all_test_frames_are_submitted_and_agree_with_the_evaluation(tmp_path):
    root = lost_and_found(tmp_path / "dataset_LostAndFound")
    made = submit(sized(4), root, TinySegmenter(), create_detector("max_logit"), tmp_path / "out", method="mine")
    assert made.folder == tmp_path / "out" / "anomaly_p" / "mine" / "LostAndFound-test"
    assert {path.name for path in made.folder.iterdir()} == {f"{name}.hdf5" for name in LAF_TEST}
    assert (made.frames, made.labelled) == (4, 4)
    card = evaluate(sized(4), root, TinySegmenter(), ["max_logit"], layout="official", split="test")[0]
    assert made.ap["direct"] == card["pixel"]["ap"]
    assert np.isfinite(made.ap["submitted"])


def test_a_part_of_the_frames_is_no_submission(tmp_path):
    root = lost_and_found(tmp_path)
    with pytest.raises(DataError, match="split test of lost_and_found has 1203 frames, 4 are in"):
        submit("lost_and_found", root, TinySegmenter(), create_detector("max_logit"), tmp_path / "out")
