"""Value tables: what stored label values mean, and which are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomseg.data import ValueTable, dataset_spec, parse_value_table
from anomseg.data.labels import class_table
from anomseg.errors import ConfigError, FrameError


@given(st.dictionaries(st.integers(0, 255), st.sampled_from([0, 1, 255]), min_size=1))
def test_a_table_survives_being_written_and_read(mapping):
    table = parse_value_table(",".join(f"{stored}:{meaning}" for stored, meaning in mapping.items()))
    again = parse_value_table(str(table))
    assert dict(again.pairs) == mapping


@given(
    st.dictionaries(st.integers(0, 255), st.sampled_from([0, 1, 255]), min_size=1),
    st.lists(st.integers(0, 255), min_size=1, max_size=40),
)
def test_apply_is_the_dictionary(mapping, stored):
    table = ValueTable("t", tuple(mapping.items()))
    raw = np.array([stored], np.uint8)
    outside = sorted(set(stored) - set(mapping))
    if outside:
        assert table.unknown(raw) == outside
        with pytest.raises(FrameError) as error:
            table.apply(raw, "some.png")
        assert "some.png" in str(error.value)
        assert "\n" not in str(error.value)
    else:
        assert table.apply(raw, "some.png").tolist() == [[mapping[value] for value in stored]]


def test_road_anomaly_counts_every_value_from_two_and_refuses_one():
    table = dataset_spec("road_anomaly").table
    meanings = dict(table.pairs)
    assert sum(meaning == 1 for meaning in meanings.values()) == 254
    assert meanings[0] == 0
    assert 1 not in meanings
    with pytest.raises(FrameError, match=r"values 1 outside .* --label-values 0:0,1:1"):
        table.apply(np.array([[0, 1, 2]], np.uint8), "x.png")


def test_smiyc_and_fishyscapes_know_void():
    for name in ("road_anomaly_21", "road_obstacle_21", "fishyscapes_lost_and_found", "fishyscapes_static"):
        assert dict(dataset_spec(name).table.pairs) == {0: 0, 1: 1, 255: 255}


def test_the_message_lists_the_values_in_runs():
    with pytest.raises(FrameError, match=r"values 2-4, 9 outside the table t \(0:0,1:1\)"):
        ValueTable("t", ((0, 0), (1, 1))).apply(np.array([[0, 2, 3, 4, 9]], np.uint8), "x.png")


def test_class_tables_keep_numbers_and_void():
    table = class_table("c", 3, void=(3, 255))
    assert table.apply(np.array([[0, 1, 2, 3, 255]], np.uint8), "x").tolist() == [[0, 1, 2, 255, 255]]
    assert table.unknown(np.array([[4]], np.uint8)) == [4]


@pytest.mark.parametrize("text", ["", "0", "0:2", "256:1", "-1:0", "5-2:1", "a:0", "0:0,0:1", "0:0:1", "0:0 1:1"])
def test_bad_tables_are_refused_with_the_usage(text):
    with pytest.raises(ConfigError, match=r"0:0,1:1,255:255") as error:
        parse_value_table(text)
    assert "\n" not in str(error.value)


def test_class_labels_take_no_anomaly_table():
    spec = dataset_spec("camvid")
    with pytest.raises(ConfigError, match="class numbers"):
        spec.table_for(spec.layouts[0], "0:0,1:1")
