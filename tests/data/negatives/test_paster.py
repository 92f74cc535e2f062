"""`Paster`: shares, determinism, labels, and negatives that are too small or cannot be read."""

import pickle
import warnings
from dataclasses import asdict

import numpy as np
import pytest
from negative_trees import picture, plain, save

from anomseg.data.loaders import ImageLoader
from anomseg.data.negatives import Negative, PasteConfig, Paster, Region, load_negatives, mix_negatives
from anomseg.data.negatives.looks import matched
from anomseg.data.negatives.paste import draw_share
from anomseg.errors import ConfigError, DataError
from anomseg.registry import convert_options

IMAGE = np.zeros((120, 160, 3), np.uint8)


def always(**options) -> PasteConfig:
    return PasteConfig(share=1.0, **options)


def broken(tmp_path, count: int) -> list[Negative]:
    made = []
    for index in range(count):
        path = tmp_path / f"broken{index}.jpg"
        path.write_bytes(b"\xff\xd8\xff not a picture")
        made.append(Negative(path.stem, ImageLoader(path)))
    return made


def test_a_rectangle_is_pasted_where_it_says():
    paster = Paster([plain("grey", 77)], always())
    for seed in range(20):
        pasted = paster.paste(IMAGE, np.random.default_rng(seed))
        (patch,) = pasted.patches
        top, left, bottom, right = patch.box
        expected = np.zeros((120, 160), np.uint8)
        expected[top:bottom, left:right] = 1
        np.testing.assert_array_equal(pasted.outlier, expected)
        np.testing.assert_array_equal(pasted.image[..., 0] == 77, expected == 1)
        assert (patch.negative, patch.masked, pasted.pure) == ("grey", False, False)
        assert pasted.image.dtype == pasted.outlier.dtype == np.uint8
    assert not IMAGE.any()


def test_areas_lie_in_the_range_and_locations_are_all_over():
    paster = Paster([plain("grey", 77, 100, 100)], always(area=(0.02, 0.08)))
    shares, tops = [], []
    for seed in range(300):
        pasted = paster.paste(IMAGE, np.random.default_rng(seed))
        shares.append(pasted.outlier.mean())
        tops.append(pasted.patches[0].box[0] / (120 - (pasted.patches[0].box[2] - pasted.patches[0].box[0])))
    assert 0.016 < min(shares) < 0.024
    assert 0.07 < max(shares) <= 0.08
    assert min(tops) < 0.05
    assert max(tops) > 0.95
    assert 0.42 < np.mean(tops) < 0.58


def test_shares_of_patches_and_pure_negatives():
    paster = Paster([plain("grey", 77)], PasteConfig(share=0.5, pure=0.3))
    kinds = [paster.paste(IMAGE, np.random.default_rng(seed)) for seed in range(1000)]
    assert 440 < sum(bool(one.patches) and not one.pure for one in kinds) < 560
    assert 250 < sum(one.pure for one in kinds) < 350
    untouched = [one for one in kinds if not one.patches]
    assert all((one.outlier == 0).all() and (one.image == IMAGE).all() for one in untouched)
    assert paster.counts["pasted"] + paster.counts["pure"] + len(untouched) == 1000


