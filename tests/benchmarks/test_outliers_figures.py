"""Figures of what teaches with outliers out of small made runs; the page out of them; pasted inliers by brute force."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anomseg.cli.main import run
from anomseg.data.pasted.manifest import MANIFEST
from anomseg.detectors import save_detector
from anomseg.detectors.noisy_negatives import NoisyNegatives
from anomseg.metrics import JudgedImages, PerImage
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import save_segmenter
from anomseg.training.label_table import TaughtClasses

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(BENCHMARKS))
    before = set(sys.modules)
    import outliers_figures
    import outliers_plan
    import outliers_states
    import results_outliers

    yield {
        module.__name__.partition("_")[2]: module for module in (outliers_figures, outliers_plan, outliers_states)
    } | {"page": results_outliers}
    sys.path.remove(str(BENCHMARKS))
    for name in set(sys.modules) - before:
        if name.startswith(("learned", "results", "outliers")):
            del sys.modules[name]


def write_frames(root, names):
    """Road below, sky above; every other frame shows a bicyclist in place of a car."""
    rng = np.random.default_rng(0)
    for index, name in enumerate(names):
        label = np.zeros((48, 64), np.uint8)
        label[20:] = 3
        label[28:40, 10 : 30 + index % 7] = 10 if index % 2 else 8
        pixels = (label * 20)[..., None] + rng.integers(0, 20, (48, 64, 3))
        for folder, array in (("images", pixels.astype(np.uint8)), ("labels", label)):
            path = root / folder / "test" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)


def network(seed, **options):
    torch.manual_seed(seed)
    classes = TaughtClasses("camvid", ("bicyclist",)).names
    return SEGMENTERS.create("erfnet_pyramid", classes=classes, size=(32, 48), bottleneck=8, **options).eval()


@pytest.fixture(scope="module")
def finished(modules, tmp_path_factory):
    """Finished evaluations of a host, of a network with two heads and of one without training, on a tiny CamVid."""
    plan, root = modules["plan"], tmp_path_factory.mktemp("outliers")
    names = [*(f"0001TP_{index:06d}" for index in range(21)), *(f"Seq05VD_f{index:05d}" for index in range(23))]
    write_frames(root / "data" / "camvid", names)
    paths = plan.Paths(root / "data", root / "encoder", root / "work", root / "hosts")
    one = plan.SETS[0]
    save_segmenter(network(0), paths.host(one, 0))
    for seed, name in enumerate(("negatives", "negatives-untrained")):
        two_heads = network(seed, outlier_layers=("bottleneck",))
        save_detector(NoisyNegatives.of(two_heads), paths.version(one, 0, name))
    for stage, summary in (
        ("heads", {
            "recipe": "camvid-noisy-negatives", "seed": 0, "steps": 500, "images_seen": 4000, "seconds": 61.0,
            "validation_start": {"val_loss": 3.0}, "validation": {"val_loss": 0.7, "val_miou": 0.6},
        }),
        ("features", {"recipe": "camvid-noisy-negatives", "seconds": 30.0, "steps": 0}),
    ):  # fmt: skip
        path = paths.version(one, 0, "negatives") / "stages" / stage / "stage.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"summary": summary}))
    steps = {step.name: step for step in plan.evaluations(paths)}
    for name in ("negatives", "negatives-untrained"):
        step = steps[f"no-bicyclist-0/camvid-{name}"]
        assert step.ready
        assert run([*step.words, "--band", "10"]) == 0
        assert step.finished
    banded = replace(one.benches[0], extra=(*one.benches[0].extra, "--band", "10"))
    host = plan.run_step(banded, one, 0, "host", paths.host(one, 0), ["msp", "chance"], (), paths)
    assert run(host.words) == 0
    return paths, one


@pytest.fixture(scope="module")
def made(modules, finished):
    paths, one = finished
    return modules["figures"].study_of(one, 0, one.benches[0], paths, {})


@pytest.fixture(scope="module")
def study(made):
    return made[0]


def test_means_over_seeds_are_of_rows_that_all_seeds_have(modules, made):
    study, drawn = made
    figures = modules["figures"]
    again = {**study, "seed": 1, "rows": {**study["rows"]}}
    del again["rows"]["negatives-product"]
    found = figures.over_seeds([(study, drawn), (again, drawn)], {})
    assert (found["set"], found["bench"], found["seeds"]) == (study["set"], study["bench"], [0, 1])
    # The same run twice: the mean is either one.
    for other in ("msp", "chance", "negatives-untrained"):
        assert found["differences"][f"negatives - {other}"] == study["differences"][f"negatives - {other}"]
    assert not [name for name in found["differences"] if name.startswith("negatives-product - ")]
    assert set(found["works"]) == set(study["works"]) - {"negatives-product"}
    assert found["works"]["negatives"] == study["works"]["negatives"]


def test_rows_are_named_after_what_they_score(finished, study):
    paths, one = finished
    assert set(study["rows"]) == {
        "msp", "chance", "negatives", "negatives-product", "negatives-hybrid", "negatives-msp", "negatives-untrained",
    }  # fmt: skip
    row = study["rows"]["negatives-hybrid"]
    cards = list(paths.run(one, 0, "camvid", "negatives").glob("*/metrics.json"))
    found = {json.loads(path.read_text())["detector"]["parameters"]["measure"]: path for path in cards}
    assert set(found) == {"auto", "product", "hybrid", "msp"}
    assert row["pixel"] == json.loads(found["hybrid"].read_text())["pixel"]
    assert [study["rows"][name]["kind"] for name in ("negatives-product", "negatives-untrained", "msp", "chance")] == [
        "learned", "untrained", "post-hoc", "control",
    ]  # fmt: skip
    assert row["groups"] == 4
    assert set(row["parts"]) == {"0001TP", "Seq05VD"}
    json.dumps(study, allow_nan=False)


def test_figures_of_a_band_are_those_of_its_card(finished, study):
    paths, one = finished
    card = json.loads((paths.run(one, 0, "camvid", "host") / "msp" / "metrics.json").read_text())
    band = study["rows"]["msp"]["band"]
    assert band["ap"] == pytest.approx(card["bands"]["10"]["ap"], abs=2e-3)
    assert band["prevalence"] == pytest.approx(card["bands"]["10"]["prevalence"])
    assert study["band_differences"] == {}  # nothing was trained on whole images


def test_training_is_that_of_the_stage_with_the_steps(study):
    row = study["rows"]["negatives"]
    assert (row["training"]["steps"], row["training"]["seconds"], row["training"]["seconds_before"]) == (
        500,
        61.0,
        30.0,
    )
    assert row["training"]["validation_loss"] == [3.0, 0.7]
    assert study["rows"]["msp"]["training"] is None
    assert study["rows"]["negatives-untrained"]["training"] is None


def test_what_is_compared_and_what_speaks_against(modules, study):
    names = {f"negatives - {other}" for other in ("negatives-untrained", "msp", "chance")}
    assert names <= set(study["differences"])
    assert "negatives-untrained - msp" not in study["differences"]
    exact = study["rows"]["negatives"]["pixel"]["ap"] - study["rows"]["msp"]["pixel"]["ap"]
    assert study["differences"]["negatives - msp"]["ap"]["value"] == pytest.approx(exact, abs=2e-3)
    assert "not compared with position_prior" in study["works"]["negatives"]["against"]
    good = {"ap": {"value": 0.1, "ci95": [0.05, 0.15]}}
    figures = modules["figures"]
    made = {
        "rows": {"synthetic": {"training": {"validation_loss": [1.0, 0.9]}}},
        "differences": {f"synthetic - {other}": good for other in (*figures.ALL_CONTROLS, "synthetic-untrained")},
    }
    assert figures.works("synthetic", made) == {"works": True, "against": []}
    made["rows"]["synthetic"]["training"] = None
    assert figures.works("synthetic", made)["against"] == ["no validation loss"]


def test_the_page_shows_every_row(modules, study):
    second = {**study, "seed": 1}
    text = "\n".join(modules["page"].section({"studies": [study, second]}))
    for name, row in study["rows"].items():
        shown = f"*{name}* (control)" if row["kind"] == "control" else name
        assert f"| {shown} | " in text
        assert f"{row['pixel']['ap']:.4f} [" in text
    assert "| negatives, 0 | 500 | 4000 | 61 | 30 | 3.000 to 0.700 | 0.600 |" in text
    assert "Within 10 pixels of an anomalous object's border" in text
    assert "threshold of 95 % recall taken from the other half" in text
    assert "Sequence Seq05VD alone, of no training image (23 frames" in text
    assert "Mean over seeds 0, 1" in text
    assert "pasted inliers flagged" not in text
    control = {"pasted": {"value": 0.25, "ci95": [0.2, 0.3]}, "untouched": {"value": 0.1, "ci95": []}}
    rows = {**study["rows"], "msp": {**study["rows"]["msp"], "paste_control": control}}
    text = "\n".join(modules["page"].section({"studies": [{**study, "rows": rows}]}))
    assert "| 0.250 [0.200, 0.300] | 0.100 |" in text


def judged(count=8, seed=0):
    """Made frames in groups: scores and what each pixel is (0 untouched, 1 pasted, 2 anomaly, 3 other inlier)."""
    rng = np.random.default_rng(seed)
    images, every = JudgedImages(PerImage(), PerImage()), []
    for index in range(count):
        kind = rng.integers(0, 4, (20, 30))
        score = rng.random((20, 30)).astype(np.float32) + 0.4 * (kind == 2) + 0.2 * (kind == 1)
        for state, own in ((images.right, 0), (images.wrong, 1)):
            label = np.select([kind == 2, kind == own], [1, 0], 255).astype(np.uint8)
            state.update(score, label, f"{index:04d}", f"g{index}")
        every.append((score, kind))
    return images, every


def test_resamples_in_parts_give_the_same(modules, monkeypatch):
    images, _ = judged()
    whole = modules["states"].paste_gap(images)
    monkeypatch.setattr(modules["states"], "CELLS", 1)
    assert modules["states"].paste_gap(images) == whole


def test_pasted_inliers_against_a_plain_count(modules):
    images, every = judged()
    found = modules["states"].paste_gap(images)
    score, kind = (np.concatenate([one[place].ravel() for one in every]) for place in (0, 1))
    threshold = np.sort(score[kind == 2])[int(np.floor(0.05 * (kind == 2).sum()))]
    for name, own in (("untouched", 0), ("pasted", 1)):
        assert found[name]["value"] == pytest.approx((score[kind == own] >= threshold).mean(), abs=5e-3)
    assert found["gap"]["value"] == pytest.approx(found["pasted"]["value"] - found["untouched"]["value"])
    low, high = found["gap"]["ci95"]
    assert 0 < low < found["gap"]["value"] < high
    assert found["groups"] == 8
    single, _ = judged(1)
    assert modules["states"].paste_gap(single)["gap"]["ci95"] == []
    assert modules["states"].paste_gap(JudgedImages(images.right, PerImage())) is None


def test_a_run_on_pasted_frames_has_a_control(modules, finished, tmp_path):
    paths, one = finished
    plan, states = modules["plan"], modules["states"]
    words = ("data", "paste", "camvid", "--root", str(paths.data / "camvid"), "--split", "test", "--recipe", "control",
             "--classes", "car", "--limit", "4", "--out", str(tmp_path / "pasted"), "--quiet")  # fmt: skip
    assert run(words) in (0, 1)
    assert (tmp_path / "pasted" / MANIFEST).is_file()
    assert states.control_state(paths.run(one, 0, "camvid", "host") / "msp") is None
    assert plan.PASTED.benchmark == "pasted"
