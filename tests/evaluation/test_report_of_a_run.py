"""From a run on disk to what its page is given: the same counts, and the masks of the same scores."""

import base64
import io
import json
import re

import numpy as np
import torch
from PIL import Image
from small_run import BENCHMARK, COUNT, TinySegmenter, write_tree

from anomseg.evaluation import make_plan, merge, run_plan
from anomseg.report import write_run_report

CPU = torch.device("cpu")


def data_of(page) -> dict:
    text = page.read_text("utf-8")
    return json.loads(re.search(r'id="explorer-data">(.*?)</script>', text, re.DOTALL)[1])


def opened(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_the_page_holds_counts_and_masks_of_the_run(tmp_path):
    root, out = write_tree(tmp_path / "data", clean=(2,)), tmp_path / "out"
    plan = make_plan(BENCHMARK, root, TinySegmenter(), ["energy", "msp", "position_prior"])
    cards = run_plan(plan, out, CPU, keep_maps=True)
    data = data_of(write_run_report(out, cards, plan=plan))
    assert [one["name"] for one in data["detectors"]] == ["energy", "msp", "position_prior"]
    assert [one["control"] for one in data["detectors"]] == [False, False, True]
    assert [frame["id"] for frame in data["frames"]] == [frame.id for frame in plan.frames]
    labels = {frame.id: frame.label for frame in plan.frames}
    for index, (detector, card) in enumerate(zip(data["detectors"], cards, strict=True)):
        maps = {frame.id: np.load(out / detector["name"] / "maps" / f"{frame.id}.npy") for frame in plan.frames}
        assert (detector["anomaly"], detector["inlier"]) == (card["pixels"]["anomaly"], card["pixels"]["inlier"])
        assert detector["thresholds"][detector["best_f1"]] == card["pixel"]["best_f1_threshold"]
        assert detector["fp"][detector["recall95"]] / detector["inlier"] == card["pixel"]["fpr95"]
        assert [size["ap"] for size in detector["sizes"]] == [size["ap"] for size in card["object_sizes"]]
        for place in (0, detector["best_f1"], len(detector["thresholds"]) - 1):
            threshold = detector["thresholds"][place]
            hits = sum(int(((maps[name] >= threshold) & (labels[name] == 1)).sum()) for name in maps)
            alarms = sum(int(((maps[name] >= threshold) & (labels[name] == 0)).sum()) for name in maps)
            assert (detector["tp"][place], detector["fp"][place]) == (hits, alarms)
            for frame in data["frames"]:
                levels = opened(frame["maps"][index]["levels"])
                assert np.array_equal(levels > place, maps[frame["id"]].astype(np.float64) >= threshold)
        assert detector["classes"] == ["road", "building", "car", "sky"]
    for frame in data["frames"]:
        assert np.array_equal(opened(frame["truth"]), labels[frame["id"]])
        assert opened(frame["classes"][0]).max() < 4


def test_few_frames_may_be_asked_for(tmp_path):
    root, out = write_tree(tmp_path / "data"), tmp_path / "out"
    plan = make_plan(BENCHMARK, root, TinySegmenter(), ["energy"])
    cards = run_plan(plan, out, CPU)
    assert len(data_of(write_run_report(out, cards, plan=plan, frames_shown=2))["frames"]) == 2
    assert len(data_of(write_run_report(out, cards, plan=plan))["frames"]) == COUNT


def test_merged_shards_have_curves_and_no_frames(tmp_path):
    root = write_tree(tmp_path / "data")
    for index in range(2):
        plan = make_plan(BENCHMARK, root, TinySegmenter(), ["energy"], shard=(index, 2))
        run_plan(plan, tmp_path / str(index), CPU)
    cards = merge([tmp_path / "0", tmp_path / "1"], tmp_path / "merged")
    data = data_of(write_run_report(tmp_path / "merged", cards))
    assert data["frames"] == []
    assert len(data["detectors"][0]["thresholds"]) > 50
    assert sum(size["objects"] for size in data["detectors"][0]["sizes"]) > 0


def test_a_run_whose_state_is_gone_has_its_plain_report(tmp_path):
    import shutil

    root, out = write_tree(tmp_path / "data"), tmp_path / "out"
    plan = make_plan(BENCHMARK, root, TinySegmenter(), ["energy"])
    cards = run_plan(plan, out, CPU)
    shutil.rmtree(out / "energy" / "state")
    text = write_run_report(out, cards, plan=plan).read_text("utf-8")
    assert 'id="explorer-data"' not in text
    assert "energy, best frames, 1" in text