def test_the_outcome_depends_on_the_generator_alone(tmp_path):
    negatives = [*load_negatives("synthetic:count=6;side=64"), *broken(tmp_path, 4)]
    config = PasteConfig(share=0.7, pure=0.2, shape="mixed", feather=2, count=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        straight = [Paster(negatives, config).paste(IMAGE, np.random.default_rng(seed)) for seed in range(20)]
        # One after the other in another order, by a copy that went to a worker and knows some broken ones already.
        worker = Paster(negatives, config)
        worker.paste(IMAGE, np.random.default_rng(99))
        worker = pickle.loads(pickle.dumps(worker))
        shuffled = {seed: worker.paste(IMAGE, np.random.default_rng(seed)) for seed in reversed(range(20))}
    for seed, pasted in enumerate(straight):
        np.testing.assert_array_equal(pasted.image, shuffled[seed].image)
        np.testing.assert_array_equal(pasted.outlier, shuffled[seed].outlier)
        assert pasted.patches == shuffled[seed].patches
    assert len({pasted.image.tobytes() for pasted in straight}) > 10


def test_mask_shapes_follow_the_mask_of_the_object():
    mask = np.zeros((50, 100), bool)
    mask[10:40, 20:50] = np.tri(30, dtype=bool)
    image = np.full((50, 100, 3), 10, np.uint8)
    image[mask] = 200
    region = Region("wedge", (10, 20, 40, 50), mask)
    negative = Negative("n", lambda: image, frozenset({"wedge"}), lambda: [region])
    paster = Paster([negative], always(shape="mask", area=(0.05, 0.05)))
    for seed in range(10):
        pasted = paster.paste(IMAGE, np.random.default_rng(seed))
        assert pasted.patches[0].category == "wedge"
        assert pasted.patches[0].masked
        # The share is that of the object's pixels, not of its box.
        assert pasted.outlier.mean() == pytest.approx(0.05, rel=0.08)
        assert np.median(pasted.image[pasted.outlier == 1]) == 200
        top, left, bottom, right = pasted.patches[0].box
        assert pasted.outlier[bottom - 1, left] == 1
        assert pasted.outlier[top, right - 1] == 0


def test_without_a_mask_the_shape_is_a_smooth_outline_of_the_same_share():
    paster = Paster([plain("grey", 77, 100, 100)], always(shape="mask", area=(0.06, 0.06)))
    outlines = [paster.paste(IMAGE, np.random.default_rng(seed)) for seed in range(12)]
    for pasted in outlines:
        top, left, bottom, right = pasted.patches[0].box
        assert pasted.outlier[top:bottom, left:right].mean() < 0.97
        assert 0.045 < pasted.outlier.mean() < 0.075
    assert len({one.outlier.sum() for one in outlines}) > 5


def test_mixed_is_both():
    paster = Paster([plain("grey", 77)], always(shape="mixed"))
    masked = [paster.paste(IMAGE, np.random.default_rng(seed)).patches[0].masked for seed in range(200)]
    assert 70 < sum(masked) < 130


def test_several_patches():
    paster = Paster([plain("a", 50), plain("b", 60)], always(count=4))
    counts = [len(paster.paste(IMAGE, np.random.default_rng(seed)).patches) for seed in range(200)]
    assert set(counts) == {1, 2, 3, 4}


def test_pure_negatives_are_outliers_in_the_box_and_ignored_around_it():
    image = np.full((60, 80, 3), 10, np.uint8)
    image[20:40, 20:60] = 200
    negative = Negative("n", lambda: image, frozenset(), lambda: [Region("thing", (20, 20, 40, 60))])
    pasted = Paster([negative], PasteConfig(share=0, pure=1)).paste(IMAGE, np.random.default_rng(0))
    assert pasted.pure
    assert pasted.image.shape == IMAGE.shape
    assert set(np.unique(pasted.outlier)) == {1, 255}
    assert pasted.outlier[pasted.image[..., 0] > 195].mean() == 1
    assert (pasted.outlier[pasted.image[..., 0] < 15] == 255).all()
    # Without regions the whole image counts.
    whole = Paster([plain("grey", 9)], PasteConfig(share=0, pure=1)).paste(IMAGE, np.random.default_rng(0))
    assert (whole.outlier == 1).all()
    assert (whole.image == 9).all()


def test_negatives_that_would_be_enlarged_too_much_are_skipped_and_counted():
    dot = Negative("dot", lambda: np.full((1, 1, 3), 255, np.uint8))
    paster = Paster([dot, plain("grey", 77)], PasteConfig(share=0.5, pure=0.5))
    for seed in range(40):
        pasted = paster.paste(IMAGE, np.random.default_rng(seed))
        assert [patch.negative for patch in pasted.patches] == ["grey"]
    assert paster.counts["too_small"] > 10


@pytest.mark.parametrize("config", [PasteConfig(share=1), PasteConfig(share=0, pure=1)])
def test_where_all_are_too_small_the_image_is_left_alone(config):
    paster = Paster([Negative("dot", lambda: np.full((1, 1, 3), 255, np.uint8))], config)
    pasted = paster.paste(IMAGE, np.random.default_rng(0))
    assert pasted.patches == ()
    assert not pasted.pure
    assert not pasted.outlier.any()
    assert paster.counts == {"pasted": 0, "pure": 0, "unreadable": 0, "too_small": 20}


def test_small_ones_are_enlarged_up_to_the_bound():
    paster = Paster([plain("small", 77, 10, 10)], always(area=(0.001, 0.5), enlarge=2.0))
    sides = {
        pasted.patches[0].box[2] - pasted.patches[0].box[0]
        for pasted in (paster.paste(IMAGE, np.random.default_rng(seed)) for seed in range(60))
    }
    assert max(sides) == 20


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (33, 47)])
def test_images_of_any_size_can_be_pasted_on(size):
    image = np.zeros((*size, 3), np.uint8)
    for config in (always(shape="mixed", feather=3, count=2), PasteConfig(share=0, pure=1)):
        paster = Paster([plain("grey", 77)], config)
        for seed in range(6):
            pasted = paster.paste(image, np.random.default_rng(seed))
            assert pasted.image.shape == image.shape
            assert pasted.outlier.shape == size
            assert (pasted.outlier == 1).any()


