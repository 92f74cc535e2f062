"""The paste control on result cards: against plain counts, in shards, and where there is none."""

import numpy as np
import pytest
from PIL import Image
from small_run import BENCHMARK, TinySegmenter, write_tree

from anomseg.data import load_frames
from anomseg.data.pasted import Manifest, PastedFrame, PasteOptions, control_map, has_control
from anomseg.data.pasted.manifest import write_manifest
from anomseg.evaluation import MapCache, evaluate, merge

SIZE = (24, 32)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Frames with an anomaly, a pasted and an untouched car, and cars on a frame where none was pasted."""
    folder = tmp_path_factory.mktemp("pasted")
    rng = np.random.default_rng(8)
    names = [f"{sequence}_{number}" for sequence in ("0001TP", "Seq05VD") for number in range(4)]
    for place, name in enumerate(names):
        image = rng.integers(40, 200, (*SIZE, 3))
        label, classes, control = np.zeros(SIZE), np.full(SIZE, 3), np.zeros(SIZE)
        label[2:8, 2:12], classes[2:8, 2:12] = 1, 255
        image[2:8, 2:12, 0] = 255
        classes[12:20, 4 + place :] = 8
        if place % 4 != 3:
            control[12:20, 20:26] = 1
        label[:1], classes[:1] = 255, 255
        maps = (("images", image), ("labels_masks", label), ("classes", classes), ("control", control))
        for part, array in maps:
            (folder / part).mkdir(exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(folder / part / f"{name}.png")
    frames = tuple(PastedFrame(name, "0" * 64, "0" * 64) for name in names)
    write_manifest(folder, Manifest("camvid", "test", PasteOptions(), frames))
    return folder


def expected(root, maps, threshold):
    """Shares of pasted and of untouched pixels at or above a threshold, frame by frame."""
    flagged = {"pasted": [], "untouched": []}
    for frame in load_frames("pasted", root):
        score, control, classes, label = maps.read(frame.id), control_map(frame), frame.classes, frame.label
        if not control.any():
            continue
        flagged["pasted"].append(score[control == 1] >= threshold)
        flagged["untouched"].append(score[(control == 0) & (classes == 8) & (label == 0)] >= threshold)
    return {name: np.concatenate(parts) for name, parts in flagged.items()}


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    (card,) = evaluate("pasted", root, TinySegmenter(), ["msp"], out, keep_maps=True)
    return out, card


def test_shares_are_counts_of_the_maps(root, whole):
    out, card = whole
    control = card["paste_control"]
    assert card["paste_control_reason"] is None
    assert control["at_tpr95"]["all_inliers"] == card["pixel"]["fpr95"]
    assert control["at_best_f1"]["threshold"] == card["pixel"]["best_f1_threshold"]
    for point in ("at_tpr95", "at_fpr", "at_best_f1"):
        counted = expected(root, MapCache(out / "msp"), control[point]["threshold"])
        for name, flags in counted.items():
            assert control[point][name] == pytest.approx(flags.mean(), abs=1e-15)
            assert control["pixels"][name] == flags.size
    low, high = control["at_tpr95_ci95"]["pasted"]
    assert 0 <= low <= high <= 1


def test_shards_merge_to_the_same_figures(root, whole, tmp_path):
    folders = [tmp_path / f"part{index}" for index in range(2)]
    for index, folder in enumerate(folders):
        evaluate("pasted", root, TinySegmenter(), ["msp"], folder, shard=(index, 2))
    (merged,) = merge(folders, tmp_path / "merged")
    assert merged["paste_control"] == whole[1]["paste_control"]


def test_a_set_without_control_maps_says_so(tmp_path):
    write_tree(tmp_path / "data")
    frames = BENCHMARK.load_frames(tmp_path / "data", "validation")
    assert not any(has_control(frame) for frame in frames)
    (card,) = evaluate(BENCHMARK, tmp_path / "data", TinySegmenter(), ["msp"], tmp_path / "out")
    assert card["paste_control"] is None
    assert "no map of pasted inliers" in card["paste_control_reason"]


def test_a_folder_in_which_no_inlier_is_pasted_says_so(root, tmp_path):
    (card,) = evaluate("pasted", only(root, tmp_path / "data", "0001TP_3"), TinySegmenter(), ["msp"], tmp_path / "out")
    assert card["paste_control"] is None
    assert "no frame with a pasted inlier" in card["paste_control_reason"]


def only(root, folder, name):
    """The same folder with one frame."""
    for part in ("images", "labels_masks", "classes", "control"):
        (folder / part).mkdir(parents=True)
        (folder / part / f"{name}.png").write_bytes((root / part / f"{name}.png").read_bytes())
    write_manifest(folder, Manifest("camvid", "test", PasteOptions(), (PastedFrame(name, "0" * 64, "0" * 64),)))
    return folder
