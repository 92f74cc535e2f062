"""Variants of trained detectors: which seeds they are made with, and what they are fitted on."""

import sys
from pathlib import Path

import pytest
import torch

from anomseg.data import load_frames
from anomseg.detectors import load_detector, save_detector
from anomseg.detectors.dicnet import DiCNet, target_from_norm
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import save_segmenter
from anomseg.segmenters.student import Student
from anomseg.training.label_table import TaughtClasses

TESTS = Path(__file__).parents[1]
FEATURE = "bottleneck_linear"


@pytest.fixture(scope="module")
def modules():
    folders = [str(TESTS.parent / "benchmarks"), str(TESTS / "training")]
    sys.path[:0] = folders
    before = set(sys.modules)
    import learned_plan
    import learned_variants

    yield learned_plan, learned_variants
    for folder in folders:
        sys.path.remove(folder)
    for name in set(sys.modules) - before:
        if name.startswith(("learned", "results")):
            del sys.modules[name]


@pytest.fixture(scope="module")
def made(modules, tmp_path_factory):
    """Two seeds of one set, of which the first is also there untrained; half of the images show a bicyclist."""
    from tiny_camvid import write_split

    plan, variants = modules
    root = tmp_path_factory.mktemp("variants")
    write_split(root / "data" / "camvid", "train", 6, [3, 10])
    paths, one = plan.Paths(root / "data", root / "encoder", root / "work"), plan.SETS[0]
    for seed in (0, 1):
        torch.manual_seed(seed)
        classes = TaughtClasses("camvid", one.held_out).names
        host = SEGMENTERS.create("erfnet_pyramid", classes=classes, size=(48, 64), bottleneck=8).eval()
        save_segmenter(host, paths.host(one, seed))
        target = target_from_norm(host.feature_norm(FEATURE), "standardized")
        for name in ("dicnet-activated", *(("dicnet", "dicnet-activated-untrained") if not seed else ())):
            student = Student(8, None, "pyramid", width=4, branch=8).eval()
            detector = DiCNet.of(host, student, FEATURE, target, attached=True)
            save_detector(detector, paths.method(one, seed, name))
        variants.make_variants(one, seed, paths)
    return paths, one


def test_those_that_are_fitted_are_made_with_every_seed(made):
    paths, one = made
    names = {seed: {path.parent.name for path in (paths.work / f"{one.key}-{seed}").glob("*/detector.json")}
             for seed in (0, 1)}  # fmt: skip
    assert names[0] - names[1] == {"dicnet", "dicnet-max", "dicnet-activated-untrained", "dicnet-by-place-untrained"}
    assert names[1] == {"dicnet-activated", "dicnet-by-place"}


def test_they_are_fitted_on_images_without_the_held_out_class(made):
    paths, one = made
    plain, placed = (load_detector(paths.method(one, 1, name)) for name in ("dicnet-activated", "dicnet-by-place"))
    every = load_frames("camvid", root=paths.data / "camvid", split="train")
    shown = [bool((frame.classes == 10).any()) for frame in every]
    assert placed.fitted_on["frames"] == len(every) - sum(shown) == 3
    assert placed.by_place == 8.0
    assert placed.student.fingerprint() == plain.student.fingerprint()
    assert placed.segmenter_identity == plain.segmenter_identity
    assert {**placed.get_params(), "by_place": 0.0} == plain.get_params()


def test_they_are_evaluated_with_every_seed_the_untrained_with_the_first(modules, made):
    paths, one = made
    steps = {step.name: step for step in modules[0].evaluations(paths)}
    for seed, versions in ((0, ("", "-untrained")), (1, ("",)), (2, ("",))):
        step = steps[f"{one.key}-{seed}/camvid-by-place"]
        named = [word for place, word in enumerate(step.words) if step.words[place - 1] == "--detector"]
        assert named == [str(paths.method(one, seed, f"dicnet-by-place{version}")) for version in versions]
        assert step.ready == (seed != 2)