def test_unreadable_negatives_are_skipped_counted_and_named_once(tmp_path):
    paster = Paster([*broken(tmp_path, 3), plain("grey", 77)], always())
    with pytest.warns(UserWarning, match="unreadable negative is skipped") as caught:
        pasted = [paster.paste(IMAGE, np.random.default_rng(seed)) for seed in range(40)]
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    assert all(one.patches[0].negative == "grey" for one in pasted)
    assert paster.counts["unreadable"] > 40
    assert set(paster.urn.unreadable) == {"broken0", "broken1", "broken2"}


def test_one_readable_among_very_many_is_found(tmp_path):
    paster = Paster([*broken(tmp_path, 60), plain("grey", 77), *broken(tmp_path, 60)], always())
    with pytest.warns(UserWarning, match="skipped"):
        pasted = [paster.paste(IMAGE, np.random.default_rng(seed)) for seed in range(5)]
    assert all(one.patches[0].negative == "grey" for one in pasted)


def test_all_unreadable_is_one_clear_error(tmp_path):
    paster = Paster(broken(tmp_path, 5), always())
    said = r"none of the 5 .*; the first: .*broken"
    with pytest.warns(UserWarning, match="broken"), pytest.raises(DataError, match=said) as error:
        paster.paste(IMAGE, np.random.default_rng(0))
    assert "\n" not in str(error.value)


def test_regions_that_do_not_fit_their_image_count_as_unreadable():
    wrong_box = Negative("box", picture, frozenset(), lambda: [Region(None, (0, 0, 99, 99))])
    wrong_mask = Negative("mask", picture, frozenset(), lambda: [Region(None, (0, 0, 9, 9), np.ones((9, 9), bool))])
    paster = Paster([wrong_box, wrong_mask, plain("grey", 77)], always(count=60))
    with pytest.warns(UserWarning, match=r"does not lie in its image|the mask is 9x9"):
        paster.paste(IMAGE, np.random.default_rng(0))
    assert set(paster.urn.unreadable) == {"box", "mask"}


def test_weights_give_each_source_its_share():
    negatives, weights = mix_negatives([([plain("a", 1)] * 1, 0.8), ([plain("b", 2)] * 9, 0.2)])
    paster = Paster(negatives, always(), weights)
    names = [paster.paste(IMAGE, np.random.default_rng(seed)).patches[0].negative for seed in range(600)]
    assert 440 < names.count("a") < 520
    assert mix_negatives([([], 0.5), ([plain("a", 1)], 0.5)])[1] == [0.5]
    with pytest.raises(ConfigError, match="weights"):
        Paster(negatives, always(), [1.0])
    with pytest.raises(ConfigError, match="weights"):
        Paster(negatives, always(), [0.0] * 10)


def test_no_negatives_at_all():
    with pytest.raises(DataError, match="no negatives"):
        Paster([])


@pytest.mark.parametrize(
    "options",
    [
        {"share": 0.8, "pure": 0.3},
        {"share": -0.1},
        {"share": float("nan")},
        {"area": (0.0, 0.1)},
        {"area": (0.2, 0.1)},
        {"area": (0.1, 1.5)},
        {"shape": "circle"},
        {"feather": -1},
        {"count": 0},
        {"enlarge": 0},
        {"area_law": "cubic"},
        {"feather": 2, "feather_least": 3},
        {"standing": 1.5},
        {"jitter": -0.1},
        {"match": 2},
    ],
)
def test_configurations_that_cannot_be_carried_out(options):
    with pytest.raises(ConfigError) as error:
        PasteConfig(**options)
    assert "\n" not in str(error.value)


