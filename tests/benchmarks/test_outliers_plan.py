"""The plan of trainings and evaluations of what teaches with outliers: order, commands, and what each needs."""

import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from anomseg.benchmarks import BENCHMARKS as REGISTERED
from anomseg.detectors import create_detector
from anomseg.registry import STAGES
from anomseg.training import load_recipe, parse_overrides

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    import outliers
    import outliers_plan

    yield outliers_plan, outliers
    for name in set(sys.modules) - before:
        if name.startswith(("learned", "results", "outliers")):
            del sys.modules[name]


@pytest.fixture
def paths(plan, tmp_path):
    return plan[0].Paths(Path("DATA"), Path("ENCODER"), tmp_path / "work", Path("HOSTS"))


def steps_of(plan, paths, kind="trainings"):
    return {step.name: step for step in getattr(plan[0], kind)(paths)}


def test_the_most_telling_comes_first(plan, paths):
    names = [step.name for step in plan[0].trainings(paths)]
    assert names[:2] == ["no-bicyclist/flow", "camvid/flow"]
    assert names[2:6] == [
        "no-bicyclist-0/negatives", "no-bicyclist-0/negatives-untrained", "camvid-0/negatives",
        "camvid-0/negatives-untrained",
    ]  # fmt: skip
    first = [name for name in names if "-0/" in name]
    assert first[-2:] == ["camvid-0/negatives-road10", "camvid-0/negatives-road50"]
    assert len(set(names)) == len(names)
    assert not [name for name in names if name.endswith(("untrained", "road10", "road50")) and "-0/" not in name]


def test_every_training_is_accepted_by_its_recipe(plan, paths):
    for step in plan[0].trainings(paths):
        command, name, *rest = step.words
        assert command == "train"
        rest = [word for word in rest if word != "--quiet"]
        out = rest.index("--out")
        recipe = load_recipe(name, parse_overrides(rest[:out] + rest[out + 2 :]))
        wanted = ["bicyclist"] if "no-bicyclist" in step.name else []
        for stage in recipe.stages:
            if "sources" in stage.data:
                assert list(stage.data["held_out"]) == wanted
            if recipe.seed == 0:  # other seeds have the same options
                STAGES.get(stage.stage).factory(recipe, stage)  # takes what the options say, or raises
        if not step.name.endswith("/flow"):
            assert recipe.seed == int(step.name.partition("/")[0].rpartition("-")[2])


def test_what_a_version_overrides_changes_the_recipe(plan, paths):
    for version in plan[0].VERSIONS:
        plain = load_recipe(version.recipe)
        changed = load_recipe(version.recipe, {key: text.replace("{data}", "DATA") for key, text in version.overrides})
        assert (plain.stages != changed.stages) is bool(version.overrides), version.name


def test_untrained_versions_differ_from_the_trained_in_the_steps_alone(plan, paths):
    steps = steps_of(plan, paths)
    for name, stage in (("negatives", "heads"), ("synthetic", "joint")):
        one, other = steps[f"camvid-0/{name}"], steps[f"camvid-0/{name}-untrained"]
        added = [word for word in other.words if word not in one.words]
        # The other words of the override are among those of the trained one.
        assert [word for word in added if word != "0"] == [f"--stages.{stage}.trainer.steps", str(other.out)]
        assert dict(pairwise(other.words))[f"--stages.{stage}.trainer.steps"] == "0"
        assert one.cache == other.cache


def test_what_pastes_alike_shares_its_crops(plan, paths):
    caches = {}
    for step in plan[0].trainings(paths):
        words = dict(pairwise(step.words))
        if step.cache is None:
            assert "--stages.features.module.cache" not in words
            continue
        assert words["--stages.features.data.seed"] == "0"
        pastes = [(key, value) for key, value in words.items() if "data.negatives" in key]
        caches.setdefault(step.cache, set()).add(str(sorted(pastes)))
    assert all(len(kinds) == 1 for kinds in caches.values())
    kinds = [next(iter(found)) for name, found in caches.items() if name.startswith("camvid-")]
    assert len(set(kinds)) == len(kinds)


