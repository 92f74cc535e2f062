"""WildDash 1 in the layout of its archives."""

import pytest
import trees

from anomseg.benchmarks import get_benchmark
from anomseg.data import dataset_spec, label_space, load_frames, verify
from anomseg.errors import DataError, FrameError


def test_validation_in_cityscapes_classes(tmp_path):
    frames = load_frames("wilddash", trees.wilddash(tmp_path))
    assert [frame.id for frame in frames] == ["ar0002", "ci0010", "zz0001"]
    classes = frames[0].classes
    assert classes[:4, 0].tolist() == [0, 18, 255, 255]
    assert frames[0].label is None
    assert dataset_spec("wilddash").label_space == label_space("cityscapes")


def test_every_class_has_its_number_and_the_rest_is_void():
    ids = "road 7, sidewalk 8, building 11, wall 12, fence 13, pole 17, traffic light 19, traffic sign 20"
    ids += ", vegetation 21, terrain 22, sky 23, person 24, rider 25, car 26, truck 27, bus 28, train 31"
    expected = {}
    for part in (ids + ", motorcycle 32, bicycle 33").split(", "):
        name, _, number = part.rpartition(" ")
        expected[int(number)] = label_space("cityscapes").index(name)
    table = dict(dataset_spec("wilddash").table.pairs)
    assert {stored: meaning for stored, meaning in table.items() if meaning != 255} == expected
    assert set(table) == {*range(34), 255}


def test_the_benchmark_part_has_no_ground_truth(tmp_path):
    (frame,) = load_frames("wilddash", trees.wilddash(tmp_path), "bench")
    assert frame.id == "wd0001"
    assert frame.label is frame.classes is None


def test_the_folder_of_the_archive_itself_is_the_validation_part(tmp_path):
    root = trees.wilddash(tmp_path) / "wd_val_01"
    assert len(load_frames("wilddash", root)) == 3
    with pytest.raises(DataError, match="no split 'bench', only: val"):
        load_frames("wilddash", root, "bench")


def test_held_out_classes_and_verify(tmp_path):
    root = trees.wilddash(tmp_path)
    frames = get_benchmark("wilddash").load_frames(root, held_out="bicycle")
    assert frames[0].label[:4, 0].tolist() == [0, 1, 255, 255]
    assert verify("wilddash", root).ok
    trees.put(root / "wd_val_01" / "ar0002_100000_labelIds.png", trees.mask(7, 34))
    assert [problem.kind for problem in verify("wilddash", root).problems] == ["value"]
    with pytest.raises(FrameError, match="values 34 outside the table WildDash"):
        _ = load_frames("wilddash", root)[0].classes
