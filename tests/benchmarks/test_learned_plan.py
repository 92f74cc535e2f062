"""The plan of trainings and evaluations of the learned methods: order, commands, and who does which step."""

import fcntl
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from anomseg.training import load_recipe, parse_overrides, recipe_names

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    import learned
    import learned_plan
    import learned_steps

    yield learned_plan, learned_steps, learned
    for name in set(sys.modules) - before:
        if name.startswith(("learned", "results")):
            del sys.modules[name]


@pytest.fixture
def paths(plan, tmp_path):
    return plan[0].Paths(Path("DATA"), Path("ENCODER"), tmp_path / "work")


def test_order_of_the_trainings(plan, paths):
    names = [step.name for step in plan[0].trainings(paths)]
    first = [f"no-bicyclist-0/{name}" for name in ("host", "pans", "pgan", "dicnet", "dicnet-activated")]
    assert names[:5] == first
    assert names[5:9] == [f"{name}-untrained" for name in first[1:]]
    assert names[9] == "no-fence-0/host"
    sets = list(dict.fromkeys(name.partition("/")[0] for name in names))
    assert sets == ["no-bicyclist-0", "no-fence-0", "camvid-0", "no-bicyclist-1", "no-fence-1", "no-bicyclist-2",
                    "no-fence-2"]  # fmt: skip
    assert not [name for name in names if name.endswith("untrained") and "-0/" not in name]
    assert len(set(names)) == len(names)


def test_every_training_is_accepted_by_its_recipe(plan, paths):
    for step in plan[0].trainings(paths):
        command, name, *rest = step.words
        assert command == "train"
        if name not in recipe_names():
            continue
        rest = [word for word in rest if word != "--quiet"]
        out = rest.index("--out")
        recipe = load_recipe(name, parse_overrides(rest[:out] + rest[out + 2 :]))
        data = recipe.stages[0].data
        assert list(data.get("held_out", [])) == [word for word in ("bicyclist", "fence") if f"no-{word}" in step.name]


def test_untrained_versions_differ_from_the_trained_in_the_steps_alone(plan, paths):
    steps = {step.name: step for step in plan[0].trainings(paths)}
    for method in plan[0].METHODS:
        one = steps[f"no-fence-0/{method.name}"]
        other = steps[f"no-fence-0/{method.name}-untrained"]
        assert [word for word in other.words if word not in one.words] == [
            f"--stages.{method.stage}.trainer.steps", str(other.out)
        ]  # fmt: skip
        assert one.cache == other.cache


def test_all_seeds_and_methods_of_a_set_share_their_crops(plan, paths):
    steps = [step for step in plan[0].trainings(paths) if not step.name.endswith("/host")]
    for step in steps:
        words = dict(pairwise(step.words))
        assert words["--stages.features.data.seed"] == "0"
        assert words["--stages.features.module.cache"] == str(paths.work / "features")
        assert step.cache == step.name.partition("/")[0].rpartition("-")[0]


def test_a_host_that_is_trained_already_is_used(plan, paths, tmp_path):
    hosts = tmp_path / "hosts"
    (hosts / "camvid-no-fence-0").mkdir(parents=True)
    given = replace(paths, hosts=hosts)
    one = next(one for one in plan[0].SETS if one.key == "no-fence")
    assert given.host(one, 0) == paths.work / "networks" / "camvid-no-fence-0"
    (hosts / "camvid-no-fence-0" / "segmenter.json").write_text("{}")
    assert given.host(one, 0) == hosts / "camvid-no-fence-0"
    own = paths.work / "networks" / "camvid-no-fence-0"
    own.mkdir(parents=True)
    (own / "segmenter.json").write_text("{}")
    assert given.host(one, 0) == own  # what was trained on it stays with it