def test_roads_among_the_negatives_have_their_share(plan, paths):
    steps = steps_of(plan, paths)
    for share in (10, 50):
        words = dict(pairwise(steps[f"camvid-0/negatives-road{share}"].words))
        tree = yaml.safe_load(words["--stages.features.data.negatives.sources"])
        assert [one["negatives"] for one in tree] == ["imagenet", "folder"]
        assert tree[1]["root"] == "DATA/camvid/images/train"
        assert tree[1]["share"] / sum(one["share"] for one in tree) == pytest.approx(share / 100)


def test_joint_training_starts_from_the_encoder_and_one_flow(plan, paths):
    steps = steps_of(plan, paths)
    words = dict(pairwise(steps["no-bicyclist-2/synthetic-detached"].words))
    assert words["--stages.joint.module.encoder_start"] == str(paths.weights)
    assert words["--stages.joint.module.flow"] == str(paths.work / "no-bicyclist-flow")
    assert words["--stages.flow.trainer.steps"] == "0"
    assert words["--stages.joint.module.detached"] == "true"
    assert paths.work / "no-bicyclist-flow" / "flow.json" in steps["no-bicyclist-2/synthetic"].needs


def test_evaluations_name_what_exists(plan, paths):
    for step in plan[0].evaluations(paths):
        words = dict(pairwise(step.words))
        if step.words[0] != "evaluate":
            continue
        assert words["--benchmark"] in REGISTERED.names()
        given = [step.words[place + 1] for place, word in enumerate(step.words) if word == "--detector"]
        for text in given:
            if "/" not in text.partition(":")[0]:
                create_detector(text)


def test_evaluations_are_of_the_networks_that_were_trained(plan, paths):
    trained = {step.out for step in plan[0].trainings(paths)}
    for step in plan[0].evaluations(paths):
        for path in step.needs:
            made = paths.work in path.parents and "fitted" not in path.parts and "made" not in path.parts
            assert not made or path.parent in trained, path
    steps = steps_of(plan, paths, "evaluations")
    host = steps["no-bicyclist-0/camvid-host"].words
    assert host[host.index("--held-out") + 1] == "bicyclist"
    assert {"msp", "energy", "chance"} <= set(host)
    measures = steps["camvid-1/pasted-negatives"]
    assert [word for word in measures.words if word.startswith("noisy_negatives:")] == [
        f"noisy_negatives:network={paths.work}/camvid-1/negatives;measure={name}"
        for name in ("product", "hybrid", "msp")
    ]
    assert "--band" in measures.words
    assert paths.work / "made" / "pasted" / "manifest.json" in measures.needs
    flow = steps["camvid-0/road_anomaly-flow"]
    assert [name for name in steps if name.endswith("-flow")][-1] == list(steps)[-1]
    assert f"flow_likelihood:flow={paths.work}/camvid-flow;stride=32" in flow.words


def test_pasted_frames_use_the_half_that_no_training_sees(plan, paths):
    words = plan[0].pasted_step(paths).words
    assert words[:3] == ("data", "paste", "camvid")
    assert dict(pairwise(words))["--half"] == "odd"
    assert not [step for step in plan[0].trainings(paths) if "coco" in " ".join(step.words)]


def test_dry_prints_what_is_left_and_runs_nothing(plan, tmp_path, capsys):
    words = ["--data", "DATA", "--weights", "ENCODER", "--hosts", "HOSTS", "--work", str(tmp_path), "--dry"]
    assert plan[1].main(["train", *words, "--only", "camvid-0/negatives-road*"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[::2] == ["# camvid-0/negatives-road10", "# camvid-0/negatives-road50"]
    assert plan[1].main(["evaluate", *words, "--only", "no-bicyclist-0/knn-fitted"]) == 0
    assert capsys.readouterr().out.count("anomseg fit") == 1
    assert not list(tmp_path.iterdir())
