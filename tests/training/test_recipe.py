import pytest

from anomseg.data import dataset_spec
from anomseg.errors import ConfigError, DataError
from anomseg.registry import STAGES
from anomseg.training import load_recipe, recipe_names
from anomseg.training.augment import AugmentConfig
from anomseg.training.data_of_stage import StageData
from anomseg.training.recipe import configure, parse_overrides
from anomseg.training.segmentation import OptimiserConfig, SegmentationStage


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_are_valid_to_the_last_key(name):
    """Building a stage reads every key of its configuration and refuses those that it does not know."""
    recipe = load_recipe(name)
    assert recipe.name == name
    for stage in recipe.stages:
        STAGES.get(stage.stage).factory(recipe, stage)
    assert all(root is None for root in recipe.roots.values())


PUBLISHED = {
    # images that training may see, batch size, epochs
    ("street-hazards-pans", "pans"): (5125, 2, 40),
    ("street-hazards-pgan", "pgan"): (5125, 2, 40),
    ("street-hazards-dicnet", "student"): (5125, 16, 150),
    ("street-hazards-noisy-negatives", "heads"): (5125, 16, 120),
    ("bdd-anomaly-pans", "pans"): (6688, 2, 40),
    ("bdd-anomaly-pgan", "pgan"): (6688, 2, 40),
    ("bdd-anomaly-dicnet", "student"): (6688, 16, 150),
}


@pytest.mark.parametrize(("name", "stage"), PUBLISHED)
def test_published_recipes_train_as_many_epochs_as_published(name, stage):
    images, batch, epochs = PUBLISHED[name, stage]
    recipe = load_recipe(name)
    found = next(one for one in recipe.stages if one.name == stage)
    assert found.data["batch_size"] == batch
    assert found.trainer["steps"] == epochs * (images // batch)
    assert found.trainer["validate_every"] == images // batch
    data = StageData(recipe, found).labelled
    assert dataset_spec(data.sources[0].benchmark).split("train").expected == images
    assert len(data.taught.names) == (13 if name.startswith("street") else 17)


@pytest.mark.parametrize("name", ["street-hazards", "bdd-anomaly"])
def test_published_settings_are_those_of_the_papers(name):
    pans = load_recipe(f"{name}-pans").stages[0]
    network, crops = pans.module["options"], pans.data["augment"]
    assert (network["backbone"], network["output_stride"], network["bottleneck"]) == ("resnet50", 8, 512)
    assert (network["classifier"], network["norm_activation"], network["bias"]) == ("cosine", "bn_leaky", False)
    assert (pans.trainer["optimiser"], pans.trainer["learning_rate"], pans.trainer["power"]) == ("sgd", 0.007, 0.9)
    assert (pans.trainer["weight_decay"], pans.trainer["decay_all"], pans.module["auxiliary"]) == (1e-4, True, 0.4)
    assert crops["scale"] == pytest.approx([300 / 720, 1000 / 1280], abs=1e-4)
    assert (crops["crop"], crops["pad"], crops["scale_law"]) == ([450, 450], "black", "uniform")
    teacher, student = load_recipe(f"{name}-dicnet").stages
    assert (teacher.trainer["learning_rate"], teacher.trainer["steps"]) == (0.02, 20 * 5000)
    assert (student.trainer["optimiser"], student.trainer["schedule"]) == ("adam", "constant")
    assert (student.trainer["learning_rate"], student.trainer["weight_decay"]) == (1e-4, 1e-5)
    assert (student.module["encoder"], student.module["feature"]) == ("resnet34", "bottleneck_linear")
    flips = student.data["augment"]
    assert (flips["crop"], flips["scale"], flips["flip"], flips["colour"]) == ([720, 1280], [1.0, 1.0], 0.5, 0)


def test_overrides_reach_stages_by_name():
    recipe = load_recipe(
        "bundled-segmenter", {"seed": "7", "stages.segmenter.trainer.steps": "1000", "roots.camvid": "X"}
    )
    assert recipe.seed == 7
    assert recipe.roots["camvid"] == "X"
    assert recipe.stages[0].trainer["steps"] == 1000


def test_an_override_changes_no_stage_that_an_anchor_made_alike(tmp_path):
    path = tmp_path / "alike.yaml"
    path.write_text(
        "recipe: alike\nseed: 0\nstages:\n"
        "  - {name: one, stage: segmentation, gives: segmenter, data: &data {batch_size: 2, augment: {crop: [8, 8]}}}\n"
        "  - {name: two, stage: segmentation, gives: segmenter, data: *data}\n"
    )
    one, two = load_recipe(path, {"stages.two.data.batch_size": 4, "stages.two.data.augment.flip": 0}).stages
    assert (one.data, two.data) == (
        {"batch_size": 2, "augment": {"crop": [8, 8]}},
        {"batch_size": 4, "augment": {"crop": [8, 8], "flip": 0}},
    )


def test_moving_the_data_keeps_the_fingerprint_but_a_changed_value_does_not():
    plain, moved = load_recipe("bundled-segmenter"), load_recipe("bundled-segmenter", {"roots.camvid": "X"})
    other = load_recipe("bundled-segmenter", {"stages.segmenter.trainer.learning_rate": "0.1"})
    assert plain.fingerprint(plain.stages[0]) == moved.fingerprint(moved.stages[0])
    assert plain.fingerprint(plain.stages[0]) != other.fingerprint(other.stages[0])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sede": "1"}, "did you mean 'seed'"),
        ({"stages.segmentr.trainer.steps": "1"}, "did you mean 'segmenter'"),
        ({"stages.segmenter.trianer.steps": "1"}, "did you mean 'trainer'"),
    ],
)
def test_unknown_keys_are_suggested(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe("bundled-segmenter", overrides)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("stages.segmenter.trainer.learning_rat", "1", "did you mean 'learning_rate'"),
        ("stages.segmenter.trainer.steps", "many", "steps"),
        ("stages.segmenter.trainer.validate_every", "7", "multiple"),
        ("stages.segmenter.data.sources", "[]", "at least one"),
        ("stages.segmenter.module.network", "pyramd", "did you mean 'pyramid'"),
        ("stages.segmenter.trainer.validate_every", "0", "segmenter.trainer: validate_every must be 1 or more, got 0"),
        ("stages.segmenter.trainer.steps", "-500", "0 or more"),
        ("stages.segmenter.trainer.warmup", "2", "from 0 to 1"),
        ("stages.segmenter.trainer.learning_rate", "-1", "learning_rate must be 0 or more"),
        ("stages.segmenter.trainer.power", "-1", "0 or more"),
        ("stages.segmenter.module.loss_stride", "0", "1 or more"),
        ("stages.segmenter.data.batch_size", "0", "batch_size must be 1 or more"),
        ("stages.segmenter.data.workers", "-1", "0 or more"),
        ("stages.segmenter.data.augment.crop", "[0, 4]", "crop must be 1 or more"),
        ("stages.segmenter.data.augment.scale", "[2, 1]", "from the smaller"),
        ("stages.segmenter.data.augment.flip", "1.5", "from 0 to 1"),
    ],
)
def test_stages_are_checked_before_anything_starts(key, value, message):
    recipe = load_recipe("bundled-segmenter", {key: value})
    with pytest.raises(ConfigError, match=message):
        SegmentationStage(recipe, recipe.stages[0])


