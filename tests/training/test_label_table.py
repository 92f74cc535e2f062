import numpy as np
import pytest

from anomseg.data import label_space
from anomseg.errors import ConfigError
from anomseg.training.label_table import LabelTable, TaughtClasses

CAMVID, IDD, CITYSCAPES = (label_space(name) for name in ("camvid", "idd_lite", "cityscapes"))


def test_without_held_out_classes_the_space_is_itself():
    taught = TaughtClasses("camvid")
    assert taught.names == CAMVID.names
    assert taught.palette == CAMVID.palette
    assert taught.sets(CAMVID) == [(index,) for index in range(11)]
    assert taught.withheld(CAMVID) == []


def test_a_held_out_class_leaves_and_later_ones_move_up():
    taught = TaughtClasses("camvid", ["fence"])
    assert taught.names == tuple(name for name in CAMVID.names if name != "fence")
    assert taught.palette == tuple(c for name, c in zip(CAMVID.names, CAMVID.palette, strict=True) if name != "fence")
    lookup = taught.lookup(CAMVID)
    assert lookup[:11].tolist() == [0, 1, 2, 3, 4, 5, 6, 255, 7, 8, 9]
    assert lookup[255] == 255
    assert taught.withheld(CAMVID) == ["fence"]


def test_what_may_be_a_held_out_class_is_void_in_every_source():
    """IDD's vehicles may be bicycles, Cityscapes' riders are bicyclists: neither may teach another class."""
    taught = TaughtClasses("camvid", ["bicyclist"])
    assert taught.withheld(IDD) == ["vehicles"]
    assert taught.sets(IDD)[IDD.index("vehicles")] == ()
    assert set(taught.withheld(CITYSCAPES)) == {"rider", "bicycle"}
    assert taught.sets(CITYSCAPES)[CITYSCAPES.index("car")] == (taught.names.index("car"),)
    assert TaughtClasses("camvid").sets(IDD)[IDD.index("vehicles")] != ()


def test_rows_of_several_sources_do_not_mix():
    taught = TaughtClasses("camvid", ["bicyclist"])
    table = LabelTable(taught, [CAMVID, IDD], [1.0, 0.3])
    camvid = table.rows(0, np.array([[3, 10, 255]], np.uint8))
    idd = table.rows(1, np.array([[0, 3, 255, 7]], np.uint8))
    assert [table.sets[row].nonzero().flatten().tolist() for row in camvid[0]] == [[3], [], []]
    assert [table.sets[row].nonzero().flatten().tolist() for row in idd[0]] == [[3], [], [], []]
    roadside = table.rows(1, np.array([[4]], np.uint8))[0, 0]
    assert table.sets[roadside].sum() > 1
    assert table.weights[roadside] == pytest.approx(0.3)
    assert table.weights[camvid[0, 0]] == 1


def test_wrong_classes_are_one_line():
    with pytest.raises(ConfigError, match="did you mean 'bicyclist'"):
        TaughtClasses("camvid", ["bicylist"])
    with pytest.raises(ConfigError, match="leaves no class"):
        TaughtClasses("camvid", CAMVID.names)
