"""Verdicts on the claims of PGAN, DiCNet and PAnS, and their page, from made-up figures."""

import copy
import json
import sys
from pathlib import Path

import pytest

from anomseg.errors import ConfigError

CLAIMS = Path(__file__).parents[2] / "benchmarks" / "claims"


@pytest.fixture
def claims(monkeypatch):
    monkeypatch.syspath_prepend(str(CLAIMS))
    before = set(sys.modules)
    import learned_verdicts

    yield learned_verdicts
    for name in set(sys.modules) - before:
        if name.startswith(("learned", "knn", "mask_families")):
            del sys.modules[name]


@pytest.fixture
def answers(claims):
    import learned_answers

    return learned_answers


def row(kind="post-hoc", auroc=0.8, ap=0.1, **more):
    return {
        "kind": kind, "prevalence": 0.1, "groups": 12, "pixel": {"ap": ap, "auroc": auroc},
        "ci95": {"ap": [ap - 0.02, ap + 0.02], "auroc": [auroc - 0.05, auroc + 0.05]}, **more,
    }  # fmt: skip


def errors(share_less_base, width=0.05):
    around = {"share_less_base": [share_less_base - width, share_less_base + width]}
    figures = dict.fromkeys(("efpr95", "cfpr95", "efpr_at_fpr", "cfpr_at_fpr", "share", "base"), 0.2)
    return {**figures, "share_less_base": share_less_base, "ci95": around}


def gap(value, width=0.01):
    return {"ap": {"value": value, "ci95": [value - width, value + width]}}


def made(seed=0, key="no-bicyclist"):
    return {
        "set": key, "title": f"CamVid {key}", "seed": seed, "benchmark": "camvid", "frames": 233,
        "rows": {
            "pans": row("learned", 0.9),
            "pgan": row("learned", probability={
                "ece": 0.0123, "ece_equal_mass": 0.02, "brier": 0.08, "brier_of_prevalence": 0.09,
                "gain": {"value": 0.01, "ci95": [0.005, 0.02]},
            }),
            "dicnet": row("learned", errors=errors(0.0)),
            "msp": row(errors=errors(0.3)), "max_logit": row(errors=errors(-0.2)),
        },
        "differences": {
            "pans - chance": gap(0.05), "pans - pans-untrained": gap(0.02), "pans - pans-msp": gap(0.02),
            "pans - pans-max_logit": gap(0.001),
        },
        "judged": {"dicnet - msp": {
            "efpr95": {"value": -0.1, "ci95": [-0.15, -0.05]}, "cfpr95": {"value": 0.02, "ci95": [0.0, 0.04]},
            "efpr_at_fpr": {"value": 0.1, "ci95": [0.05, 0.15]},
        }},
    }  # fmt: skip


def words(parts):
    return [one.word for one in parts]


def test_pans_is_judged_by_every_seed(claims):
    assert words(claims.p1([made(0), made(1)])) == ["supported", "supported", "supported", "undecided"]
    other = made(1)
    other["differences"]["pans - pans-msp"] = gap(-0.05)
    found = claims.p1([made(0), other])[2]
    assert found.word == "not supported"
    assert [check.answer for check in found.verdicts[0].checks] == ["yes", "no"]
    chance = made()
    chance["rows"]["pans"] = row("learned", 0.54)  # its interval reaches one half
    assert claims.p1([chance])[0].word == "undecided"


def test_sets_that_disagree_decide_nothing(claims):
    other = made(0, "no-fence")
    other["differences"]["pans - pans-msp"] = gap(-0.05)
    found = claims.p1([made(0), other])[2]
    assert [one.word for one in found.verdicts] == ["supported", "not supported"]
    assert found.word == "undecided: supported on 1, not supported on 1 of 2 sets"


def test_what_was_not_measured_is_undecided(claims):
    bare = made()
    bare["differences"], bare["rows"], bare["judged"] = {}, {"msp": row()}, {}
    lacking = made()
    del lacking["differences"]["pans - chance"]
    assert claims.p1([lacking])[0].word == "undecided"  # one of its two checks is open
    for parts in (claims.p1, claims.d1, claims.d2, claims.g4):
        assert set(words(parts([bare]))) == {"undecided: not measured yet"}
    assert set(words(claims.p1([]))) == {"undecided: not measured yet"}


