import pytest

from anomseg.errors import ConfigError, DataError
from anomseg.training import load_recipe, recipe_names
from anomseg.training.augment import AugmentConfig
from anomseg.training.recipe import configure, parse_overrides
from anomseg.training.segmentation import OptimiserConfig, SegmentationStage


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_are_valid_to_the_last_key(name):
    recipe = load_recipe(name)
    for stage in recipe.stages:
        SegmentationStage(recipe, stage)


def test_overrides_reach_stages_by_name():
    recipe = load_recipe(
        "bundled-segmenter", {"seed": "7", "stages.segmenter.trainer.steps": "1000", "roots.camvid": "X"}
    )
    assert recipe.seed == 7
    assert recipe.roots["camvid"] == "X"
    assert recipe.stages[0].trainer["steps"] == 1000


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
