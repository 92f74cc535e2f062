"""Negatives in a stage's data: labels of crops, the split for validation, what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_camvid import write_split

from anomseg.data import load_frames
from anomseg.errors import ConfigError, DataError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import save_segmenter
from anomseg.segmenters.erfnet_pyramid import ERFNetPyramid
from anomseg.training import train
from anomseg.training.data_of_stage import StageData
from anomseg.training.labelled_data import LabelledData
from anomseg.training.negatives import PASTED, outlier_labels, paste_on
from anomseg.training.recipe import Recipe, StageConfig, load_recipe

CACHED = """
recipe: cached
roots: {{camvid: {root}}}
stages:
  - name: features
    stage: features
    gives: features
    module: {{network: erfnet_pyramid, options: {{size: [48, 64]}}, encoder_start: {encoder}, layers: [stage2, encoder],
      crops: 6}}
    data:
      space: camvid
      sources: [{{benchmark: camvid, split: train}}]
      validation: {{benchmark: camvid, split: val}}
      augment: {{crop: [32, 48]}}
      negatives: {{sources: [{{negatives: "synthetic:count=20"}}]}}
  - name: head
    stage: segmentation
    takes: [features]
    module: {{network: erfnet_pyramid, options: {{size: [48, 64], bottleneck: 8}}, half: false}}
    data: {{batch_size: 2}}
    trainer: {{steps: 2, validate_every: 2, precision: "32-true", accelerator: cpu}}