def test_existing_scores_are_judged_by_their_share_of_misclassified_pixels(claims):
    assert words(claims.d1([made()])) == ["supported", "not supported"]


def test_dicnet_is_judged_at_two_thresholds(claims):
    assert words(claims.d2([made()])) == ["supported", "supported", "not supported"]
    check = claims.d2([made()])[0].verdicts[0].checks[0]
    assert check.value == pytest.approx(0.1)
    assert check.ci95 == pytest.approx((0.05, 0.15))  # turned round: MSP less DiCNet
    worse = made()
    worse["judged"]["dicnet - msp"]["cfpr95"] = {"value": 0.1, "ci95": [0.06, 0.14]}
    assert claims.d2([worse])[1].word == "not supported"


def test_a_probability_must_tell_more_than_the_prevalence(claims):
    assert claims.g4([made()])[0].word == "supported"
    worse = made()
    worse["rows"]["pgan"]["probability"]["gain"] = {"value": -0.1, "ci95": [-0.2, -0.05]}
    assert claims.g4([worse])[0].word == "not supported"
    worse["rows"]["pgan"]["probability"]["gain"] = {"value": 0.1, "ci95": []}
    assert claims.g4([worse])[0].word == "undecided"  # no interval


def test_what_needs_synthcp_is_undecided_and_says_why(answers):
    costs = {"threads": 3, "detectors": {"pans": {"network": 2_000_000, "own": 0, "flops": 5e9, "seconds": 0.25}}}
    clean = {"titles": {"idd": "IDD"}, "shares": {"pans": {"idd": {"recall": {"value": 0.25}}}}}
    found = answers.rivals({"costs": costs, "clean": clean})
    assert found[0].why.endswith("threads: 3")
    assert {one.word for one in found} == {"undecided: SynthCP has no figures beside it yet"}
    assert "2.00 M parameters, 5.0 GFLOPs" in found[0].why
    assert "0.250 of IDD" in found[1].why
    assert {one.why for one in answers.rivals({})} == {"not measured yet"}


def test_what_cannot_be_tested_gives_commands_of_recipes_that_ship(answers):
    from anomseg.benchmarks import BENCHMARKS

    found = {one.claim: one for one in answers.published()}
    assert set(found) == {"G5", "D5", "P4"}
    assert {one.word for one in found.values()} == {"not tested here"}
    for one in found.values():
        assert "anomseg train street-hazards-" in one.why
        benchmark = one.why.partition("--benchmark ")[2].partition(" ")[0]
        assert benchmark in BENCHMARKS.names()
    assert "--detector 'pans:network=runs/street-hazards-pans;scales=published'" in found["P4"].why
    # A command over two lines of the recipe's head is one here.
    assert (
        "RESNET50 --stages.student.module.encoder_start RESNET34 --out runs/street-hazards-dicnet`" in found["D5"].why
    )
    assert "anomseg train bdd-anomaly-dicnet" in found["D5"].why


def test_commands_of_recipes_change_keys_that_they_have(answers):
    from anomseg.training import load_recipe, parse_overrides

    for _, recipes, *_ in answers.PUBLISHED.values():
        for name in recipes:
            words = answers.recipe_command(name).split()
            assert words[:3] == ["anomseg", "train", name]
            assert words[-2] == "--out"
            load_recipe(name, parse_overrides(words[3:-2]))
    with pytest.raises(ConfigError, match="did you mean"):
        answers.recipe_command("street-hazards-pan")


def test_what_tiny_networks_decide(answers):
    found = answers.exact({"erfnet": True, "smp": None}, True)
    assert [one.word for one in found] == ["supported", "supported"]
    assert "it: erfnet; not installed here: smp" in found[0].why
    found = answers.exact({"erfnet": True, "pspnet": False}, False)
    assert [one.word for one in found] == ["not supported", "not supported"]
    assert "not on pspnet" in found[0].why


