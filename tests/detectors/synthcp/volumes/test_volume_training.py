"""Training on volumes: stages end in detectors, seeds are kept, a handful of cases is learned by heart."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from volume_cases import CLASSES, cubes

from anomseg.data.volumes import WorkingGrid, load_cases
from anomseg.detectors.synthcp.volumes import VolumeSetting, load_volume_detector
from anomseg.detectors.synthcp.volumes.bank import CaseBank, JudgedCases, JudgedRuns, LayoutMiddles, LayoutSlices
from anomseg.detectors.synthcp.volumes.comparator_stage import VolumeComparatorConfig, VolumeComparatorModule
from anomseg.detectors.synthcp.volumes.shape_vae import ShapeVAE, shape_loss
from anomseg.detectors.synthcp.volumes.slices import soft_dice
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.evaluation.volumes import evaluate_cases
from anomseg.training import load_recipe, train
from anomseg.training.options import OptimiserConfig

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
SIZE = [4, 32, 32]


def phantoms(split: str, count: int) -> dict:
    return {"benchmark": "phantoms", "options": {"split": split, "count": count, "size": SIZE}}


def small(stage: str, split: str = "train", **more) -> dict:
    """Overrides that make a stage of a phantom recipe tiny."""
    plain = {
        "module.size": SIZE,
        "module.margin": 0,
        "data.sources": [phantoms(split, 3)],
        "data.validation": phantoms("val", 2),
        "data.batch_size": 2,
        "trainer.steps": 2,
        "trainer.validate_every": 1,
        **more,
    }
    return {f"stages.{stage}.{key}": value for key, value in plain.items()}


GENERATOR = small("synthesis", "generator", **{"module.ups": 2, "module.width": 2, "module.hidden": 4})
THIN = {"module.widths": [4, 4, 4, 4], "module.hidden": 4, "data.slices": 3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Directories of every recipe's detector, hardly trained."""
    root = tmp_path_factory.mktemp("volumes")
    both = {**GENERATOR, **small("comparator", **THIN)}
    train("phantom-synthcp", root / "synthcp", both, quiet=True)
    deep = {**both, "stages.synthesis.module.dims": 3, "stages.comparator.module.dims": 3}
    train("phantom-synthcp", root / "deep", deep, quiet=True)
    train("phantom-direct", root / "direct", small("comparator", **THIN), quiet=True)
    shape = small("shape", "generator", **{"module.latent": 4, "module.width": 2})
    shape["stages.shape.module.failed"] = {"sources": [phantoms("train", 3)]}
    train("phantom-shape", root / "shape", shape, quiet=True)
    return root


@pytest.mark.parametrize(
    ("name", "kind"),
    [("synthcp", "synthcp_volume"), ("deep", "synthcp_volume"), ("direct", "direct_volume"), ("shape", "shape_vae")],
)
def test_recipes_end_in_detectors(trained, name, kind):
    detector = load_volume_detector(trained / name)
    assert detector.registry_name == kind
    assert detector.setting.targets == ("tumour",)
    # What trained the generator counts too.
    assert detector.fitted_on["frames"] == (3 if name == "direct" else 6)
    case = load_cases("phantoms:count=1;size=[4,32,32]")[0]
    assert 0 <= float(detector.predict(case).failure.class_quality) <= 1
    if name != "shape":
        stage = json.loads((trained / name / "stages" / "comparator" / "stage.json").read_text())
        assert stage["summary"]["steps"] == 2
    if name in ("synthcp", "deep"):
        assert list((trained / name / "stages" / "synthesis" / "samples").glob("*.png"))


def test_cards_and_overlap(trained, tmp_path):
    detectors = {name: load_volume_detector(trained / name) for name in ("synthcp", "direct", "shape")}
    cases = load_cases("phantoms:count=9;size=[4,32,32]")
    cards = evaluate_cases(cases, detectors, tmp_path, benchmark="phantoms")
    assert [card["folder"] for card in cards] == list(detectors)
    for card in cards:
        assert card["task"] == "failure"
        assert card["frames"] == card["groups"] == 9
        assert len(card["by_kind"]) == 9
        assert set(card["comparison"]) == set(detectors) - {card["folder"]}
        rows = (tmp_path / card["folder"] / "cases.csv").read_text().splitlines()
        assert len(rows) == 10
        table = [row.split(",") for row in rows[1:]]
        told, true = (np.array([float(row[column]) for row in table]) for column in (3, 4))
        assert card["class_quality"]["mae"] == pytest.approx(np.abs(told - true).mean(), abs=1e-5)
        if card["class_quality"]["pearson"] is not None:
            assert card["class_quality"]["pearson"] == pytest.approx(np.corrcoef(told, true)[0, 1], abs=1e-3)
    again = evaluate_cases(
        cases, detectors, tmp_path, benchmark="phantoms", on_progress=lambda *_: pytest.fail("again")
    )
    assert again == cards
    with pytest.raises(ConfigError, match="another run"):
        evaluate_cases(cases, detectors, tmp_path, benchmark="phantoms", seed=1)
    seen = load_cases("phantoms:split=generator;count=4;size=[4,32,32]")
    with pytest.raises(DataError, match="fitted on 3 of 4 cases"):
        evaluate_cases(seen, {"synthcp": detectors["synthcp"]}, tmp_path / "seen", benchmark="phantoms")
    card = evaluate_cases(
        seen, {"synthcp": detectors["synthcp"]}, tmp_path / "seen", benchmark="phantoms", allow_overlap=True
    )[0]
    assert card["overlap"] == 3


