"""Label spaces: what a class of one data set means in another."""

import pytest
from trees import mask

from anomseg.data import label_space, label_space_of
from anomseg.errors import ConfigError


def sets(source: str, target: str) -> dict[str, set[str]]:
    mapping = label_space(source).to(label_space(target))
    names = mapping.target.names
    return {own: {names[i] for i in allowed} for own, allowed in zip(mapping.source.names, mapping.sets, strict=True)}


def test_sizes_and_published_order():
    assert [len(label_space(name)) for name in ("cityscapes", "camvid", "idd_lite")] == [19, 11, 7]
    assert all(
        len(label_space(name).palette) == len(label_space(name)) for name in ("cityscapes", "camvid", "idd_lite")
    )
    cityscapes = label_space("cityscapes")
    assert (cityscapes.names[13], cityscapes.palette[13]) == ("car", (0, 0, 142))
    assert (cityscapes.names[18], cityscapes.palette[18]) == ("bicycle", (119, 11, 32))
    assert label_space("camvid").names[10] == "bicyclist"


def test_idd_lite_in_camvid():
    assert sets("idd_lite", "camvid") == {
        "drivable": {"road"},
        "non-drivable": {"pavement"},
        "living things": set(),
        "vehicles": {"car", "bicyclist"},
        "roadside objects": {"pole", "sign", "fence", "building", "pavement"},
        "far objects": {"building", "tree"},
        "sky": {"sky"},
    }


def test_camvid_in_cityscapes():
    mapped = sets("camvid", "cityscapes")
    assert mapped["bicyclist"] == {"rider", "bicycle"}
    exact = {own: next(iter(target)) for own, target in mapped.items() if own != "bicyclist"}
    assert exact == {
        "sky": "sky", "building": "building", "pole": "pole", "road": "road", "pavement": "sidewalk",
        "tree": "vegetation", "sign": "traffic sign", "fence": "fence", "car": "car", "pedestrian": "person",
    }  # fmt: skip


def test_cityscapes_in_camvid_leaves_the_rest_void():
    mapped = sets("cityscapes", "camvid")
    void = {name for name, target in mapped.items() if not target}
    assert void == {"wall", "traffic light", "terrain", "truck", "bus", "train", "motorcycle"}
    assert mapped["rider"] == mapped["bicycle"] == {"bicyclist"}


@pytest.mark.parametrize("name", ["cityscapes", "camvid", "idd_lite"])
def test_a_space_maps_onto_itself_exactly(name):
    """IDD-Lite's roadside and far objects share concepts, which must not blur them among themselves."""
    mapping = label_space(name).to(label_space(name))
    assert mapping.sets == tuple((index,) for index in range(len(mapping.source)))
    assert mapping.is_single


def test_single_keeps_exact_matches_only():
    mapping = label_space("idd_lite").to(label_space("camvid"))
    assert not mapping.is_single
    assert mapping.single()[mask(0, 1, 2, 3, 4, 5, 6, 255)][:, 0].tolist() == [3, 4, 255, 255, 255, 255, 0, 255]


def test_coverage_says_what_is_lost():
    text = label_space("idd_lite").to(label_space("camvid")).coverage
    assert "6 of 7 classes map" in text
    assert "void: living things" in text
    assert "nothing maps to: pedestrian" in text
    assert "\n" not in text


def test_spaces_of_networks():
    camvid = label_space("camvid")
    assert label_space_of(camvid.names) is camvid
    own = label_space_of(["Street", "Trees", "traffic_sign", "lamp"], "mine")
    mapped = camvid.to(own)
    assert {camvid.names[i]: mapped.sets[i] for i in (3, 5, 6, 8)} == {
        "road": (0,),
        "tree": (1,),
        "sign": (2,),
        "car": (),
    }
    with pytest.raises(ConfigError, match="not unique"):
        label_space_of(["a", "a"])


def test_classes_are_found_by_synonym_or_a_near_name_is_offered():
    camvid = label_space("camvid")
    assert camvid.index("sidewalk") == camvid.index("pavement") == 4
    assert camvid.index("person") == 9
    with pytest.raises(ConfigError, match="did you mean 'bicyclist'"):
        camvid.index("bicyclst")
    with pytest.raises(ConfigError, match="did you mean 'cityscapes'"):
        label_space("cityscape")
