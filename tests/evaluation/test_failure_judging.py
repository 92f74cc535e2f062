"""Right and wrong, and the true overlap of classes: of equal classes, of coarser and of finer ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomseg.data import LabelSpace, label_space
from anomseg.evaluation.class_table import ClassTable
from anomseg.evaluation.failure.judging import FailureJudge, judgeable
from anomseg.types import Frame

PLAIN = np.zeros((1, 4), np.uint8)


def judge(network, target, unknown="void"):
    return FailureJudge(ClassTable(LabelSpace("net", network), LabelSpace("data", target)), unknown)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_overlap_of_equal_classes_is_counted_pixel_by_pixel(seed):
    rng = np.random.default_rng(seed)
    names = ("road", "car", "sky")
    prediction = rng.integers(0, 3, (4, 5), dtype=np.uint8)
    classes = rng.choice(np.array([0, 1, 2, 255], np.uint8), (4, 5), p=[0.5, 0.3, 0.05, 0.15])
    found = judge(names, names).judge(prediction, classes, np.where(classes == 255, 255, 0).astype(np.uint8))
    assert np.array_equal(found.judged, np.where(classes == 255, 255, prediction != classes))
    for index in range(3):
        guess, true = (prediction == index) & (classes != 255), classes == index
        both, either = (guess & true).sum(), (guess | true).sum()
        if not true.any():
            assert np.isnan(found.overlap["iou"][index]) and np.isnan(found.overlap["dice"][index])  # noqa: PT018
            continue
        assert found.overlap["iou"][index] == pytest.approx(both / either, abs=1e-15)
        assert found.overlap["dice"][index] == pytest.approx(2 * both / (guess.sum() + true.sum()), abs=1e-15)


def test_a_coarse_label_is_right_on_any_class_of_its_set():
    # A bicyclist of CamVid is a rider or a bicycle of Cityscapes.
    table = ClassTable(label_space("cityscapes"), label_space("camvid"))
    network, data = table.network.names, table.target.names
    prediction = np.array([[network.index(name) for name in ("rider", "bicycle", "person", "road")]], np.uint8)
    classes = np.full((1, 4), data.index("bicyclist"), np.uint8)
    teller = FailureJudge(table)
    found = teller.judge(prediction, classes, PLAIN)
    assert found.judged.tolist() == [[0, 0, 1, 1]]
    # Whose pixels they are cannot be told, so that neither has a quality; that of persons is told elsewhere.
    assert {"rider", "bicycle"} <= set(teller.unscored)
    assert "person" not in teller.unscored
    assert np.isnan(found.overlap["iou"][[network.index("rider"), network.index("person")]]).all()


def test_a_coarse_network_is_right_on_any_class_that_it_stands_for():
    table = ClassTable(label_space("idd_lite"), label_space("cityscapes"))
    network, data = table.network.names, table.target.names
    classes = np.array([[data.index(name) for name in ("car", "bus", "road", "sky")]], np.uint8)
    prediction = np.array([[network.index(name) for name in ("vehicles", "vehicles", "vehicles", "sky")]], np.uint8)
    found = FailureJudge(table).judge(prediction, classes, PLAIN)
    assert found.judged.tolist() == [[0, 0, 1, 0]]
    assert found.overlap["iou"][network.index("vehicles")] == pytest.approx(2 / 3)
    assert found.overlap["dice"][network.index("vehicles")] == pytest.approx(4 / 5)
    assert found.overlap["iou"][network.index("sky")] == 1


@pytest.mark.parametrize(
    ("unknown", "judged", "iou"), [("void", [[0, 255, 255, 255]], 1), ("wrong", [[0, 1, 1, 255]], 1 / 3)]
)
def test_pixels_that_the_network_cannot_name(unknown, judged, iou):
    # The second pixel is of a class that the network lacks, the third an anomaly, the fourth void.
    label = np.array([[0, 0, 1, 255]], np.uint8)
    found = judge(("road", "car"), ("road", "car", "tree"), unknown).judge(
        np.zeros((1, 4), np.uint8), np.array([[0, 2, 255, 255]], np.uint8), label
    )
    assert found.judged.tolist() == judged
    assert found.overlap["iou"][0] == pytest.approx(iou)
    assert np.isnan(found.overlap["iou"][1])


def test_what_a_frame_is_in_this_task():
    classes = np.array([[0, 255]], np.uint8)
    assert judgeable(Frame("a", None, classes)).label.tolist() == [[0, 255]]
    assert judgeable(Frame("a", None, lambda: classes)).label.tolist() == [[0, 255]]
    own = np.array([[1, 0]], np.uint8)
    assert judgeable(Frame("a", None, classes, own)).label is own
    assert not judgeable(Frame("a", None, None, own)).has_label
