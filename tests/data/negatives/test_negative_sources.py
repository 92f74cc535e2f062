"""What each kind of source lists: ids, categories, regions; and what it says of folders that are no such source."""

import json
import pickle
import warnings

import numpy as np
import pytest
from negative_trees import coco, picture, save, xml

from anomseg.data.negatives import NEGATIVES, load_negatives
from anomseg.errors import ConfigError, DataError, FrameError


def test_folder_lists_all_images_with_their_folders_as_categories(tmp_path):
    save(tmp_path / "teapot" / "1.png", picture(1))
    save(tmp_path / "mug" / "deep" / "2.webp", picture(2), lossless=True)
    (tmp_path / "notes.txt").write_text("x")
    found = load_negatives("folder", tmp_path)
    assert [(one.id, one.categories) for one in found] == [
        ("mug/deep/2.webp", {"mug", "deep"}),
        ("teapot/1.png", {"teapot"}),
    ]
    np.testing.assert_array_equal(found[1].image(), picture(1))
    assert found[0].regions() == []


def test_images_that_nothing_is_known_of_are_kept_with_one_warning(tmp_path):
    for index in range(3):
        save(tmp_path / "images" / f"{index}.png", picture(index))
    with pytest.warns(UserWarning, match="nothing tells what 3 of 3 negatives show") as caught:
        assert len(load_negatives("folder", tmp_path)) == 3
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_negatives("folder", tmp_path, regime="all")) == 3


@pytest.mark.parametrize("name", ["folder", "imagenet", "coco_panoptic", "pascal_voc"])
def test_missing_and_empty_folders_are_one_clear_line(tmp_path, name):
    for root, said in ((None, "give root"), (tmp_path / "absent", "does not exist"), (tmp_path, "holds")):
        with pytest.raises(DataError, match=said) as error:
            load_negatives(name, root)
        assert "\n" not in str(error.value)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'imagenet'"):
        load_negatives("imagnet")
    with pytest.raises(ConfigError, match="did you mean 'seed'"):
        load_negatives("synthetic:sed=3")
    with pytest.raises(ConfigError, match="did you mean 'minus_test_categories'"):
        load_negatives("synthetic", regime="minus_test_category")
    with pytest.raises(ConfigError, match="half"):
        load_negatives("synthetic", half="first")
    with pytest.raises(ConfigError, match="limit"):
        load_negatives("synthetic", limit=0)


def test_imagenet_by_folder_by_file_name_and_by_class(tmp_path):
    save(tmp_path / "train" / "n04398044" / "n04398044_17.JPEG", picture())
    save(tmp_path / "n03063599_coffee_mug.webp", picture())
    save(tmp_path / "n02119789" / "a.png", picture())
    save(tmp_path / "Border_collie" / "a.png", picture())
    every = {one.id: one.categories for one in load_negatives("imagenet", tmp_path, regime="all")}
    assert every == {
        "n04398044_17": {"n04398044"},
        "n03063599_coffee_mug": {"n03063599", "coffee mug"},
        "n02119789/a.png": {"n02119789"},
        "Border_collie/a.png": {"Border_collie"},
    }
    kept = load_negatives("imagenet", tmp_path)
    assert {one.id for one in kept} == {"n04398044_17", "n03063599_coffee_mug"}


def test_imagenet_boxes_are_brought_to_the_size_of_the_copy(tmp_path):
    save(tmp_path / "n04398044" / "n04398044_17.png", picture(0, 20, 30))
    save(tmp_path / "n04398044" / "n04398044_18.png", picture(0, 20, 30))
    boxes = tmp_path / "Annotations" / "n04398044"
    xml(boxes / "n04398044_17.xml", (200, 300), {"n04398044": (11, 21, 150, 100)})
    found = {one.id: one.regions() for one in load_negatives("imagenet", tmp_path)}
    assert [(region.category, region.box, region.mask) for region in found["n04398044_17"]] == [
        ("n04398044", (2, 1, 10, 15), None)
    ]
    assert found["n04398044_18"] == []
    assert [one.id for one in load_negatives("imagenet:boxed=true", tmp_path)] == ["n04398044_17"]
    with pytest.raises(DataError, match="boxes=DIR"):
        load_negatives(f"imagenet:boxes={tmp_path / 'n04398044'}", tmp_path)


@pytest.mark.parametrize("box", [(0, 0, 400, 300), (-5, -5, 5000, 5000)])
def test_boxes_never_lead_out_of_the_image(tmp_path, box):
    save(tmp_path / "n04398044_17.png", picture(0, 20, 30))
    xml(tmp_path / "bbox" / "n04398044_17.xml", (20, 30), {"n04398044": box})
    (region,) = load_negatives("imagenet", tmp_path)[0].regions()
    assert region.box == (0, 0, 20, 30)