def test_a_configuration_can_be_read_from_text():
    texts = {"share": "0.25", "area": "[0.01, 0.05]", "shape": "mask", "feather": "2", "count": "3"}
    config = PasteConfig(**convert_options(PasteConfig, texts, "paste"))
    assert config == PasteConfig(share=0.25, area=(0.01, 0.05), shape="mask", feather=2, count=3)
    assert PasteConfig(**convert_options(PasteConfig, asdict(config), "paste")) == config


def test_real_negatives_on_a_real_frame(shared_data, tmp_path):
    frame = ImageLoader(next(iter(sorted((shared_data / "camvid" / "images" / "val").glob("*.webp")))))()
    negatives = load_negatives("coco_panoptic", shared_data / "negatives" / "coco_panoptic", half="even")
    save(tmp_path / "frame.png", frame)
    paster = Paster(negatives, always(shape="mask", feather=2, count=2))
    for seed in range(8):
        pasted = paster.paste(frame, np.random.default_rng(seed))
        assert set(np.unique(pasted.outlier)) <= {0, 1, 255}
        assert (pasted.image[pasted.outlier == 0] == frame[pasted.outlier == 0]).all()
        assert 0 < (pasted.outlier == 1).mean() < 0.2
        assert (pasted.outlier == 255).any()
    assert paster.counts["unreadable"] == 0


def test_standing_patches_end_in_the_lower_half_of_the_image():
    image = np.zeros((200, 100, 3), np.uint8)
    paster = Paster([plain("grey", 77)], always(standing=1.0, area=(0.01, 0.02)))
    boxes = [paster.paste(image, np.random.default_rng(seed)).patches[0].box for seed in range(60)]
    ends = np.array([box[2] for box in boxes])
    assert ends.min() >= 99
    assert len(set(ends.tolist())) > 20
    free = Paster([plain("grey", 77)], always(area=(0.01, 0.02)))
    assert min(free.paste(image, np.random.default_rng(seed)).patches[0].box[2] for seed in range(60)) < 60


def test_logarithmic_areas_are_as_often_below_as_above_the_geometric_mean():
    rng = np.random.default_rng(0)
    shares = np.array([draw_share((0.004, 0.25), rng, "log") for _ in range(2000)])
    assert shares.min() >= 0.004
    assert shares.max() <= 0.25
    assert abs((shares < np.sqrt(0.004 * 0.25)).mean() - 0.5) < 0.04


def test_each_patch_has_its_own_feather():
    image = np.zeros((60, 60, 3), np.uint8)
    paster = Paster([plain("white", 255)], always(feather=4, feather_least=0, area=(0.2, 0.2)))
    partial = {len(np.unique(paster.paste(image, np.random.default_rng(seed)).image[..., 0])) for seed in range(30)}
    assert partial == {2, 3, 4, 5, 6}  # black, white and as many shades between as the width, 0 to 4


def test_a_jittered_patch_is_another_one_in_the_same_place():
    paster, same = (Paster([plain("grey", 120)], always(jitter=strength)) for strength in (0.4, 0.0))
    one, other = (each.paste(IMAGE, np.random.default_rng(4)) for each in (paster, same))
    assert one.patches == other.patches
    inside = other.outlier == 1
    assert (one.image[inside] != other.image[inside]).any()
    assert np.array_equal(one.image[~inside], other.image[~inside])


def test_matched_colours_have_the_mean_of_what_they_cover():
    rng = np.random.default_rng(0)
    patch = rng.integers(150, 250, (20, 30, 3)).astype(np.uint8)
    under = rng.integers(20, 120, (20, 30, 3)).astype(np.uint8)
    mask = np.ones((20, 30), bool)
    full = matched(patch, mask, under, 1.0)
    assert np.abs(full.reshape(-1, 3).mean(0) - under.reshape(-1, 3).mean(0)).max() < 1
    assert np.array_equal(matched(patch, mask, under, 0.0), patch)
    flat = np.full_like(under, 60)  # a plain road does not make a patch plain
    assert matched(patch, mask, flat, 1.0).std() > 0.5 * patch.std()
