"""The study of margin and robustness, on folders of made-up scores whose answer is known."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import permutation_test, spearmanr

from anomseg.calibration import tail_scale
from anomseg.evaluation import DetectorState
from anomseg.files import write_json
from anomseg.metrics import PerImage, PixelCurve
from anomseg.types import Frame

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "claims" / "margin.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("margin_claim", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def scores(gap: float, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Inliers around .2, anomalies ``gap`` above, all moved by ``shift``: a wide gap forgives the shift."""
    rng = np.random.default_rng(seed)
    label = (rng.random((40, 50)) < 0.15).astype(np.uint8)
    score = 0.2 + 0.05 * rng.normal(size=label.shape) + gap * label + shift
    return np.clip(score, 0, 1).astype(np.float32), label


def write_results(out: Path, name: str, gap: float, shift: float, *, bounded=True, control=False, calibrated=False):
    scale = tail_scale(np.sort(scores(gap, 0, 99)[0].ravel()), 3) if calibrated else None
    state = DetectorState(PixelCurve(), PerImage(), calibration=scale)
    for index in range(2):
        state.update(Frame(str(index), lambda: None), *scores(gap, shift, index))
    state.save(out / name)
    detector = {"name": name, "parameters": {}, "state_sha256": None, "bounded": bounded, "control": control}
    write_json(out / name / "metrics.json", {"detector": detector, "segmenter": {"sha256": "0"}})


GAPS = (0.14, 0.18, 0.22, 0.28, 0.36, 0.5)


@pytest.fixture
def pair(tmp_path):
    for name, gap in zip("abcdef", GAPS, strict=True):
        for folder, shift in (("A", 0.0), ("B", 0.1)):
            write_results(tmp_path / folder, name, gap, shift, calibrated=True)
    for folder in ("A", "B"):
        write_results(tmp_path / folder, "chance", 0.0, 0.0, control=True)
        write_results(tmp_path / folder, "unbounded", 0.3, 0.0, bounded=False)
    write_results(tmp_path / "A", "only-here", 0.3, 0.0)
    return tmp_path / "A", tmp_path / "B"


def test_a_wide_margin_is_found_to_lose_less(script, pair, tmp_path, capsys):
    assert script.main(["--pair", f"net={pair[0]},{pair[1]}", "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "margin.json").read_text())
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows) == {f"net/{name}" for name in (*"abcdef", "chance", "unbounded")}
    margins = [rows[f"net/{name}"]["mdm"] for name in "abcdef"]
    assert margins == sorted(margins)
    assert margins[-1] == pytest.approx(0.44, abs=0.07)
    part = found["kinds"]["mdm"]
    assert part["detectors"] == 6  # no control, and nothing without this kind of margin
    assert part["rho"] < -0.8
    assert part["ci95"][1] < 0
    assert part["verdict"] == "supported"
    assert rows["net/unbounded"]["mdm"] is None
    assert part["wider_loses_less"] > 0 == part["wider_loses_more"]
    text = (tmp_path / "out" / "margin.md").read_text()
    assert "supported" in text
    assert "*net/chance* (control)" in text
    assert capsys.readouterr().out.strip() == text.strip()
    assert (tmp_path / "out" / "margin.png").read_bytes().startswith(b"\x89PNG")


def test_the_carried_threshold_is_counted_exactly(script, pair):
    row = script.row_of("c", pair[0] / "c", pair[1] / "c", 0.7, False)
    first, second = ([scores(0.22, shift, index) for index in range(2)] for shift in (0.0, 0.1))

    def f1(frames, threshold):
        hits = sum(int(((score >= threshold) & (label == 1)).sum()) for score, label in frames)
        wrong = sum(int(((score >= threshold) != (label == 1)).sum()) for score, label in frames)
        return 2 * hits / (2 * hits + wrong)

    values = np.unique(np.concatenate([score.ravel() for score, _ in first]))
    best = max(values, key=lambda value: (f1(first, value), -value))
    assert row.best_f1_a == pytest.approx(f1(first, best))
    assert row.carried_f1 == pytest.approx(f1(second, best))
    assert row.f1_lost == pytest.approx(row.best_f1_b - row.carried_f1)
    assert row.f1_lost >= 0


def test_rank_statistics_against_scipy(script):
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 5, 7).astype(float), rng.normal(size=7)
    assert script.spearman(one, other) == pytest.approx(spearmanr(one, other).statistic)
    expected = permutation_test(
        (one,), lambda x: spearmanr(x, other).statistic, permutation_type="pairings", n_resamples=np.inf
    )
    p, exact = script.permutation_p(one, other)
    assert exact
    assert p == pytest.approx(expected.pvalue, abs=0.02)
    many, more = rng.normal(size=20), rng.normal(size=20)
    p, exact = script.permutation_p(many, more)
    assert not exact
    assert p == pytest.approx(spearmanr(many, more).pvalue, abs=0.03)
    assert np.isnan(script.spearman(np.ones(4), np.arange(4.0)))
    # What is left when a third is held fixed: correlation of the residuals of the ranks.
    third = one + rng.normal(size=7)
    ranks = [np.argsort(np.argsort(values)).astype(float) for values in (many, more, many + more)]
    design = np.stack([np.ones(20), ranks[2]], 1)
    left = [values - design @ np.linalg.lstsq(design, values, rcond=None)[0] for values in ranks[:2]]
    assert script.partial(many, more, many + more) == pytest.approx(np.corrcoef(*left)[0, 1])
    assert -1 <= script.partial(one, other, third) <= 1


def test_margins_that_are_all_zero_decide_nothing(script, tmp_path):
    for name, gap in zip("abcdef", GAPS, strict=True):
        for folder in ("A", "B"):
            write_results(tmp_path / folder, name, gap / 50, 0.0)
    rows = script.rows_of_pair("", tmp_path / "A", tmp_path / "B", 0.7, False)
    assert script.correlate(rows, "mdm")["verdict"] == "undecided"
    assert script.correlate(rows, "mdm_calibrated")["verdict"] == "undecided"
    relative = script.rows_of_pair("", tmp_path / "A", tmp_path / "B", 0.9, True)
    assert all(row.mdm > 0 for row in relative)


def test_what_cannot_be_compared_is_told_in_one_line(script, pair, tmp_path, capsys):
    card = json.loads((pair[1] / "a" / "metrics.json").read_text())
    write_json(pair[1] / "a" / "metrics.json", {**card, "segmenter": {"sha256": "other"}})
    cases = {
        "different detectors": [f"{pair[0]},{pair[1]}"],
        "share no detector": [f"{pair[0]},{tmp_path / 'none'}"],
        "is not NAME": ["alone"],
    }
    for message, texts in cases.items():
        with pytest.raises(SystemExit) as caught:
            script.main([*(part for text in texts for part in ("--pair", text)), "--out", str(tmp_path / "out")])
        assert caught.value.code == 2
        assert message in capsys.readouterr().err