"""
SYNTHETIC = [{"negatives": "synthetic:count=20"}]


@pytest.fixture
def camvid(tmp_path):
    write_split(tmp_path / "camvid", "train", 4, [3, 8])
    write_split(tmp_path / "camvid", "val", 3, [3, 8])
    return tmp_path / "camvid"


def _data(camvid, roots=None, **negatives) -> LabelledData:
    values = {
        "sources": [{"benchmark": "camvid"}],
        "validation": {"benchmark": "camvid", "split": "val"},
        "augment": {"crop": [24, 32], "scale": [0.7, 1.4]},
        "negatives": negatives,
    }
    stage = StageConfig("features", "features", {}, values, {})
    return LabelledData(Recipe("r", 3, {"camvid": str(camvid), **(roots or {})}, (stage,)), stage)


def test_pasted_pixels_are_outliers_and_of_no_class(camvid):
    crops = _data(camvid, sources=SYNTHETIC, paste={"share": 1.0, "area": [0.05, 0.2]}).crops()
    for number in range(12):
        sample = crops[number]
        outlier, rows = sample["outlier"], sample["rows"]
        assert outlier.shape == rows.shape == (24, 32)
        assert outlier.dtype == torch.int64
        assert (outlier == 1).any(), "a crop that shows nothing of the paste is cut anew"
        assert (rows[outlier == 1] == 0).all()
        assert (rows[outlier == 0] > 0).all(), "what is void of classes is void of the other label too"
        assert (rows[outlier == 255] == 0).all()


def test_pixels_change_where_something_was_pasted_and_nowhere_else(camvid):
    frame = load_frames("camvid", camvid, "train")[0]
    paster = _data(camvid, sources=SYNTHETIC, paste={"share": 1.0}).negatives.paster()
    image, classes = frame.image(), frame.classes
    for seed in range(8):
        pasted, told = paste_on(image, classes, paster, np.random.default_rng(seed))
        changed = (pasted != image).any(-1)
        assert changed.any()
        assert not changed[told != PASTED].any()
        np.testing.assert_array_equal(told[told != PASTED], classes[told != PASTED])
        np.testing.assert_array_equal(outlier_labels(told) == 1, told == PASTED)


def test_pure_negatives_teach_no_class(camvid):
    crops = _data(camvid, sources=SYNTHETIC, paste={"share": 0.0, "pure": 1.0}).crops()
    for number in range(4):
        assert (crops[number]["rows"] == 0).all()
        assert (crops[number]["outlier"] != 0).all()


def test_the_stream_is_the_same_in_any_order_and_differs_without_negatives_in_pastes_alone(camvid):
    one, other = (_data(camvid, sources=SYNTHETIC, paste={"share": 0.5}).crops() for _ in range(2))
    first = [one[number] for number in range(6)]
    for number in reversed(range(6)):
        again = other[number]
        assert all(torch.equal(again[key], first[number][key]) for key in again)
    plain = _data(camvid).crops()
    assert "outlier" not in plain[0]
    assert [plain.place(number) for number in range(6)] == [one.place(number) for number in range(6)]


def test_validation_has_negatives_of_its_own_on_every_image(camvid):
    data = _data(camvid, sources=SYNTHETIC, paste={"share": 0.1, "area": [0.05, 0.2]})
    training, kept = (data.negatives.paster(validation=which) for which in (False, True))
    names = [{negative.id for negative in paster.urn.negatives} for paster in (training, kept)]
    assert len(names[0]) == 18
    assert len(names[1]) == 2
    assert not names[0] & names[1]
    network = SEGMENTERS.create("erfnet_pyramid", classes=list(data.taught.names), size=[44, 64])
    images = data.whole_images(network)
    for index in range(3):
        sample, again = images[index], images[index]
        assert all(torch.equal(sample[key], again[key]) for key in sample)
        assert sample["image"].shape[-2:] == sample["outlier"].shape == (48, 64)
        assert (sample["outlier"] == 1).any()
        assert (sample["outlier"][44:] == 255).all()
        assert (sample["rows"][sample["outlier"] != 0] == 0).all()
        assert (sample["classes"] == 255).sum() > 4, "pasted pixels are void among the classes"


@pytest.mark.parametrize(("count", "unused", "kept"), [(4, 0, 1), (12, 0, 1), (4, 12, 1), (30, 12, 3)])
def test_few_negatives_are_split_for_validation_too(camvid, count, unused, kept):
    sources = [{"negatives": f"synthetic:count={count};side=8"}]
    if unused:
        sources.append({"negatives": f"synthetic:count={unused};side=8;seed=1", "share": 0})
    data = _data(camvid, sources=sources)
    drawn = [_drawn(data.negatives.paster(validation=which)) for which in (False, True)]
    assert len(drawn[1]) == kept
    assert len(drawn[0]) == count - kept
    assert not drawn[0] & drawn[1]


def _drawn(paster):
    """What is pasted in the long run; ids of two synthetic sources are told apart by their pixels."""
    rng = np.random.default_rng(0)
    return {paster.urn.draw(rng).image.tobytes() for _ in range(300)}


def test_near_duplicates_of_evaluation_images_are_left_out_and_recorded(camvid, tmp_path):
    rng = np.random.default_rng(0)
    for folder, count in (("negatives/thing", 6), ("road/images", 0), ("road/labels_masks", 0)):
        (tmp_path / folder).mkdir(parents=True)
        for index in range(count):
            coarse = rng.integers(0, 256, (5, 6, 3)).astype(np.uint8)
            Image.fromarray(coarse).resize((96, 64), Image.Resampling.BICUBIC).save(tmp_path / folder / f"{index}.png")
    leaked = Image.open(tmp_path / "negatives/thing/3.png")
    leaked.resize((120, 80)).save(tmp_path / "road/images/0.jpg", quality=90)
    Image.fromarray(np.zeros((80, 120), np.uint8)).save(tmp_path / "road/labels_masks/0.png")
    roots = {"folder": str(tmp_path / "negatives"), "road_anomaly": str(tmp_path / "road")}
    data = _data(camvid, roots, sources=[{"negatives": "folder"}])
    record = data.record()["negatives"]
    assert record["images"] == {"folder": 5}
    assert record["near_duplicates_left_out"] == 1
    assert record["compared_with"] == ["road_anomaly"]
    assert record["regime"] == "minus_test_categories"
    assert not any(name.endswith("3") or name.endswith("3.png") for name in data.negatives.names())


@pytest.mark.parametrize(
    ("negatives", "said"),
    [
        ({"regime": "all"}, "sources is empty"),
        ({"sources": SYNTHETIC, "regime": "minus_test"}, "minus_test_categories"),
        ({"sources": [{"negatives": "synthetic", "share": 0}]}, "every share is 0"),
        ({"sources": SYNTHETIC, "paste": {"share": 0.7, "pure": 0.6}}, "at most 1 together"),
        ({"sources": SYNTHETIC, "pastes": {}}, "paste"),
    ],
)
def test_wrong_settings_are_told_before_anything_is_read(camvid, negatives, said):
    with pytest.raises(ConfigError, match=said):
        _data(camvid, **negatives)


def test_a_source_without_its_folder_is_told(camvid):
    with pytest.raises(ConfigError, match=r"--roots.imagenet DIR"):
        _data(camvid, sources=[{"negatives": "imagenet"}]).negatives.find()
    with pytest.raises(DataError, match="does not exist"):
        _data(camvid, {"imagenet": "nowhere"}, sources=[{"negatives": "imagenet"}]).negatives.find()


def test_recipes_know_the_folders_of_negatives(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(
        "stages:\n  - {name: a, stage: features, data: {sources: [{benchmark: camvid}], "
        "negatives: {sources: [{negatives: 'coco_panoptic:min_pixels=9'}]}}}\n"
    )
    roots = {f"roots.{name}": "x" for name in ("camvid", "coco_panoptic", "road_anomaly")}
    assert set(load_recipe(path, roots).roots) == {"camvid", "coco_panoptic", "road_anomaly"}
    with pytest.raises(ConfigError, match="imagenet"):
        load_recipe(path, {"roots.imagenet": "x"})


def test_cached_crops_hold_the_labels_of_what_was_pasted(camvid, tmp_path):
    torch.manual_seed(0)
    save_segmenter(ERFNetPyramid(["a"], bottleneck=8), tmp_path / "donor")
    path = tmp_path / "cached.yaml"
    path.write_text(CACHED.format(root=camvid, encoder=tmp_path / "donor" / "model.safetensors"))
    record = train(path, tmp_path / "out", quiet=True)
    assert record["negatives"]["images"] == {"synthetic:count=20": 20}
    recipe = load_recipe(path)
    stage = recipe.stages[1]
    data = StageData(recipe, stage).bind({"features": tmp_path / "out" / "stages" / "features" / "result"})
    live = LabelledData(recipe, recipe.stages[0]).crops()
    crops = data.crops(range(6))
    cached = [crops[number] for number in range(6)]
    for number in range(6):
        wanted = live[number]
        assert any(
            torch.equal(one["outlier"], wanted["outlier"]) and torch.equal(one["rows"], wanted["rows"])
            for one in cached
        )
    assert "outlier" in data.validation(ERFNetPyramid(["a"]))[0]