def test_undefined_dice_is_said_and_not_scored(trained, tmp_path):
    from dataclasses import replace

    detector = load_volume_detector(trained / "direct")
    cases = load_cases("phantoms:count=5;size=[4,32,32]")
    nothing = np.zeros(SIZE, np.uint8)
    cases[0] = replace(cases[0], prediction=lambda: nothing, truth=lambda: nothing)
    missed = replace(cases[1], prediction=lambda: nothing)
    cases[1] = missed
    cases[2] = replace(cases[2], truth=None)
    cases[3] = replace(cases[3], prediction=lambda: nothing[:3])
    card = evaluate_cases(cases, {"direct": detector}, tmp_path, benchmark="made")[0]
    assert card["undefined"] == {"tumour": [cases[0].id]}
    assert card["class_quality"]["classes"]["tumour"]["frames"] == 2
    assert {item["frame"] for item in card["skipped"]} == {cases[2].id, cases[3].id}
    rows = dict(row.split(",", 1) for row in (tmp_path / "direct" / "cases.csv").read_text().splitlines())
    assert rows[missed.id].split(",")[2:4] == ["0.0", "0.0"]
    with pytest.raises(DataError, match="none of 1 cases"):
        evaluate_cases(cases[2:3], {"direct": detector}, tmp_path / "none", benchmark="made")


def test_the_same_seed_in_a_second_process(trained, tmp_path):
    options = json.dumps(small("comparator", **THIN))
    code = (
        "import json, sys; from anomseg.training import train\n"
        f"train('phantom-direct', sys.argv[1], json.loads({options!r}), quiet=True)"
    )
    # Sums of several threads come in another order.
    threads = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "again")], check=True, env=threads)
    states = [(root / "state.safetensors").read_bytes() for root in (trained / "direct", tmp_path / "again")]
    assert len({hashlib.sha256(state).hexdigest() for state in states}) == 1


def test_stages_refuse_what_does_not_fit(trained, tmp_path):
    plain = small("comparator", **THIN)
    for recipe, more, told in (
        ("phantom-direct", {"stages.comparator.module.branches": "both"}, "give module.generator DIR"),
        ("phantom-direct", {"stages.comparator.gives": "generator"}, "gives: detector"),
        ("phantom-direct", {"stages.comparator.module.targets": ["tumor"]}, "did you mean 'tumour'"),
        (
            "phantom-direct",
            {"stages.comparator.module.size": [4, 16, 16], "stages.comparator.module.norm": "group"},
            "single cell",
        ),
        ("phantom-direct", {"stages.comparator.data.sources": [{"benchmark": "phantom"}]}, "did you mean 'phantoms'"),
        ("phantom-direct", {"stages.comparator.data.sources": []}, "each name a set of cases"),
        ("phantom-synthcp", {"stages.comparator.takes": []}, "give module.generator DIR"),
        ("phantom-synthcp", {"stages.synthesis.module.size": [4, 30, 30]}, "multiples of 4"),
    ):
        whole = {**plain, **(GENERATOR if recipe == "phantom-synthcp" else {}), **more}
        with pytest.raises(ConfigError, match=told) as caught:
            train(recipe, tmp_path / "out", whole, quiet=True)
        assert "\n" not in str(caught.value)
    other = {
        "stages.comparator.module.branches": "both",
        "stages.comparator.module.generator": str(trained / "synthcp" / "stages" / "synthesis" / "result"),
        "stages.comparator.module.window": [-100, 100],
    }
    with pytest.raises(CompatibilityError, match="same classes, size, window and margin"):
        train("phantom-direct", tmp_path / "out", {**plain, **other}, quiet=True)


@pytest.mark.parametrize("name", ["phantom-synthcp", "phantom-synthcp-3d", "phantom-direct", "phantom-shape"])
def test_shipped_recipes_are_valid(name):
    from anomseg.registry import STAGES

    plan = load_recipe(name)
    for stage in plan.stages:
        STAGES.get(stage.stage).factory(plan, stage)


def bank(cases, judged="prediction", memory=100):
    return CaseBank(cases, VolumeSetting(CLASSES, ("tumour",), WorkingGrid((4, 16, 16))), judged=judged, memory=memory)


def test_a_bank_gives_the_same_with_and_without_memory():
    cases = [cubes(number, missing=0.5, size=(4, 16, 16)) for number in range(3)]
    kept, unkept = bank(cases), bank(cases, memory=0)
    for index in range(3):
        for one, other in zip(vars(kept[index][0]).values(), vars(unkept[index][0]).values(), strict=True):
            if isinstance(one, torch.Tensor):
                torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    broken = cubes(9)
    found = bank([*cases, type(broken)("no-truth", broken.image, broken.prediction, None, (1, 1, 1), classes=CLASSES)])
    assert list(found.skipped) == ["no-truth"]
    assert len(found) == 3
    with pytest.raises(DataError, match="none of 0 cases"):
        bank([])


