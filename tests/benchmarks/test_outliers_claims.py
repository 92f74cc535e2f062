"""Verdicts on noisy negatives and synthetic outliers, their page, the study of samples and that on CIFAR-10."""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from anomseg.errors import ConfigError
from anomseg.registry import STAGES

CLAIMS = Path(__file__).parents[2] / "benchmarks" / "claims"


@pytest.fixture
def claims(monkeypatch):
    monkeypatch.syspath_prepend(str(CLAIMS))
    before = set(sys.modules)
    import outliers_verdicts

    yield outliers_verdicts
    for name in set(sys.modules) - before:
        if name.startswith(("learned", "knn", "outliers", "border", "cifar10", "two_moons", "mask_families")):
            del sys.modules[name]


def gap(value, width=0.01):
    limits = [value - width, value + width]
    return {"ap": {"value": value, "ci95": limits}, "fpr95": {"value": -value, "ci95": [-limits[1], -limits[0]]}}


def told(value, width=0.01):
    return {"value": value, "ci95": [value - width, value + width]}


def row(kind="learned", auroc=0.8, **more):
    return {
        "kind": kind, "prevalence": 0.1, "groups": 12, "pixel": {"ap": 0.2, "auroc": auroc},
        "ci95": {"auroc": [auroc - 0.05, auroc + 0.05]}, **more,
    }  # fmt: skip


def made(seed=0):
    without = ("msp", "max_logit", "energy")
    versions = ("negatives", "negatives-all", "negatives-made", "negatives-road10", "negatives-road50")
    return {
        "set": "camvid", "title": "All classes of CamVid", "seed": seed, "bench": "pasted", "benchmark": "pasted",
        "frames": 233, "held_out": [], "works": {}, "blocks": True,
        "rows": {
            **{name: row() for name in (*versions, "negatives-whole", "synthetic", "synthetic-detached")},
            "negatives": row(paste_control={
                "pasted": told(0.3), "untouched": told(0.2), "gap": told(0.1), "groups": 12,
            }),
            "msp": row("post-hoc"), "flow-likelihood": row("post-hoc", 0.4),
        },
        "differences": {
            **{f"{name} - {other}": gap(0.1) for name in versions for other in without},
            "negatives - negatives-made": gap(0.02), "negatives - negatives-road10": gap(0.005),
            "negatives - negatives-road50": gap(0.05), "negatives - negatives-whole": gap(0.03),
            "synthetic - flow-likelihood": gap(0.1), "synthetic - synthetic-without": gap(0.001),
            "flow-likelihood - position_prior": gap(-0.1),
        },
        "band_differences": {"negatives - negatives-whole": gap(-0.03)},
    }  # fmt: skip


def words(parts):
    return [one.word for one in parts]


def test_negatives_are_judged_by_every_score_without_them(claims):
    found = {one.says: one for one in claims.n1([made(), made(1)])}
    assert len(found) == 8
    clean = next(one for says, one in found.items() if "without the tested categories" in says)
    assert (clean.word, len(clean.verdicts[0].checks)) == ("supported", 6)
    other = made(1)
    other["differences"]["negatives - energy"] = gap(-0.05)
    assert words(claims.n1([made(), other]))[0] == "not supported"


def test_noise_may_cost_a_little(claims):
    found = {one.says: one.word for one in claims.n1([made()])}
    assert found["although noisy: 10 % road images cost less than 0.02 AP"] == "supported"
    assert found["although noisy: 50 % road images cost less than 0.02 AP"] == "not supported"


def test_pasting_is_judged_near_borders_and_by_its_control(claims):
    assert words(claims.n2([made()])) == ["supported", "not supported", "not supported", "not supported"]
    better = made()
    better["band_differences"]["negatives - negatives-whole"] = gap(0.03)
    better["rows"]["negatives"]["paste_control"]["gap"] = told(0.0, 0.015)
    assert words(claims.n2([better])) == ["supported"] * 4
    bare = made()
    del bare["rows"]["negatives-whole"], bare["rows"]["negatives"]["paste_control"]
    bare["band_differences"] = {}
    assert words(claims.n2([bare])) == ["undecided: not measured yet"] * 4


def test_likelihood_fails_where_it_ranks_the_wrong_way_round(claims):
    assert words(claims.r1([made()])) == ["supported", "supported", "supported", "undecided"]
    clear = made()
    clear["rows"]["flow-likelihood"] = row("post-hoc", 0.48)
    assert words(claims.r1([clear]))[0] == "undecided"
    clear["rows"]["flow-likelihood"] = row("post-hoc", 0.7)
    clear["differences"]["flow-likelihood - position_prior"] = gap(0.1)
    assert words(claims.r1([clear]))[:2] == ["not supported", "not supported"]


