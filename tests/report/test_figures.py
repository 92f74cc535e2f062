import io

import numpy as np
import pytest
from PIL import Image
from report_parts import picture
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from anomseg.report import contact_sheet, frame_panel, pr_curve_figure, roc_curve_figure
from anomseg.report.figures import MAX_POINTS, _thinned


def opened(data: bytes) -> np.ndarray:
    assert data.startswith(b"\x89PNG")
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.fixture(scope="module")
def curves() -> dict:
    rng = np.random.default_rng(0)
    labels = rng.random(5000) < 0.1
    scores = rng.normal(size=5000) + labels
    precision, recall, _ = precision_recall_curve(labels, scores)
    fpr, tpr, _ = roc_curve(labels, scores)
    return {
        "pr": {"precision": precision, "recall": recall, "ap": 0.31, "prevalence": 0.1},
        "roc": {"fpr": fpr, "tpr": tpr, "auroc": 0.76, "fpr95": None},
    }


@pytest.mark.parametrize(("draw", "kind"), [(pr_curve_figure, "pr"), (roc_curve_figure, "roc")])
def test_curves_are_pictures_and_deterministic(draw, kind, curves):
    names = ["energy", "_hidden", "$x_{", "a" * 200, "line\nbreak\x00", "chance", *(f"d{index}" for index in range(9))]
    given = dict.fromkeys(names, curves[kind])
    first = draw(given, title="$broken{ title", note="protocol " * 40)
    assert first == draw(given, title="$broken{ title", note="protocol " * 40)
    image = opened(first)
    assert image.shape[1] > 800
    # Nothing is cut off at the edges.
    for edge in (image[0], image[-1], image[:, 0], image[:, -1]):
        assert (edge == 255).all()


@pytest.mark.parametrize("draw", [pr_curve_figure, roc_curve_figure])
def test_no_curves_give_empty_axes(draw):
    assert opened(draw({})).shape[2] == 3


def test_thinning_keeps_the_area_and_the_ends():
    rng = np.random.default_rng(0)
    labels = rng.random(200_000) < 0.2
    scores = rng.normal(size=labels.size) + 1.5 * labels
    precision, recall, _ = precision_recall_curve(labels, scores)
    x, y = _thinned(recall, precision)
    assert x.size <= MAX_POINTS + 2
    assert (x[0], x[-1]) == (0.0, 1.0)
    assert (np.diff(x) >= 0).all()
    assert np.sum(np.diff(x) * y[1:]) == pytest.approx(average_precision_score(labels, scores), abs=2e-3)


def test_a_panel_has_a_cell_for_all_there_is():
    image = picture(size=(180, 320))
    scores = np.random.default_rng(0).normal(-9, 1, (180, 320)).astype(np.float32)
    label = np.zeros((180, 320), np.uint8)
    label[60:120, 100:200] = 1
    label[:20] = 255
    classes = np.random.default_rng(1).integers(0, 3, (180, 320)).astype(np.uint8)
    palette = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    bare = frame_panel(image, scores, cell_width=200)
    labelled = frame_panel(image, scores, label, cell_width=200)
    whole = frame_panel(
        image, scores, label, classes, palette, classes=("a", "b", "c"), title="t", threshold=-9, cell_width=200
    )
    assert bare.dtype == whole.dtype == np.uint8
    assert bare.shape[1] < labelled.shape[1] < whole.shape[1]
    assert np.array_equal(frame_panel(image, scores, label, cell_width=200), labelled)
    # Where the truth is outlined, its colour is found; without ground truth it is not.
    assert ((labelled == (0, 229, 255)).all(2)).any()
    assert not ((bare == (0, 229, 255)).all(2)).any()


def test_void_does_not_set_the_colours():
    image = picture(size=(120, 160))
    scores = np.random.default_rng(0).normal(size=(120, 160)).astype(np.float32)
    label = np.zeros((120, 160), np.uint8)
    label[:60] = 255
    scores[:60] = 1e6
    panel = frame_panel(image, scores, label, cell_width=160)
    heat = panel[-60:, 2 * (160 + 8) : 2 * (160 + 8) + 160]
    assert heat.reshape(-1, 3).std(0).max() > 20


@pytest.mark.parametrize("size", [(1, 1), (7, 900), (900, 7), (360, 480), (1024, 2048)])
def test_panels_of_any_size(size):
    image = picture(size=size)
    panel = frame_panel(image, np.full(size, -3.0, np.float32), np.zeros(size, np.uint8), title="x" * 500)
    assert panel.ndim == 3


def test_a_contact_sheet_holds_all_panels_under_their_headings():
    panels = [np.full((50, 300, 3), value, np.uint8) for value in (10, 60, 110)]
    image = opened(contact_sheet({"best": panels[:1], "worst": panels[1:], "none": []}, "title", "note " * 60))
    for panel in panels:
        assert ((image == panel[0, 0]).all(2)).sum() == 50 * 300
    rows = [np.flatnonzero((image == panel[0, 0]).all(2).any(1)).min() for panel in panels]
    assert rows == sorted(rows)
    assert opened(contact_sheet({})).shape[2] == 3