@pytest.mark.parametrize(
    "content",
    [
        "<annotation><object><name>x</name></object></annotation>",
        "<annotation>",
        '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>',
        "<annotation><size><height>inf</height><width>3</width></size></annotation>",
        '<?xml version="1.0" encoding="no-such-code"?><annotation/>',
    ],
)
def test_damaged_boxes_are_a_frame_error(tmp_path, content):
    save(tmp_path / "n04398044_17.png", picture())
    path = tmp_path / "bbox" / "n04398044_17.xml"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(FrameError, match=r"n04398044_17\.xml") as error:
        load_negatives("imagenet", tmp_path)[0].regions()
    assert "\n" not in str(error.value)


def test_coco_cuts_out_large_things_that_are_not_of_the_road(tmp_path):
    root = coco(
        tmp_path,
        {
            139: [(47, (0, 0, 30, 30)), (1, (0, 40, 40, 60)), (109, (30, 0, 40, 40))],
            140: [(3, (0, 0, 30, 30))],
            141: [(47, (0, 0, 5, 5))],
        },
    )
    (found,) = load_negatives("coco_panoptic", root)
    assert found.id == "000000000139"
    assert found.categories == {"cup", "person", "curtain"}
    (region,) = found.regions()
    assert (region.category, region.box) == ("cup", (0, 0, 30, 30))
    expected = np.zeros((40, 60), bool)
    expected[:30, :30] = True
    np.testing.assert_array_equal(region.mask, expected)
    everything = load_negatives("coco_panoptic:stuff=true;min_pixels=1", root, exclude=[])
    assert [[region.category for region in one.regions()] for one in everything] == [
        ["cup", "person", "curtain"],
        ["car"],
        ["cup"],
    ]


def test_coco_leaves_out_an_image_by_any_of_its_segments_however_small(tmp_path):
    root = coco(tmp_path, {7: [(47, (0, 0, 30, 30)), (18, (35, 0, 36, 1))], 8: [(62, (0, 0, 30, 30))]})
    assert [one.id for one in load_negatives("coco_panoptic", root)] == ["000000000008"]
    assert len(load_negatives("coco_panoptic", root, regime="all")) == 2


def test_halves_by_image_id_share_nothing_and_together_are_all(tmp_path):
    root = coco(tmp_path, {number: [(47, (0, 0, 30, 30))] for number in (9, 10, 11, 24)})
    halves = {
        half: [int(one.id) for one in load_negatives("coco_panoptic", root, half=half)] for half in ("even", "odd")
    }
    assert halves == {"even": [10, 24], "odd": [9, 11]}


def test_coco_names_its_splits_and_what_is_missing(tmp_path):
    root = coco(tmp_path, {9: [(47, (0, 0, 30, 30))]}, split="val2017")
    assert len(load_negatives("coco_panoptic", root)) == 1
    with pytest.raises(DataError, match="splits that are there: val2017"):
        load_negatives("coco_panoptic:split=train2017", root)
    with pytest.raises(DataError, match="no image with a segment"):
        load_negatives("coco_panoptic", root, exclude=["cup"])
    (root / "annotations" / "panoptic_val2017.json").write_text('{"images": []')
    with pytest.raises(DataError, match="no panoptic annotation"):
        load_negatives("coco_panoptic", root)


def test_names_in_coco_annotations_never_lead_out_of_the_folder(tmp_path):
    root = coco(tmp_path / "coco", {9: [(47, (0, 0, 30, 30))]})
    save(tmp_path / "secret.jpg", picture())
    path = root / "annotations" / "panoptic_train2017.json"
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = "../../secret.jpg"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="no image with a segment"):
        load_negatives("coco_panoptic", root)


