"""Verdicts on Maskomaly's claims from made-up cards."""

import sys
from pathlib import Path

import pytest

CLAIMS = Path(__file__).parents[2] / "benchmarks" / "claims"


@pytest.fixture
def claims(monkeypatch):
    monkeypatch.syspath_prepend(str(CLAIMS))
    import maskomaly

    yield maskomaly
    for name in ("maskomaly", "mask_families"):
        sys.modules.pop(name, None)


def card(profile, ap, above, best=None, **flags):
    told = {"needs_fit": False, "uses_anomaly_labels": False, "forward_passes": 1, "profile": profile, **flags}
    told["fitted_on"] = {"anomaly": {"best": {"iou": best}}} if best is not None else None
    return {
        "detector": told,
        "prevalence": 0.1,
        "frames": 3,
        "pixel": {"ap": ap},
        "pixel_ci95": {"ap": [ap - 0.02, ap + 0.02]},
        "comparison": {
            "chance": {"ap": 0.1, "ci95": [0.05, 0.15], "above": True},
            "position_prior": {"ap": -0.1, "ci95": [-0.2, 0.1], "above": above},
        },
    }


def test_a_profile_is_supported_by_every_control_and_undecided_without_its_queries(claims):
    cards = {
        "maskomaly": card("zero_shot", 0.3, True),
        "maskomaly-ground": card("+ground", 0.3, False),
        "maskomaly-anomaly": card("+anomaly", 0.3, True, best=0.1),
        "msp": card("none", 0.3, True),
    }
    found = claims.profiles(cards, "here")
    assert [one.word for one in found] == ["supported", "not supported", "undecided"]
    assert "position_prior (-0.100 [-0.200, +0.100])" in found[1].why
    assert "0.100, below 0.25" in found[2].why
    assert claims.profiles({"maskomaly": card("+anomaly", 0.3, True, best=0.3)}, "here")[0].word == "supported"


def test_training_free_is_read_from_the_card(claims):
    assert claims.training_free({"maskomaly": card("zero_shot", 0.3, True)}).word == "supported"
    labelled = card("zero_shot", 0.3, True, uses_anomaly_labels=True)
    assert claims.training_free({"maskomaly": labelled}).word == "not supported"
    assert claims.training_free({}).word == "undecided"


def test_the_overhead_is_the_worst_row_of_the_table(claims):
    row = "| {} | 512x1024 | scene | 8.6 | 0.05 | {} % | 0.8 | 9.4 % |\n"
    assert claims.overhead(row.format("mask2former", 0.6) + row.format("maskformer", 7.3)).word == "supported"
    over = claims.overhead(row.format("mask2former", 0.6) + row.format("maskformer", 12.0))
    assert over.word == "not supported"
    assert "12 %" in over.why
    assert claims.overhead(None).word == "undecided"


def test_it_runs_on_every_family(claims):
    from mask_families import families

    assert set(families().values()) == {True}