def border():
    import border_figures

    gaps = {name: told(0.1) for name, *_ in border_figures.GAPS}
    rows = {name: {"start": told(0.5), "end": told(0.4), "distance": told(1.5)} for name in ("data", "joint")}
    logged = {"joint": [{"step": 0, "val_sample_confidence": 0.7}, {"step": 300, "val_sample_confidence": 0.4}]}
    return {"title": "camvid", "seed": 0, "count": 400, "rows": rows, "gaps": gaps, "logged": logged}


def test_samples_are_judged_by_every_study_that_asks(claims):
    moons = {**border(), "title": "two moons", "rows": {}, "logged": {}}
    found = claims.r2({"camvid": border(), "moons": moons})
    assert words(found) == ["supported"] * 6
    del moons["gaps"]["max-softmax on detached samples less joint ones"]
    assert [len(one.verdicts) for one in claims.r2({"camvid": border(), "moons": moons})] == [2, 2, 1, 2, 2, 2]
    far = border()
    far["gaps"]["distance of noise less that of joint samples"] = told(-0.1)
    assert words(claims.r2({"camvid": far}))[-1] == "not supported"
    assert set(words(claims.r2({}))) == {"undecided: not measured yet"}


def cifar():
    rows = {
        f"{name}/{score}": {"figures": {"ap": 0.5, "auroc": 0.6, "fpr95": 0.9}, "ci95": {}, "accuracy": 0.8}
        for name in ("without", "detached", "joint") for score in ("msp", "energy")
    }  # fmt: skip
    pairs = ("joint/{0} - without/{0}", "detached/{0} - without/{0}", "joint/{0} - detached/{0}")
    differences = {pair.format(score): gap(0.02) for pair in pairs for score in ("msp", "energy")}
    one = {
        "held_out": ["cat"], "seed": 0, "frames": 2000, "prevalence": 0.4, "rows": rows, "differences": differences,
        "accuracy": {"joint - without": told(-0.001, 0.01)},
    }  # fmt: skip
    return {"studies": [one, {**one, "held_out": ["dog"]}], "steps": {"classifier": 1000, "joint": 200}}


def test_cifar_is_judged_over_all_rotations(claims):
    assert words(claims.r4(cifar())) == ["supported"] * 7
    other = cifar()
    other["studies"][1] = copy.deepcopy(other["studies"][1])
    other["studies"][1]["differences"]["joint/msp - without/msp"] = gap(-0.02)
    assert words(claims.r4(other))[0].startswith("undecided: supported on 1, not supported on 1")
    assert set(words(claims.r4(None))) == {"undecided: not measured yet"}


def test_one_call_is_one_pass_and_gives_both(claims):
    import outliers_answers as answers

    found = answers.exact()
    assert [(one.claim, one.word) for one in found] == [("N3", "supported"), ("R3", "supported")]
    network = answers.tiny(outlier_layers=("bottleneck",))
    detector = answers.NoisyNegatives.of(network)
    plain = type(detector).score

    def twice(self, scene):
        network(scene.images)
        return plain(self, scene)

    try:
        type(detector).score = twice
        assert answers.passes(detector, network) == (2, True)
    finally:
        type(detector).score = plain


def test_what_cannot_be_tested_gives_commands_that_are_there(claims):
    import outliers_answers as answers

    from anomseg.benchmarks import BENCHMARKS

    found = answers.published()
    assert {one.word for one in found} == {"not tested here"}
    assert {one.claim for one in found} == {"N4", "R5"}
    for one in found:
        assert (
            f"anomseg train street-hazards-{'noisy-negatives' if one.claim == 'N4' else 'synthetic-outliers'}"
            in one.why
        )
        for text in one.why.split("--benchmark ")[1:]:
            assert text.split()[0].partition(":")[0] in BENCHMARKS.names()


