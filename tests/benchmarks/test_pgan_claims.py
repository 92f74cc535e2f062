"""The plan of PGAN's ablations and learning curve, and the verdicts and the page that come of made-up figures."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from anomseg.training import load_recipe, parse_overrides

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def claims(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(BENCHMARKS / "claims"))
    before = set(sys.modules)
    import pgan_page
    import pgan_plan

    yield pgan_plan, pgan_page
    for name in set(sys.modules) - before:
        if name.startswith(("learned", "results", "pgan")):
            del sys.modules[name]


@pytest.fixture
def setup(claims, tmp_path):
    return claims[0].Setup(Path("DATA"), Path("HOST"), "bicyclist", tmp_path, tmp_path / "cache", 120, (0, 1))


def test_every_training_is_the_recipe_with_overrides_that_it_takes(claims, setup):
    from anomseg.registry import STAGES

    steps = claims[0].all_steps(setup)
    assert len({step.name for step in steps}) == len({step.out for step in steps}) == len(steps)
    for step in steps[:-1]:
        words = list(step.words)
        assert words[:2] == ["train", "camvid-pgan"]
        overrides = words[2 : words.index("--out")]
        plan = load_recipe("camvid-pgan", parse_overrides(overrides))
        for stage in plan.stages:
            STAGES.get(stage.stage).factory(plan, stage)  # refuses what it does not know
    assert steps[0].name == "train/base-0"
    assert set(steps[-1].needs) == {step.out / "detector.json" for step in steps[:-1]}
    assert steps[-1].words.count("--detector") == len(steps) - 1 + 3


def figures_of(setup, gap=0.05, width=0.01, ap=0.3):
    rows, less = {}, {}
    for version, seed in setup.wanted():
        limits = {name: [ap - 0.02, ap + 0.02] for name in ("ap", "auroc", "fpr95")}
        own = {"ap": ap, "auroc": 0.8, "fpr95": 0.5, "ci95": limits, "closed_miou": 0.6, "open_miou": None}
        rows[f"{version.key}-{seed}"] = own
        if version.key != "base":
            for name, value in (
                (f"base-{seed} - {version.key}-{seed}", gap),
                (f"{version.key}-{seed} - base-{seed}", -gap),
            ):
                less[name] = {"value": value, "ci95": [value - width, value + width]}
    host = {"frames": 233, "prevalence": 0.02, "miou": 0.6, "rows": {"msp": next(iter(rows.values()))}}
    names = list(rows)
    return {
        "rows": rows,
        "less": less,
        "host": host,
        "annotated": dict.fromkeys(names, 166),
        "absent": {**{name: [] for name in names}, "annotated-1-0": ["pole"]},
    }


@pytest.mark.parametrize(
    ("gap", "width", "ap", "first", "second"),
    [
        (0.05, 0.01, 0.3, "not supported", "supported"),
        (0.005, 0.01, 0.3, "supported", "undecided"),
        (-0.05, 0.01, 0.3, "supported", "not supported"),
        (0.005, 0.01, 0.05, "undecided", "undecided"),
    ],
)
def test_verdicts_follow_the_intervals(claims, setup, gap, width, ap, first, second):
    checks = claims[1].checks(setup, figures_of(setup, gap, width, ap))
    assert {one.word for one in checks if one.claim == "G1"} == {first}
    assert {one.word for one in checks if one.claim == "G2"} == {second}


def test_the_page_has_rows_that_other_pages_read(claims, setup):
    page = claims[1].page(setup, figures_of(setup), "COMMAND")
    for claim, count in (("G1", 2), ("G2", 4)):
        rows = re.findall(rf"^\| {claim}\b[^|]*\|([^|]*)\|\s*\*\*(.+?)\*\*\s*\|", page, re.MULTILINE)
        assert len(rows) == count
    assert "reconstruction" in page.splitlines()[0]
    assert "annotated-1-0: pole" in page
    assert "all (166)" in page
    for line in page.splitlines():
        assert "None" not in line


def test_what_was_not_measured_is_undecided(claims, setup):
    figures = figures_of(setup)
    empty = {**figures, "rows": {}, "less": {}, "annotated": {}}
    assert {one.word for one in claims[1].checks(setup, empty)} == {"undecided"}
    assert "not measured" in claims[1].page(setup, empty, "COMMAND")


def test_versions_may_be_chosen_and_then_have_a_run_of_their_own(setup):
    few = replace(setup, versions=("annotated-*", "tree-none"))
    keys = {version.key for version, _ in few.wanted()}
    assert keys == {"base", "tree-none", *(f"annotated-{count}" for count in (1, 5, 20, 50))}
    assert few.run() != setup.run()
