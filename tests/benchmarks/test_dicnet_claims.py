"""The study of DiCNet's claims D3 and D4: histograms against brute force, resumable, and a page of it all."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from anomseg.data import label_space
from anomseg.errors import DataError
from anomseg.types import Frame

ROOT = Path(__file__).parents[2]


@pytest.fixture
def claims(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "claims"))
    for folder in ("detectors", "detectors/dicnet"):
        monkeypatch.syspath_prepend(str(ROOT / "tests" / folder))
    before = set(sys.modules)
    import dicnet

    yield dicnet
    for name in set(sys.modules) - before:
        if name.startswith("dicnet"):
            del sys.modules[name]


def counts_of(study, values):
    return np.histogram(values, study.BINS)[0]


def test_quantiles_and_comparisons_against_all_pairs(claims):
    import dicnet_study as study

    rng = np.random.default_rng(0)
    odd, known = np.exp(rng.normal(0.5, 1, 400)), np.exp(rng.normal(0, 1, 700))
    for share in (0.25, 0.5, 0.75):
        assert study.quantile(counts_of(study, known), share) == pytest.approx(np.quantile(known, share), rel=0.04)
    pairs = (odd[:, None] > known[None, :]).mean()
    assert study.exceeds(counts_of(study, odd), counts_of(study, known)) == pytest.approx(pairs, abs=0.01)
    same = counts_of(study, known)
    assert study.exceeds(same, same) == pytest.approx(0.5)
    assert np.isnan(study.exceeds(same * 0, same))
    counts = np.stack([counts_of(study, known), counts_of(study, known / 4), counts_of(study, odd)])
    found = study.comparisons(counts, [2])
    assert found["classes"] == pytest.approx((pairs + (odd[:, None] > known[None, :] / 4).mean()) / 2, abs=0.01)


@pytest.mark.parametrize(("factor", "word"), [(30.0, "supported"), (0.03, "not supported"), (1.0, "undecided")])
def test_verdicts(claims, factor, word):
    import dicnet_study as study

    found = study.Histograms.empty(["road", "sky", "cow"], 100)
    rng = np.random.default_rng(1)
    for position in range(100):
        classes = np.array([[0] * 20 + [1] * 20 + [2] * 5], np.uint8)
        score = rng.random((1, 45)).astype(np.float32) + 0.01
        score[classes == 2] *= factor
        found.add(position, f"f{position}", score, classes)
    own = study.study(found, ["cow"])
    assert own["verdict"] == word
    assert own["frames"] == 100
    assert own["blocks"] == 5
    assert own["classes"]["cow"]["pixels"] == 500
    low, high = own["ci95"]["pixels"]
    assert low <= own["exceeds"]["pixels"] <= high


def test_one_block_with_the_class_decides_nothing(claims):
    import dicnet_study as study

    found = study.Histograms.empty(["road", "cow"], 100)
    for position in range(100):
        classes = np.full((2, 2), int(position == 3), np.uint8)
        found.add(position, f"f{position}", np.where(classes, 9.0, 1.0).astype(np.float32), classes)
    assert study.study(found, ["cow"])["verdict"] == "undecided"


def frames(count=4):
    from tiny import made_image

    labels = np.zeros((24, 32), np.uint8)
    labels[12:], labels[:, :4], labels[-1] = 3, 10, 255
    return [Frame(f"f{index}", lambda index=index: made_image(index, (24, 32)), labels) for index in range(count)]


def test_measured_in_two_goes_is_measured_in_one(claims, tmp_path):
    import dicnet_study as study
    from dicnet_networks import tiny_dicnet

    detector, names = tiny_dicnet(), label_space("camvid").names
    straight = study.measure(detector, None, frames(), names, tmp_path / "straight.npz")
    calls = []

    def stop(frame):
        calls.append(frame)
        if len(calls) == 2:
            raise KeyboardInterrupt

    first = study.Histograms.empty(names, 4)
    first.save(tmp_path / "broken.npz")
    with pytest.raises(KeyboardInterrupt):
        study.measure(detector, None, frames(), names, tmp_path / "broken.npz", stop)
    resumed = study.measure(detector, None, frames(), names, tmp_path / "broken.npz")
    assert np.array_equal(resumed.counts, straight.counts)
    assert resumed.seen == straight.seen == ["f0", "f1", "f2", "f3"]
    assert straight.counts.sum() == 4 * 23 * 32  # the last row is void
    assert study.measure(detector, None, frames(), names, tmp_path / "broken.npz", calls.append).seen == resumed.seen
    assert len(calls) == 2
    with pytest.raises(DataError, match="other classes or frames"):
        study.measure(detector, None, frames(), names[:3], tmp_path / "broken.npz")
    with torch.no_grad():
        next(detector.student.parameters()).add_(1.0)
    with pytest.raises(DataError, match="another teacher or student"):
        study.measure(detector, None, frames(), names, tmp_path / "broken.npz")


def test_the_page(claims, tmp_path):
    import dicnet_study as study
    from dicnet_networks import tiny_dicnet, tiny_teacher

    detector, names = tiny_dicnet(), label_space("camvid").names
    assert claims.head_unused(detector, None) is True
    assert claims.head_unused(tiny_dicnet(attached=True), tiny_teacher()) is True
    reading = tiny_dicnet()
    plain = reading.segmenter.feature_maps
    reading.segmenter.feature_maps = lambda batch, names: (reading.segmenter(batch), plain(batch, names))[1]
    assert claims.head_unused(reading, None) is False
    found = study.measure(detector, None, frames(), names, tmp_path / "a.npz")
    own = study.study(found, ["bicyclist"]) | {"head_unused": True, "detector": claims._told(detector)}
    text = claims.page({"a": (found, own)}, "pictures/x.png")
    assert "| a | bicyclist | 4 |" in text
    assert "**bicyclist** (held out)" in text
    assert "| 3.5 | 3.5 |" in text
    assert "| 31.5 | 31.5 |" in text
    assert claims.picture({"a": (found, own)})[1:4] == b"PNG"
    assert torch.is_grad_enabled()