def test_evaluations_hold_out_what_was_not_taught(plan, paths):
    steps = {step.name: step for step in plan[0].evaluations(paths)}
    words = steps["no-fence-1/camvid-host"].words
    assert words[words.index("--held-out") + 1] == "fence"
    assert words[words.index("--split") + 1] == "test"
    named = [words[place + 1] for place, word in enumerate(words) if word == "--detector"]
    of_seed = {"pgan", "dicnet", "msp", "max_logit", "not_road"}
    assert {Path(name).name for name in named} == of_seed
    first = steps["no-fence-0/camvid-host"].words
    named = [first[place + 1] for place, word in enumerate(first) if word == "--detector"]
    assert {Path(name).name for name in named} - of_seed == {
        "mahalanobis-fitted",
        "knn-fitted",
        "pgan-untrained", "dicnet-untrained", "position_prior-fitted", "chance", "position_prior", "local_contrast",
    }  # fmt: skip
    own = steps["no-fence-0/camvid-pans-network"]
    assert {"pans", "pans-untrained"} <= {Path(word).name for word in own.words}
    assert paths.work / "no-fence-0" / "pans" / "networks" / "network" / "segmenter.json" in own.needs
    assert "camvid-0/road_anomaly_21-host" in steps
    for seed, versions in ((0, ("", "-untrained")), (1, ("",))):
        added = steps[f"no-fence-{seed}/camvid-added"]
        folders = [paths.work / f"no-fence-{seed}" / f"dicnet-activated{version}" for version in versions]
        assert [word for word in added.words if "dicnet" in word] == [str(folder) for folder in folders]
        assert {folder / "detector.json" for folder in folders} < set(added.needs)
    fit = steps["no-fence-0/knn-fitted"].words
    assert fit[fit.index("--held-out") + 1] == "fence"
    closed = steps["camvid-0/closed-host"].words
    assert "--held-out" not in closed


def test_an_evaluation_is_finished_with_its_last_card(plan, paths):
    step = next(step for step in plan[0].evaluations(paths) if step.name == "no-fence-1/camvid-host")
    assert not step.finished
    step.out.mkdir(parents=True)
    (step.out / "run.json").write_text('{"run": {"detectors": {"msp": {}, "pgan": {}}}}')
    for name in ("msp", "pgan"):
        assert not step.finished
        (step.out / name).mkdir()
        (step.out / name / "metrics.json").write_text("{}")
    assert step.finished


def made_steps(plan, folder):
    def step(name, needs=(), cache=None):
        return plan[0].Step(name, (name,), folder / name, "done", tuple(folder / one / "done" for one in needs), cache)

    return [step("second", ["first"]), step("first"), step("third", ["second"], "c"), step("fourth", [], "c")]


def worker(steps, log=None, fail=()):
    def command(words):
        step = next(step for step in steps if step.words == tuple(words))
        if log is not None:
            log.append(step.name)
        if step.name in fail:
            return 2
        step.out.mkdir(parents=True)
        (step.out / "done").touch()
        return 0

    return command


def test_what_is_needed_comes_first_and_nothing_is_done_twice(plan, tmp_path, capsys):
    steps, log = made_steps(plan, tmp_path), []
    assert plan[1].run_all(lambda: steps, tmp_path / "locks", worker(steps, log)) == []
    assert log == ["first", "second", "third", "fourth"]
    assert plan[1].run_all(lambda: steps, tmp_path / "locks", worker(steps, log)) == []
    assert len(log) == 4
    assert capsys.readouterr().out.splitlines()[0] == "$ anomseg first"


def test_a_failure_is_named_with_what_it_holds_up(plan, tmp_path):
    steps, log = made_steps(plan, tmp_path), []
    left = plan[1].run_all(lambda: steps, tmp_path / "locks", worker(steps, log, fail=["first"]))
    assert left == ["first", "second", "third"]
    assert log == ["first", "fourth"]


def test_a_step_that_another_process_is_at_is_left_to_it(plan, tmp_path):
    steps, log = made_steps(plan, tmp_path), []
    lock = tmp_path / "locks" / "cache.c.lock"
    lock.parent.mkdir()
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        looked = []

        def other_process(words):
            code = worker(steps, log)(words)
            if log[-1] == "second":  # the other one finishes its step meanwhile, then another of its cache
                for name in ("third", "fourth"):
                    (tmp_path / name).mkdir()
                    (tmp_path / name / "done").touch()
            looked.append(words)
            return code

        assert plan[1].run_all(lambda: steps, lock.parent, other_process, wait=0.0) == []
    assert log == ["first", "second"]


def test_dry_prints_what_is_left_and_runs_nothing(plan, tmp_path, capsys):
    words = ["--data", "DATA", "--weights", "ENCODER", "--work", str(tmp_path), "--dry"]
    assert plan[2].main(["train", *words, "--only", "no-fence-*", "--untrained"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[::2] == [f"# no-fence-0/{name}-untrained" for name in ("pans", "pgan", "dicnet", "dicnet-activated")]
    assert all(line.startswith("anomseg train camvid-") for line in printed[1::2])
    assert plan[2].main(["evaluate", *words, "--only", "no-fence-0/knn-fitted"]) == 0
    assert capsys.readouterr().out.count("anomseg fit") == 1
    assert not list(tmp_path.iterdir())
