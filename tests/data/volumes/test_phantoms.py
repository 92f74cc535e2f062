"""Phantoms: the same from the same seed, in any process; failures of every kind, as severe as asked for."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from anomseg.data.volumes import dice_overlap, load_cases
from anomseg.data.volumes.phantoms import (
    FAILURES,
    SPLITS,
    Surroundings,
    Tissue,
    draw_anatomy,
    make_phantom,
    phantom_cases,
)
from anomseg.errors import ConfigError

SIZE = (12, 32, 32)


@pytest.fixture(scope="module")
def anatomy():
    return draw_anatomy(np.random.default_rng(3), SIZE)


def test_looks_like_an_abdomen():
    case = phantom_cases(count=1, size=SIZE)[0]
    image, prediction, truth = case.decode()
    assert image.shape == prediction.shape == truth.shape == SIZE
    assert image.dtype == np.float32
    assert set(np.unique(truth)) == {0, 1, 2}
    assert case.classes == ("background", "organ", "tumour")
    tissue = make_phantom(0, SPLITS["test"], SIZE).anatomy.tissue
    means = {kind: image[tissue == kind].mean() for kind in Tissue if (tissue == kind).sum() > 30}
    assert means[Tissue.AIR] < -800
    assert -150 < means[Tissue.FAT] < -30
    assert means[Tissue.BONE] > means[Tissue.KIDNEY] > means[Tissue.MUSCLE] > means[Tissue.FAT]
    assert np.prod(np.array(case.spacing) * SIZE) == pytest.approx(96 * 224 * 224)


def test_phantoms_differ_and_every_size_has_both_targets():
    sizes = set()
    for index in range(12):
        classes = make_phantom(1, index, (8, 24, 24)).anatomy.classes
        assert set(np.unique(classes)) == {0, 1, 2}
        sizes.add(int((classes == 2).sum()))
    assert len(sizes) > 8


def test_the_same_in_a_second_process():
    text = "phantoms:count=3;seed=5;size=[8,24,24]"
    code = (
        "import hashlib; from anomseg.data.volumes import load_cases\n"
        "d = hashlib.sha256()\n"
        f"for c in load_cases({text!r}):\n"
        "    i, p, t = c.decode(); d.update(i.tobytes() + p.tobytes() + t.tobytes() + c.id.encode())\n"
        "print(d.hexdigest())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    digest = hashlib.sha256()
    for case in load_cases(text):
        digest.update(b"".join(part.tobytes() for part in case.decode()) + case.id.encode())
    assert told.strip() == digest.hexdigest()


def test_another_seed_is_another_phantom():
    first, again = (load_cases("phantoms:count=2;size=[8,24,24]")[1].decode() for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    other = load_cases("phantoms:count=2;size=[8,24,24];seed=1")[1].decode()
    assert not np.array_equal(first[0], other[0])


def test_splits_share_no_phantom():
    splits = {split: {case.group for case in phantom_cases(split, 50, failures=2)} for split in SPLITS}
    assert all(len(groups) == 50 for groups in splits.values())
    assert len(set().union(*splits.values())) == 50 * len(splits)


def test_decoding_in_any_order_gives_the_same(anatomy):
    cases = phantom_cases(count=4, size=(8, 24, 24))
    forward = [case.prediction() for case in cases]
    backward = [case.prediction() for case in reversed(cases)][::-1]
    for one, other in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", FAILURES)
def test_graded(kind, anatomy):
    mask = anatomy.classes == 2
    around = Surroundings(anatomy.tissue, anatomy.spacing)
    dice = [
        float(dice_overlap(FAILURES[kind](mask, severity, around, np.random.default_rng(0)) * 1, mask * 1, [1])[0])
        for severity in (0.0, 0.3, 0.6, 1.0)
    ]
    assert dice[0] == 1.0
    assert dice[0] > dice[1] >= dice[2] >= dice[3]
    assert dice[3] < 0.75


def test_exact_shares(anatomy):
    mask = anatomy.classes == 2
    around, rng = Surroundings(anatomy.tissue, anatomy.spacing), np.random.default_rng(0)
    for kind in ("missed", "eroded"):
        failed = FAILURES[kind](mask, 0.25, around, rng)
        assert failed.sum() == mask.sum() - round(0.25 * mask.sum())
        assert not (failed & ~mask).any()
        assert not FAILURES[kind](mask, 1.0, around, rng).any()
    for kind in ("dilated", "false_blob"):
        failed = FAILURES[kind](mask, 0.5, around, rng)
        assert failed.sum() == mask.sum() + round(6 * 0.25 * mask.sum())
        assert (failed | ~mask).all()
    astray = FAILURES["wrong_organ"](mask, 1.0, around, rng)
    assert not (astray & mask).any()
    assert np.unique(anatomy.tissue[astray]).size == 1


def test_dice_spreads_and_every_kind_occurs():
    cases = phantom_cases(count=54, size=(12, 32, 32))
    assert {case.meta["kind"] for case in cases} == set(FAILURES)
    assert len(FAILURES) >= 5
    dice = [dice_overlap(case.prediction(), case.truth(), [2])[0] for case in cases]
    assert np.isfinite(dice).all()
    assert (np.histogram(dice, bins=4, range=(0, 1))[0] >= 5).all()


def test_options_out_of_range():
    for text in ("count=0", "failures=10", "kinds=gone", "split=all", "size=[1,8,8]", "seed=-1"):
        with pytest.raises(ConfigError) as caught:
            load_cases(f"phantoms:{text}")
        assert "\n" not in str(caught.value)
    assert {case.meta["kind"] for case in phantom_cases(count=4, kinds="missed+holes")} == {"missed", "holes"}