def test_voc_masks_by_the_class_under_the_instance_and_boxes_elsewhere(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2007"
    instances, classes = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    instances[2:6, 3:9], classes[2:6, 3:9] = 1, 9
    instances[10:18, 10:20], classes[10:18, 10:20] = 2, 15
    instances[1, 3:9] = classes[1, 3:9] = 255
    for name in ("2007_000032", "2007_000033", "2007_000039"):
        save(root / "JPEGImages" / f"{name}.jpg", picture())
    save(root / "SegmentationObject" / "2007_000032.png", instances)
    save(root / "SegmentationClass" / "2007_000032.png", classes)
    # The order of the annotation is not trusted: what an instance is, its own pixels say.
    xml(root / "Annotations" / "2007_000032.xml", (20, 30), {"person": (11, 11, 20, 18), "chair": (4, 3, 9, 6)})
    xml(root / "Annotations" / "2007_000033.xml", (20, 30), {"cow": (1, 1, 10, 10), "chair": (1, 1, 30, 20)})
    first, second = load_negatives("pascal_voc", tmp_path, regime="all")
    assert (first.id, first.categories) == ("2007_000032", {"person", "chair"})
    (region,) = first.regions()
    assert (region.category, region.box) == ("chair", (2, 3, 6, 9))
    np.testing.assert_array_equal(region.mask, instances == 1)
    assert [(one.category, one.box) for one in second.regions()] == [("cow", (0, 0, 10, 10)), ("chair", (0, 0, 20, 30))]
    assert [one.id for one in load_negatives("pascal_voc", tmp_path)] == ["2007_000032"]
    assert [one.id for one in load_negatives("pascal_voc:masked=true", tmp_path, regime="all")] == ["2007_000032"]
    both = load_negatives("pascal_voc", tmp_path, exclude=[])[0].regions()
    assert [one.category for one in both] == ["chair", "person"]


def test_voc_images_with_damaged_annotations_are_left_out_with_one_warning(tmp_path):
    for name in ("2007_000032", "2007_000033", "2007_000039"):
        save(tmp_path / "JPEGImages" / f"{name}.jpg", picture())
        xml(tmp_path / "Annotations" / f"{name}.xml", (20, 30), {"chair": (1, 1, 30, 20)})
    for name in ("2007_000032", "2007_000039"):
        (tmp_path / "Annotations" / f"{name}.xml").write_text("<annotation>")
    with pytest.warns(UserWarning, match=r"2 images of .* are left out: .*2007_000032\.xml") as caught:
        assert [one.id for one in load_negatives("pascal_voc", tmp_path)] == ["2007_000033"]
    assert len(caught) == 1


def test_an_image_whose_objects_are_not_there_is_not_cut_out_as_a_whole(tmp_path):
    """It may show what is no outlier: the person of this one."""
    voc, empty = tmp_path / "voc", np.zeros((20, 30), np.uint8)
    for name in ("1", "2"):
        save(voc / "JPEGImages" / f"{name}.jpg", picture())
        xml(voc / "Annotations" / f"{name}.xml", (20, 30), {"person": (1, 1, 9, 9), "bottle": (31, 21, 40, 30)})
    for folder, mask in (("SegmentationObject", empty), ("SegmentationClass", empty)):
        save(voc / folder / "2.png", mask)
    panoptic = coco(tmp_path / "coco", {4: [(1, (0, 0, 20, 20)), (47, (20, 20, 40, 60))]})
    save(panoptic / "annotations" / "panoptic_train2017" / f"{4:012d}.png", np.zeros((40, 60, 3)))
    found = [*load_negatives("pascal_voc", voc), *load_negatives("coco_panoptic", panoptic)]
    assert len(found) == 3
    for negative in found:
        with pytest.raises(FrameError, match=r"shows no|names no"):
            negative.regions()


def test_synthetic_negatives_come_from_the_seed_alone():
    first, again = (load_negatives("synthetic:count=5;seed=3;side=32", regime="synthetic_only") for _ in range(2))
    other = load_negatives("synthetic:count=5;seed=4;side=32")
    for one, same, differing in zip(first, again, other, strict=True):
        image = one.image()
        assert image.shape == (32, 32, 3)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, same.image())
        assert (image != differing.image()).any()
        assert image.std() > 1
        (region,), (twin,) = one.regions(), same.regions()
        np.testing.assert_array_equal(region.mask, twin.mask)
        assert 0.2 < region.mask.mean() < 1
    assert len({one.image().tobytes() for one in first}) == 5
    with pytest.raises(ConfigError, match="count >= 1"):
        load_negatives("synthetic:count=0")
    with pytest.raises(ConfigError, match="seed of synthetic negatives is a whole number from 0"):
        load_negatives("synthetic:seed=-1")


def test_every_tenth_synthetic_negative_is_of_any_kind():
    made = load_negatives("synthetic:count=500;side=16")
    assert {kind for one in made[9::10] for kind in one.categories} == {"noise", "stripes", "checks", "spots", "waves"}


def test_synthetic_only_refuses_files(tmp_path):
    with pytest.raises(ConfigError, match="synthetic alone, not imagenet"):
        load_negatives("imagenet", tmp_path, regime="synthetic_only")


def test_a_limit_is_spread_over_the_list():
    assert [one.id[-2:] for one in load_negatives("synthetic:count=10", limit=5)] == ["00", "02", "04", "06", "08"]


def test_negatives_travel_to_workers(tmp_path):
    save(tmp_path / "imagenet" / "n04398044_17.png", picture())
    xml(tmp_path / "imagenet" / "bbox" / "n04398044_17.xml", (20, 30), {"n04398044": (1, 1, 5, 5)})
    root = coco(tmp_path / "coco", {9: [(47, (0, 0, 30, 30))]})
    made = [
        *load_negatives("imagenet", tmp_path / "imagenet"),
        *load_negatives("coco_panoptic", root),
        *load_negatives("synthetic:count=1"),
    ]
    for one, copy in zip(made, pickle.loads(pickle.dumps(made)), strict=True):
        np.testing.assert_array_equal(one.image(), copy.image())
        assert [region.box for region in one.regions()] == [region.box for region in copy.regions()]
    assert len(made) == 3


def test_every_kind_has_a_summary_and_a_factory():
    for entry in NEGATIVES:
        assert entry.summary
        assert callable(entry.factory().find)