def test_samples_are_those_of_the_cases():
    cases = [cubes(number, missing=0.5, size=(4, 16, 16)) for number in range(3)]
    runs = JudgedRuns(bank(cases), 2, 1, "rendering", 2, 0)
    assert sorted(runs.case_of(number) for number in range(3, 6)) == [0, 1, 2]
    for number in range(6):
        sample = runs[number]
        again = JudgedRuns(bank(cases), 2, 1, "rendering", 2, 0)[number]
        assert all(torch.equal(one.nan_to_num(-1), again[name].nan_to_num(-1)) for name, one in sample.items())
        predicted = sample["layout"][:, 2]
        wrong = 1 - sample["right"]
        true = (predicted - wrong).abs()  # a wrong voxel is true where it was not said, and not where it was
        dice = soft_dice(predicted, true)
        for row in range(2):
            if predicted[row].sum():
                torch.testing.assert_close(sample["dice"][row, 0], dice[row])
            else:
                assert sample["dice"][row, 0].isnan()
    whole = JudgedRuns(bank(cases), 3, 1, "rendering", 2, 0)[0]
    assert whole["layout"].shape == (1, 3, 4, 16, 16)
    slices, volumes = LayoutSlices(bank(cases, "truth"), 2, 0)[0], LayoutSlices(bank(cases, "truth"), 3, 0)[0]
    assert slices["image"].shape == (1, 16, 16)
    assert volumes["image"].shape == (1, 4, 16, 16)
    assert LayoutMiddles(bank(cases, "truth"), 2)[1]["classes"].max() >= 1


@pytest.mark.parametrize("dims", [2, 3])
def test_a_handful_of_cases_is_learned_by_heart(dims):
    torch.manual_seed(0)
    size = (4, 32, 16)
    cases = [cubes(number, missing=missing, size=size) for number, missing in enumerate((0.0, 0.25, 0.5, 0.75))]
    found = CaseBank(cases, VolumeSetting(CLASSES, ("tumour",), WorkingGrid(size)))
    config = VolumeComparatorConfig(
        size=size, dims=dims, branches="image", widths=(8, 8, 16, 16), hidden=8, stem=3, norm="group"
    )
    detector = config.detector(found.setting, None)
    module = VolumeComparatorModule(detector, 0.1, OptimiserConfig(steps=0, accelerator="cpu"), 0)
    samples = JudgedRuns(found, dims, 1, "rendering", 4, 0)
    optimiser = torch.optim.Adam(module.trained.parameters(), 5e-3)
    losses = []
    for step in range(200):
        parts = [samples[4 * step + place] for place in range(4)]
        loss = module.loss_of({name: torch.stack([part[name] for part in parts]) for name in parts[0]})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
    detector.comparator.eval()
    told = [float(detector.predict(case).failure.class_quality) for case in cases]
    true = [float(found[index][0].dice) for index in range(4)]
    assert np.abs(np.subtract(told, true)).mean() < 0.12  # a constant is 0.2 off
    assert np.corrcoef(told, true)[0, 1] > 0.9
    assert len(JudgedCases(found)) == 4


def test_the_autoencoder_learns_a_shape_and_not_another():
    torch.manual_seed(0)
    vae = ShapeVAE(1, (4, 8, 8), width=4, latent=4)
    ball = torch.zeros(1, 1, 4, 8, 8)
    ball[..., 1:3, 2:6, 2:6] = 1
    optimiser = torch.optim.Adam(vae.parameters(), 1e-2)
    for _ in range(60):
        loss = shape_loss(*_swapped(vae(ball, torch.randn(1, 4)), ball), 0.01)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        assert ((vae(ball)[0] > 0) == ball.bool()).float().mean() > 0.98
        line = torch.zeros(1, 1, 4, 8, 8)
        line[..., 7] = 1
        assert ((vae(line)[0] > 0) & line.bool()).sum() < 0.3 * line.sum()


def _swapped(out, mask):
    logits, mean, log_variance = out
    return logits, mask, mean, log_variance


def test_shape_loss_is_that_of_a_plain_loop():
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 1, 2, 3, 3), torch.rand(2, 1, 2, 3, 3).round()
    mean, log_variance = torch.randn(2, 3), torch.randn(2, 3)
    p = logits.sigmoid()
    dice = np.mean([float((2 * (p[n] * mask[n]).sum() + 1) / (p[n].sum() + mask[n].sum() + 1)) for n in range(2)])
    cross = float(-(mask * p.log() + (1 - mask) * (1 - p).log()).mean())
    normal = torch.distributions.Normal
    kl = torch.distributions.kl_divergence(normal(mean, (0.5 * log_variance).exp()), normal(0.0, 1.0)).mean()
    found = float(shape_loss(logits, mask, mean, log_variance, 0.3))
    assert found == pytest.approx(1 - dice + cross + 0.3 * float(kl), rel=1e-5)