def test_pgan_attaches_and_dicnet_calls_no_head(claims):
    import learned_hosts

    from anomseg.registry import SEGMENTERS

    built = {name.partition(" ")[0] for name in learned_hosts.instances()}
    assert set(SEGMENTERS.names()) == built | set(learned_hosts.OTHERS)
    assert all(learned_hosts.attaches(learned_hosts.instances()[name]().eval()) for name in ("pyramid", "module"))
    assert learned_hosts.headless()


def test_verdicts_of_other_pages_are_taken_over(answers, tmp_path):
    rows = "| G1 | a curve | **supported** | runs |\n| G10 | x | **no** | |\n| G1, fence | y | **undecided** | +.01 |\n"
    (tmp_path / "claims-pgan.md").write_text(rows)
    given = answers.elsewhere(tmp_path)
    assert given[1].why == "+.01; [claims-pgan.md](claims-pgan.md)"
    assert [(one.claim, one.word) for one in given] == [
        ("G1", "supported"), ("G1", "undecided"),
        ("G2", "undecided: not measured yet"),
    ]  # fmt: skip


def test_what_classes_say_of_dicnet_is_taken_over(answers):
    assert [one.word for one in answers.d3({})] == ["undecided: not measured yet"]
    study = {"exceeds": {"pixels": 0.7, "classes": 0.6}, "ci95": {"pixels": [0.6, 0.8]}, "verdict": "undecided"}
    (found,) = answers.d3({"no-fence-0": study})
    assert found.word == "undecided"
    assert found.says.endswith(": no-fence-0")
    assert "0.700 [0.600, 0.800] by pixels, 0.600 by classes" in found.why


def test_the_page_names_frames_seeds_tier_and_every_check(claims, answers):
    from learned_page import page

    studies = [made(0), made(1)]
    parts = [*claims.g4(studies), *claims.d1(studies), *claims.d2(studies), *claims.p1(studies)]
    costs = {"size": [360, 480], "threads": 1,
             "detectors": {"pans": {"network": 2e6, "own": 0, "flops": 5e9, "seconds": 0.25}}}  # fmt: skip
    text = page({"studies": studies, "costs": costs}, parts, answers.rivals({}))
    assert "233 frames in 12 groups, prevalence 0.1000, seeds 0, 1, tier cpu" in text
    verdicts = [line for line in text.splitlines() if line.startswith(("| G", "| D", "| P")) and " | **" in line]
    claimed = [line[2:4] for line in verdicts]
    assert claimed == ["G4", "D1", "D1", "D2", "D2", "D2", "P1", "P1", "P1", "P1", "P2", "P3"]
    assert "| pans | 2.00 | 0.00 | 5.00 | 0.25 |" in text
    assert "## False positives on misclassified pixels" in text
    assert "| pgan | 0.0123 | 0.0200 | 0.0800 | 0.0900 |" in text
    bare = copy.deepcopy(studies)
    for one in bare:
        for name in one["rows"]:
            one["rows"][name].pop("errors", None)
    assert "misclassified pixels (D1" not in page({"studies": bare}, parts, [])


def test_the_command_reads_what_was_collected(claims, tmp_path, capsys, monkeypatch):
    import learned

    (tmp_path / "figures.json").write_text(
        json.dumps({"schema": 1, "studies": [made(), {**made(), "benchmark": "road_anomaly_21"}]})
    )
    monkeypatch.setattr(learned, "hosts", lambda: {"erfnet": True})
    doc = tmp_path / "claims.md"
    assert learned.main(["--work", str(tmp_path), "--doc", str(doc)]) == 0
    assert doc.read_text().startswith("# Claims of PGAN, DiCNet and PAnS\n")
    assert "road_anomaly_21" not in doc.read_text()  # ten frames
    assert "P1 above MSP of the same network: supported" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"figures\.json"):
        learned.main(["--work", str(tmp_path / "none"), "--doc", str(doc)])
