"""Panels of wrong pixels, and foretold against true quality."""

import io

import numpy as np
from PIL import Image

from anomseg.report import failure_panel, quality_figure
from anomseg.report.cards import data_line, interval_line, quality_line
from anomseg.report.columns import FAILURE, QUALITY, classes_of, shown
from anomseg.report.failure_figure import quality_points
from anomseg.report.run_report import caption_of, worth
from anomseg.report.terminal import plain_table

CARD = {
    "task": "failure",
    "folder": "synthcp",
    "benchmark": "camvid",
    "split": "test",
    "frames": 3,
    "detector": {"name": "synthcp"},
    "pixels": {"right": 90, "wrong": 10, "void": 5},
    "prevalence": 0.1,
    "failure": {"aupr_error": 0.4, "aupr_success": 0.99, "nap": 0.33, "auroc": 0.9, "fpr95": 0.3, "fpr95_pooled": 0.31},
    "failure_ci95": None,
    "failure_ci95_reason": "1 of 1 groups",
    "class_quality": {
        "measure": "iou",
        "mae": 0.1,
        "std": 0.05,
        "pearson": 0.7,
        "spearman": None,
        "classes": {"road": {"mae": 0.02, "pearson": None}, "car.x": {"mae": 0.2, "pearson": 0.7}},
        "image": {"mae": 0.03, "pearson": 0.8, "spearman": 0.6},
        "unscored": ["rider"],
        "ci95": {"pearson": [0.5, 0.9], "image_pearson": [0.6, 0.95]},
    },
}


def panel(error_map, **options):
    image = np.full((60, 80, 3), 90, np.uint8)
    judged = np.zeros((60, 80), np.uint8)
    judged[10:30, 10:30] = 1
    judged[40:] = 255
    classes = np.zeros((60, 80), np.uint8)
    classes[:, 40:] = 1
    return failure_panel(image, classes, judged, error_map, ((0, 0, 200), (0, 200, 0)), cell_width=80, **options)


def test_wrong_pixels_are_red_and_the_map_is_there_where_there_is_one():
    with_map = panel(np.linspace(0, 1, 4800, dtype=np.float32).reshape(60, 80), classes=("road", "car"))
    without = panel(None, classes=("road", "car"))
    assert with_map.shape[1] > without.shape[1] + 80
    red = (without[..., 0] > 170) & (without[..., 1] < 80) & (without[..., 2] < 80)
    assert red.sum() == 400, "twenty by twenty pixels are wrong"
    titled = panel(None, title="a frame")
    assert titled.shape[0] > without.shape[0]


def test_a_point_for_each_image():
    rows = [
        {"frame": "a", "predicted_quality": 0.5, "true_quality": 0.4},
        {"frame": "b", "predicted_quality": None, "true_quality": 0.4},
    ]
    points = quality_points(rows, 0.7)
    assert points == {"predicted": [0.5], "true": [0.4], "pearson": 0.7}
    assert quality_points(rows[1:], None) is None
    drawn = quality_figure({"synthcp": points, "tcp": {**points, "pearson": None}}, controls=())
    assert Image.open(io.BytesIO(drawn)).size[0] > 400


def test_frames_are_chosen_by_precision_or_by_how_close_the_quality_is():
    assert worth({"ap": 0.3, "predicted_quality": 0.5, "true_quality": 0.9}) == 0.3
    assert worth({"ap": None, "predicted_quality": 0.5, "true_quality": 0.75}) == -0.25
    assert worth({"ap": None, "true_quality": 0.75}) is None
    told = caption_of({"frame": "a", "ap": 0.25, "predicted_quality": 0.5, "true_quality": 0.75})
    assert told == "a   AP 0.250   foretold overlap 0.500   true overlap 0.750"


def test_cards_are_read_with_their_intervals():
    assert [figure.label for figure in shown(FAILURE, [CARD])][:3] == ["AUPR-Error", "nAP", "AUPR-Success"]
    assert "Spearman" not in [figure.label for figure in shown(QUALITY, [CARD])]
    limits = {figure.label: figure.interval(CARD) for figure in QUALITY}
    assert limits["Pearson"] == (0.5, 0.9)
    assert limits["Pearson of images"] == (0.6, 0.95)
    assert {figure.label: figure.of(CARD) for figure in classes_of("mae", [CARD])} == {"road": 0.02, "car.x": 0.2}
    assert "right 90, wrong 10, void 5" in data_line(CARD)
    assert (
        quality_line(CARD)
        == "iou of the classes that an image shows; not told of rider, whose pixels other classes share"
    )
    assert interval_line(CARD) == "none, 1 of 1 groups"
    assert "AUPR-Error" in plain_table([CARD])