def test_missing_data_is_named_with_the_mend():
    recipe = load_recipe("bundled-segmenter")
    with pytest.raises(ConfigError, match=r"--roots.camvid DIR"):
        SegmentationStage(recipe, recipe.stages[0]).check()


@pytest.mark.parametrize("text", ["stages: 3", "[]", "stages: []", "a: [", "stages: [{name: x}]"])
def test_broken_files_are_one_line(tmp_path, text):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_recipe(tmp_path / "r.yaml")
    assert "\n" not in str(caught.value)


def test_missing_file_and_unknown_name():
    with pytest.raises(DataError, match="cannot read the recipe"):
        load_recipe("nothing.yaml")
    with pytest.raises(ConfigError, match="did you mean 'bundled-segmenter'"):
        load_recipe("bundled-segmentr")


def test_configure_types_lists_and_numbers():
    assert configure(OptimiserConfig, {"learning_rate": "1e-3"}, "x").learning_rate == 1e-3
    assert tuple(configure(AugmentConfig, {"crop": [8, 9]}, "x").crop) == (8, 9)


def test_overrides_need_values():
    with pytest.raises(ConfigError, match="needs a value"):
        parse_overrides(["--seed"])
    with pytest.raises(ConfigError, match="no recipe override"):
        parse_overrides(["seed", "1"])


@pytest.mark.parametrize("seed", ["x", "-1", "1.5", "true", "null"])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ConfigError, match="seed is a whole number"):
        load_recipe("bundled-segmenter", {"seed": seed})


def test_one_stage_may_be_taken_by_its_bare_name():
    assert load_recipe("camvid-pans", {"stages.pans.takes": "features"}).stages[1].takes == ("features",)


def test_sources_that_all_have_no_share_are_refused():
    sources = [{"benchmark": "camvid", "share": 0}]
    recipe = load_recipe("bundled-segmenter", {"stages.segmenter.data.sources": sources})
    with pytest.raises(ConfigError, match="every share is 0"):
        SegmentationStage(recipe, recipe.stages[0])


def test_the_folder_of_a_data_set_that_is_not_read_is_refused():
    with pytest.raises(ConfigError, match=r"unknown data set of camvid-pans 'camvd'.*did you mean 'camvid'"):
        load_recipe("camvid-pans", {"roots.camvd": "CamVid"})
    sources = "[{benchmark: idd_lite, split: train}]"
    plan = load_recipe("camvid-pans", {"roots.idd_lite": "IDD", "stages.features.data.sources": sources})
    assert plan.roots["idd_lite"] == "IDD"