def test_page_and_command(claims, tmp_path, capsys):
    import outliers

    (tmp_path / "border").mkdir()
    (tmp_path / "cifar").mkdir()
    few = {**made(), "bench": "road_anomaly_21"}
    (tmp_path / "figures.json").write_text(json.dumps({"studies": [made(), few]}))
    (tmp_path / "border" / "camvid.json").write_text(json.dumps(border()))
    (tmp_path / "cifar" / "figures.json").write_text(json.dumps(cifar()))
    doc = tmp_path / "claims.md"
    words = ["--work", str(tmp_path), "--border", str(tmp_path / "border"), "--doc", str(doc)]
    assert outliers.main([*words, "--cifar10", str(tmp_path / "cifar")]) == 0
    text = doc.read_text()
    assert text.startswith("# Claims of noisy negatives and synthetic outliers\n")
    assert "road_anomaly_21" not in text
    for claim in ("N1", "N2", "N3", "N4", "R1", "R2", "R3", "R4", "R5"):
        assert f"\n| {claim} | " in text
    assert "| negatives | .300 [.290, .310] | .200 [.190, .210] | .100 [.090, .110] |" in text
    assert "| joint | 300 | 0.400 | - | - | - |" in text
    assert "Held out: dog; prevalence 0.400, seed 0:" in text
    assert "R3 adapts to" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"figures\.json"):
        outliers.main(["--work", str(tmp_path / "none"), "--doc", str(doc)])


def test_distances_against_scikit_learn(claims):
    import border_figures as figures

    rng = np.random.default_rng(0)
    bank, data, odd = rng.normal(size=(60, 3)) * [1, 5, 9], rng.normal(size=(20, 3)), rng.normal(3, 1, (20, 3))
    found = figures.distances(bank, {"data": data, "joint": odd})
    scale = bank.std(0)
    far = NearestNeighbors(n_neighbors=5).fit(bank / scale).kneighbors(odd / scale)[0][:, -1]
    near = NearestNeighbors(n_neighbors=5).fit(bank / scale).kneighbors(data / scale)[0][:, -1]
    np.testing.assert_allclose(found["joint"], far / near.mean())
    assert found["data"].mean() == pytest.approx(1)


def test_gaps_have_their_sign_and_pairs_are_narrower(claims):
    import border_figures as figures

    rng = np.random.default_rng(0)
    shared = rng.normal(size=200)
    first, second = shared + 1.0, shared + rng.normal(0, 0.1, 200)
    paired, apart = (figures.gap_of(first, second, 0, paired=kind) for kind in (True, False))
    assert paired["value"] == apart["value"] == pytest.approx(1.0, abs=0.05)
    width = [one["ci95"][1] - one["ci95"][0] for one in (paired, apart)]
    assert width[0] < width[1] / 5
    assert paired["ci95"][0] < paired["value"] < paired["ci95"][1]


def test_patches_show_no_held_out_class(claims, shared_data):
    import border

    root = str(shared_data / "camvid")
    found = border.patches("camvid", root, "train", ("fence",), 8, 32, 0)
    assert found.shape == (8, 3, 32, 32)
    assert 0 <= float(found.min()) < float(found.max()) <= 1
    assert torch.equal(found, border.patches("camvid", root, "train", ("fence",), 8, 32, 0))
    with pytest.raises(ConfigError, match="every frame of camvid val"):
        border.patches("camvid", root, "val", ("road",), 8, 32, 0)


def test_rotations_of_cifar_are_recipes_that_are_accepted(claims, tmp_path):
    import cifar10

    one = cifar10.Rotation(3, tmp_path, tmp_path / "data", 7)
    assert one.held_out == ("cat", "deer", "dog", "frog")
    for recipe, names in ((one.base_recipe(), ["flow", "classifier"]), (one.joint_recipe("detached"), ["joint"])):
        assert [stage.name for stage in recipe.stages] == names
        assert recipe.seed == 7
        for stage in recipe.stages:
            assert tuple(stage.data["held_out"]) == one.held_out
            assert stage.trainer["steps"] == cifar10.STEPS[stage.name]
            STAGES.get(stage.stage).factory(recipe, stage)
    modules = {name: one.joint_recipe(name).stages[0].module for name in cifar10.TRAININGS}
    assert [modules[name]["detached"] for name in ("without", "detached", "joint")] == [True, True, False]
    assert modules["without"]["weight"] == 0 < modules["joint"]["weight"]
    assert modules["joint"]["start"] == str(one.base)
    words = one.evaluation("without")
    assert f"flow_likelihood:flow={one.flow};patch=32;stride=32" in words
    assert words[words.index("--held-out") + 1] == "cat,deer,dog,frog"


def test_dry_prints_what_is_left(claims, tmp_path, capsys):
    import cifar10

    words = ["--root", "DATA", "--work", str(tmp_path), "--rotations", "8", "--dry"]
    assert cifar10.main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.rpartition(": ")[2] for line in printed] == [
        "base", "without", "detached", "joint", "runs/without", "runs/detached", "runs/joint",
    ]  # fmt: skip
    assert "without ship, truck, airplane, automobile" in printed[0]
    assert not list(tmp_path.iterdir())
