"""Every benchmark of a small tree is evaluated from its files to its card, under its own labels."""

import sys
from pathlib import Path

import numpy as np
import pytest
from small_run import TinySegmenter

sys.path.insert(0, str(Path(__file__).parent.parent / "data"))
import road_trees

from anomseg.data import load_frames
from anomseg.evaluation import evaluate

RUNS = {
    "lost_and_found": (road_trees.lost_and_found, "test"),
    "lost_and_found:variant=anomaly": (road_trees.lost_and_found, "test"),
    "vistas_np": (road_trees.vistas, "test"),
    "muad": (road_trees.muad, "test_ood"),
    "camvid_ood": (road_trees.camvid_ood, "test"),
    "issu": (road_trees.issu, "temporal"),
    "issu:track=obstacle": (road_trees.issu, "static"),
    "ade_ood": (road_trees.ade_ood, "test"),
    "oodis": (road_trees.oodis, "validation"),
}


@pytest.mark.parametrize("name", RUNS)
def test_cards_count_the_pixels_of_the_labels(tmp_path, name):
    write, split = RUNS[name]
    root = write(tmp_path)
    card = evaluate(name, root, TinySegmenter(), ["max_logit"], split=split)[0]
    labels = np.concatenate([frame.label.ravel() for frame in load_frames(name, root, split)])
    # Pixels of a frame that is void throughout (one of LostAndFound's is) may or may not be counted as such.
    counts = {"inlier": int((labels == 0).sum()), "anomaly": int((labels == 1).sum())}
    assert {key: card["pixels"][key] for key in counts} == counts
    assert card["pixels"]["anomaly"] > 0
    assert card["protocol"]["split"] == split
    assert 0 < card["pixel"]["ap"] <= 1


def test_the_card_says_which_labels_and_which_region(tmp_path):
    root = road_trees.lost_and_found(tmp_path)
    usual, whole = (
        evaluate(name, root, TinySegmenter(), ["max_logit"], split="test")[0]["protocol"]
        for name in ("lost_and_found", "lost_and_found:variant=anomaly")
    )
    assert (usual["label_table"], whole["label_table"]) == (
        "LostAndFound (obstacle) (0:255,1:0,2-200:1)",
        "LostAndFound (anomaly) (0-1:0,2-200:1)",
    )
    assert usual["roi"] == "all pixels that are not void"
    assert "LAF_roi_2048.png" in whole["roi"]
