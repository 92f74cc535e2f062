"""Figures of the learned methods out of real, tiny runs; tables out of made-up figures; groups and intervals."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from anomseg.cli.main import run
from anomseg.detectors import create_detector, save_detector
from anomseg.detectors.pans import PAnS
from anomseg.metrics import PerImage
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import save_segmenter
from anomseg.training.label_table import TaughtClasses

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(BENCHMARKS))
    before = set(sys.modules)
    import learned_clean
    import learned_costs
    import learned_figures
    import learned_plan
    import learned_states
    import results_learned

    yield {module.__name__: module for module in (
        learned_clean, learned_costs, learned_figures, learned_plan, learned_states, results_learned
    )}  # fmt: skip
    sys.path.remove(str(BENCHMARKS))
    for name in set(sys.modules) - before:
        if name.startswith(("learned", "results")):
            del sys.modules[name]


def write_frames(root, split, names):
    """Road below, sky above; every other frame shows a bicyclist of another grey."""
    rng = np.random.default_rng(0)
    for index, name in enumerate(names):
        label = np.zeros((48, 64), np.uint8)
        label[20:] = 3
        label[28:40, 10 : 30 + index % 7] = 10 if index % 2 and split == "test" else 8
        pixels = (label * 20)[..., None] + rng.integers(0, 20, (48, 64, 3))
        for folder, array in (("images", pixels.astype(np.uint8)), ("labels", label)):
            path = root / folder / split / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)


def network(seed, **options):
    torch.manual_seed(seed)
    classes = TaughtClasses("camvid", ("bicyclist",)).names
    return SEGMENTERS.create("erfnet_pyramid", classes=classes, size=(32, 48), bottleneck=8, **options).eval()


@pytest.fixture(scope="module")
def measured(modules, finished):
    """The figures of these evaluations, and their states by row."""
    paths, one = finished
    return modules["learned_figures"].study_of(one, 0, one.benches[0], paths, {})


@pytest.fixture(scope="module")
def finished(modules, tmp_path_factory):
    """Finished evaluations of a host and of two PAnS networks, untrained both, on a tiny CamVid."""
    plan, root = modules["learned_plan"], tmp_path_factory.mktemp("learned")
    names = [*(f"0001TP_{index:06d}" for index in range(21)), *(f"Seq05VD_f{index:05d}" for index in range(23))]
    write_frames(root / "data" / "camvid", "test", names)
    write_frames(root / "data" / "camvid", "val", [f"0016E5_{index:05d}" for index in range(8)])
    paths = plan.Paths(root / "data", root / "encoder", root / "work")
    one = replace(plan.SETS[0], seeds=(0,))
    save_segmenter(network(0), paths.host(one, 0))
    for seed, name in enumerate(("pans", "pans-untrained")):
        save_detector(PAnS.of(network(seed, classifier="cosine")), paths.method(one, 0, name))
    stage = paths.method(one, 0, "pans") / "stages" / "pans" / "stage.json"
    stage.parent.mkdir(parents=True)
    summary = {
        "recipe": "camvid-pans", "seed": 0, "steps": 500, "images_seen": 4000, "seconds": 61.0,
        "validation_start": {"val_loss": 3.0}, "validation": {"val_loss": 0.7, "val_miou": 0.6},
    }  # fmt: skip
    stage.write_text(json.dumps({"summary": summary}))
    (stage.parents[1] / "features").mkdir()
    features = {"recipe": "camvid-pans", "seconds": 30.0, "steps": 0}
    (stage.parents[1] / "features" / "stage.json").write_text(json.dumps({"summary": features}))
    steps = {step.name: step for step in plan.run_steps(one.benches[0], one, 0, paths)}
    own = steps["no-bicyclist-0/camvid-pans-network"]
    assert own.ready
    assert run(own.words) == 0
    host = plan.evaluate_words(one.benches[0], paths, paths.host(one, 0), ("msp", "chance"))
    assert run((*host, "--out", str(paths.run(one, 0, "camvid")))) == 0
    assert own.finished
    return paths, one


def test_rows_of_both_networks_are_told_apart_and_paired(finished, measured):
    paths, one = finished
    study, _ = measured
    assert set(study["rows"]) == {"msp", "chance", "pans", "pans-untrained", "pans-msp", "pans-max_logit"}
    row = study["rows"]["pans"]
    card = json.loads((paths.run(one, 0, "camvid", "pans-network") / "pans" / "metrics.json").read_text())
    assert row["pixel"] == card["pixel"]
    assert row["miou"] == pytest.approx(card["segmentation"]["miou"])
    assert len({round(study["rows"][name]["miou"], 6) for name in ("pans", "pans-untrained", "msp")}) == 3
    assert row["training"] == {
        "recipe": "camvid-pans", "seed": 0, "steps": 500, "images_seen": 4000, "seconds": 61.0, "seconds_before": 30.0,
        "validation_loss": [3.0, 0.7], "validation": {"val_loss": 0.7, "val_miou": 0.6},
    }  # fmt: skip
    assert study["rows"]["msp"]["training"] is None
    assert row["groups"] == 4  # 21 frames and 23, in blocks of 20 that do not cross from one sequence to the other
    assert set(row["parts"]) == {"0001TP", "Seq05VD"}
    assert row["parts"]["Seq05VD"]["frames"] == 23
    assert row["errors"]["efpr95"] == card["misclassified"]["efpr95"]
    low, high = row["errors"]["ci95"]["share_less_base"]
    assert low <= high
    assert row["probability"]["brier"] == card["probability"]["brier"]
    gain = row["probability"]["gain"]["value"]
    assert gain == pytest.approx(card["probability"]["brier_of_prevalence"] - card["probability"]["brier"], abs=2e-3)
    total = sum(part.numel() for part in network(0, classifier="cosine").parameters())
    assert row["parameters"] == {"network": total, "own": 0}
    assert {"pans - pans-untrained", "pans - pans-msp", "pans - chance"} <= set(study["differences"])
    assert set(study["judged"]) == {"pans - pans-msp"}
    ap = study["differences"]["pans - pans-msp"]["ap"]["value"]
    exact = row["pixel"]["ap"] - study["rows"]["pans-msp"]["pixel"]["ap"]
    assert ap == pytest.approx(exact, abs=2e-3)
    json.dumps(study, allow_nan=False)


def test_what_is_missing_speaks_against_a_method(modules, measured):
    figures = modules["learned_figures"]
    study, _ = measured
    against = study["works"]["pans"]["against"]
    assert "not compared with position_prior-fitted" in against
    assert not study["works"]["pans"]["works"]
    good = {"ap": {"value": 0.1, "ci95": [0.05, 0.15]}}
    others = (*figures.ALL_CONTROLS, "pans-untrained")
    made = {"differences": {f"pans - {other}": good for other in others}}
    falling, rising = {"validation_loss": [3.0, 0.7]}, {"validation_loss": [0.7, 0.7]}
    assert figures.works("pans", made, falling) == {"works": True, "against": []}
    assert figures.works("pans", made, rising)["against"] == ["validation loss did not fall"]
    assert figures.works("pans", made, None)["against"] == ["no validation loss"]
    made["differences"]["pans - pans-untrained"] = {"ap": {"value": 0.1, "ci95": [-0.01, 0.2]}}
    assert figures.works("pans", made, falling)["against"] == ["not above pans-untrained"]
    made["differences"]["pans - chance"] = {"ap": {"value": 0.1, "ci95": []}}
    assert "not above chance" in figures.works("pans", made, falling)["against"]


def test_what_was_evaluated_once_is_compared_with_every_seed(modules, finished, measured, monkeypatch):
    paths, one = finished
    figures = modules["learned_figures"]
    asked = []

    def study_of(one, seed, bench, paths, shared):
        asked.append((seed, sorted(shared)))
        return measured

    monkeypatch.setattr(figures, "SETS", (replace(one, seeds=(0, 1)),))
    monkeypatch.setattr(figures, "study_of", study_of)
    assert len(figures.collect(paths)["studies"]) == 2
    assert asked == [(0, []), (1, ["chance", "pans-untrained"])]


def test_the_page_shows_every_row_and_what_was_not_run(modules, measured):
    study, _ = measured
    lines = modules["results_learned"].section({"studies": [study]})
    text = "\n".join(lines)
    for name, row in study["rows"].items():
        shown = f"*{name}* (control)" if row["kind"] == "control" else name
        assert any(line.startswith(f"| {shown} | ") and f"{row['pixel']['ap']:.4f} [" in line for line in lines)
    assert "44 frames, prevalence" in text
    assert "Sequence Seq05VD alone, of no training image (23 frames" in text
    assert "| pans, 0 | 500 | 4000 | 61 | 30 | 3.000 to 0.700 | 0.600 |" in text
    assert "pans **does not work yet** here (0 of 1 seeds): seed 0: " in text
    assert "not compared with position_prior-fitted" in text
    assert "| `street-hazards-pans` | not run |" in text
    closed = study["rows"]["pans"]["open_set"]["closed_miou"]
    assert f"| pans, network | {closed:.3f} | " in text
    assert "own prototypes" not in text
    assert "Mean over seeds" not in text
    second = {**study, "seed": 1}
    text = "\n".join(modules["results_learned"].section({"studies": [study, second]}))
    assert "Mean over seeds 0, 1 (least to greatest):" in text
    assert "| difference | seed 0 | seed 1 |" in text


def test_a_method_that_works_on_every_seed_is_said_to(modules):
    page = modules["results_learned"]
    studies = [{"seed": seed, "works": {"pgan": {"works": True, "against": []}}} for seed in (0, 1)]
    assert page.verdict_lines(studies) == ["- pgan **works** here (all seeds)."]
    studies[1]["works"]["pgan"] = {"works": False, "against": ["not above msp"]}
    assert page.verdict_lines(studies) == [
        "- pgan **does not work yet** here (1 of 2 seeds): seed 1: not above msp."
    ]  # fmt: skip


def test_several_seeds_are_judged_by_their_mean(modules):
    page, figures = modules["results_learned"], modules["learned_figures"]
    studies = [{"seed": seed, "works": {"pgan": {"works": bool(seed), "against": []}}} for seed in (0, 1)]
    studies[0]["works"]["pgan"]["against"] = ["not above chance"]
    mean = {"works": {"pgan": {"works": True, "against": []}}}
    assert page.verdict_lines(studies, mean) == [
        "- pgan **works** here in the mean over seeds (1 of 2 seeds by themselves): seed 0: not above chance."
    ]
    mean["works"]["pgan"] = {"works": False, "against": ["not above msp"]}
    assert page.verdict_lines(studies, mean) == [
        "- pgan **does not work yet** here (1 of 2 seeds): mean over seeds: not above msp; seed 0: not above chance."
    ]
    assert figures.worst_training([{"training": {"validation_loss": [1, None]}}]) is None


def test_mean_differences_are_of_what_every_seed_has(modules, measured):
    figures = modules["learned_figures"]
    study, states = measured
    again = {**study, "seed": 1}
    found = figures.over_seeds([(study, states), (again, states)], {})
    assert found["seeds"] == [0, 1]
    assert set(found["differences"]) == set(study["differences"])
    for name, one in found["differences"].items():
        assert one["ap"]["value"] == pytest.approx(study["differences"][name]["ap"]["value"])
    less = {**study, "rows": {name: row for name, row in study["rows"].items() if name != "pans"}}
    assert not figures.over_seeds([(study, states), (less, states)], {})["differences"]


def test_false_alarms_are_counted_at_both_thresholds(modules, finished, monkeypatch):
    paths, one = finished
    clean = modules["learned_clean"]
    host = paths.host(one, 0)
    folder = paths.run(one, 0, "camvid")
    thresholds = {
        "msp": clean.threshold_at_recall(folder / "msp"),
        "chance": clean.threshold_at_recall(folder / "chance"),
    }
    made = clean.Group(host, {"msp": "msp", "chance": "chance"}, thresholds)
    monkeypatch.setattr(clean, "groups", lambda *_: [made])
    monkeypatch.setattr(clean, "SETTLED", replace(clean.SETTLED, every=1))
    test = replace(clean.CLEAN[0], every=3, void=("bicyclist",))
    monkeypatch.setattr(clean, "CLEAN", (test,))
    found = clean.measure(paths, one, 0)
    assert found == clean.measure(paths, one, 0)  # kept, and read again
    rows = found["sets"]["camvid-test"]["frames"]
    assert len(rows) == 15
    bicyclists = {row["frame"]: 48 * 64 - row["pixels"] for row in rows}
    assert bicyclists["0001TP_000000"] == 0
    assert bicyclists["0001TP_000003"] == 12 * (20 + 3)
    shares = clean.shares(found)
    # Uniform scores: 5 % of the pixels are above the threshold that 5 % of other frames reach, 95 % above the recall's.
    assert shares["chance"]["camvid-test"]["passed"]["value"] == pytest.approx(0.05, abs=0.01)
    assert shares["chance"]["camvid-test"]["recall"]["value"] == pytest.approx(0.95, abs=0.01)
    assert shares["chance"]["camvid-test"]["passed"]["groups"] == 3
    curve = np.load(folder / "msp" / "curve.npz")
    held = curve["recall"][curve["threshold"] >= thresholds["msp"]]
    assert held.max() >= 0.95 > np.sort(held)[-2]


def test_costs_are_of_each_detector_alone(modules, finished, monkeypatch):
    paths, one = finished
    costs = modules["learned_costs"]
    texts = {"msp": "msp", "chance": "chance"}
    made = modules["learned_clean"].Group(paths.host(one, 0), texts, {})
    monkeypatch.setattr(costs, "groups", lambda *_: [made])
    found = costs.measure(paths, one, 0)
    assert found["detectors"]["chance"]["flops"] == 0
    assert found["detectors"]["chance"]["network"] == 0
    # The first convolution alone: 13 maps of 16x24 out of 3 channels and 3x3 taps.
    assert found["detectors"]["msp"]["flops"] > 2 * 13 * 16 * 24 * 27
    assert found["detectors"]["msp"]["network"] == sum(part.numel() for part in network(0).parameters())
    assert set(found["detectors"]["msp"]) == {"flops", "network", "own", "seconds"}


def made_frames(groups, seed=0):
    rng = np.random.default_rng(seed)
    state, every = PerImage(), []
    for index, group in enumerate(groups):
        label = (rng.random((20, 30)) < 0.1).astype(np.uint8)
        score = np.clip(rng.normal(0.3 + 0.2 * label, 0.1), 0, 1).astype(np.float32)
        state.update(score, label, f"{index:04d}", group)
        every.append((score, label))
    return state, every


def test_videos_are_parted_into_blocks_and_sets_are_left_alone(modules):
    states = modules["learned_states"]
    video, _ = made_frames(["a"] * 30 + ["b"] * 15)
    blocks = states.in_blocks(video)
    assert sorted({row.group for row in blocks.figures()}) == ["a/0", "a/1", "b/1", "b/2"]
    assert [row.group for row in video.figures()][:1] == ["a"]  # the state itself is left alone
    assert states.sequences(blocks) == ["a", "b"]
    single, _ = made_frames([""] * 6)
    assert states.in_blocks(single) is single


def test_figures_of_a_part_are_those_of_its_pixels(modules):
    states = modules["learned_states"]
    video, every = made_frames(["a"] * 30 + ["b"] * 15)
    part = states.pooled(states.part_of(states.in_blocks(video), "b"))
    score, label = (np.concatenate([one[place].ravel() for one in every[30:]]) for place in (0, 1))
    assert part["frames"] == 15
    assert part["prevalence"] == pytest.approx(label.mean())
    assert part["ap"] == pytest.approx(average_precision_score(label, score), abs=1e-3)
    assert part["auroc"] == pytest.approx(roc_auc_score(label, score), abs=1e-3)


def test_brier_gain_against_a_plain_mean(modules):
    video, every = made_frames(["a"] * 30 + ["b"] * 15)
    found = modules["learned_states"].brier_gain(modules["learned_states"].in_blocks(video))
    score, label = (np.concatenate([one[place].ravel() for one in every]) for place in (0, 1))
    plain = label.mean() * (1 - label.mean()) - ((score - label) ** 2).mean()
    assert found["value"] == pytest.approx(plain, abs=1e-3)
    assert found["ci95"][0] < found["value"] < found["ci95"][1]
    one, _ = made_frames(["a"])
    assert modules["learned_states"].brier_gain(one)["ci95"] == []


def test_a_probability_out_of_a_raw_score_and_its_curve(modules):
    frames, every = made_frames(["a"] * 30 + ["b"] * 15)
    states, slope, intercept = modules["learned_states"], 20.0, -9.0
    score, label = (np.concatenate([one[place].ravel() for one in every]) for place in (0, 1))
    sigmoid = 1 / (1 + np.exp(-(slope * score.astype(float) + intercept)))
    found = states.probability_of(states.logistic(frames, slope, intercept))
    assert found["brier"] == pytest.approx(((sigmoid - label) ** 2).mean(), abs=2e-3)
    card = {
        "probability": {"brier": 9.0, "bins": []},
        "detector": {"parameters": {"probability": "raw"}, "extractor": {"probability_curve": [slope, intercept]}},
    }
    part = modules["learned_figures"].probability_part
    assert part(card, frames)["brier"] == found["brier"]
    assert part(card, frames)["gain"]["value"] == pytest.approx(found["brier_of_prevalence"] - found["brier"])
    card["detector"]["parameters"]["probability"] = "calibrated"
    assert part(card, frames)["brier"] == 9.0
    assert part({"probability": None}, frames) is None
    twice = states.logistic(frames, 1e5, -5e4)  # all scores fall together at 0 and 1
    assert sum(int(one.inlier_counts.sum()) for _, one in twice.histograms()) == int((label == 0).sum())


def test_shares_of_groups(modules):
    share = modules["learned_states"].share
    assert share([1, 1], [10, 10]) == {"value": 0.1, "ci95": [0.1, 0.1], "groups": 2}
    assert share([1], [10]) == {"value": 0.1, "ci95": [], "groups": 1}
    assert share([], []) == {"value": None, "ci95": [], "groups": 0}
    low, high = share([0, 10], [10, 10])["ci95"]
    assert (low, high) == (0.0, 1.0)


def test_saved_detectors_are_counted_with_what_they_carry(modules):
    counts = modules["learned_costs"].numbers(create_detector("msp"), network(0))
    assert counts["own"] == 0
