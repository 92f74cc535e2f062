"""Figures in a band around anomalous objects: against scikit-learn on the pixels that a plain search finds there."""

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from small_run import BENCHMARK, COUNT, TinySegmenter, write_tree

from anomseg.detectors import create_detector
from anomseg.errors import ConfigError
from anomseg.evaluation import MapCache, evaluate


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = write_tree(tmp_path_factory.mktemp("data"), clean=(2,))
    out = tmp_path_factory.mktemp("out")
    cards = evaluate(BENCHMARK, root, TinySegmenter(), ["msp", "chance"], out, bands=[4, 2, 4], keep_maps=True)
    return root, out, cards


def near(odd, width):
    """Pixels of which a pixel of the other kind lies within ``width``, by shifting the picture about."""
    found = np.zeros(odd.shape, bool)
    reach = int(width)
    padded = np.pad(odd.astype(int), reach, constant_values=-1)
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            if row**2 + column**2 <= width**2:
                rows = slice(reach + row, reach + row + odd.shape[0])
                shifted = padded[rows, reach + column : reach + column + odd.shape[1]]
                found |= (shifted >= 0) & (shifted != odd)
    return found


@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("row", [0, 1])
def test_figures(finished, width, row):
    root, out, cards = finished
    part = cards[row]["bands"][str(width)]
    scores, truths = [], []
    for index in range(COUNT):
        label = np.asarray(Image.open(root / "labels_masks" / f"{index}.png"))
        band = near(label == 1, width) & (label != 255)
        scores.append(MapCache(out / cards[row]["folder"]).read(str(index))[band])
        truths.append(label[band] == 1)
    score, truth = np.concatenate(scores), np.concatenate(truths)
    fpr, tpr, _ = roc_curve(truth, score, drop_intermediate=False)
    assert part["ap"] == pytest.approx(average_precision_score(truth, score), abs=1e-12)
    assert part["auroc"] == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    assert part["fpr95"] == pytest.approx(fpr[np.argmax(tpr >= 0.95)], abs=1e-12)
    assert part["pixels"] == {"inlier": int((~truth).sum()), "anomaly": int(truth.sum())}
    assert part["prevalence"] == pytest.approx(truth.mean())
    low, high = part["ci95"]["ap"]
    assert low - 0.02 <= part["ap"] <= high + 0.02
    assert part["ci95"]["groups"] == COUNT


def test_widths_once_each_and_everything_else_as_without(finished):
    root, _, cards = finished
    assert list(cards[0]["bands"]) == ["2", "4"]
    plain = evaluate(BENCHMARK, root, TinySegmenter(), ["msp", "chance"])
    for card, other in zip(cards, plain, strict=True):
        assert other["bands"] is None
        for key in ("pixel", "pixel_ci95", "component", "per_image_mean"):
            assert card[key] == other[key]


def test_anybodys_maps(finished):
    root, out, cards = finished
    (card,) = evaluate(BENCHMARK, root, scores=out / "msp" / "maps", bands=[4])
    assert card["bands"]["4"] == cards[0]["bands"]["4"]


def test_void_all_around_the_objects(tmp_path):
    root = write_tree(tmp_path, count=2)
    for index in range(2):
        path = root / "labels_masks" / f"{index}.png"
        label = np.asarray(Image.open(path)).copy()
        label[near(label == 1, 3) & (label != 1)] = 255
        Image.fromarray(label).save(path)
    (card,) = evaluate(BENCHMARK, root, TinySegmenter(), [create_detector("msp")], bands=[3])
    (part,) = card["bands"].values()
    assert part["ap"] is None
    assert "nothing but void" in part["reason"]


def test_bands_that_make_no_sense(finished):
    with pytest.raises(ConfigError, match="band of 0 pixels"):
        evaluate(BENCHMARK, finished[0], TinySegmenter(), ["msp"], bands=[10, 0])
