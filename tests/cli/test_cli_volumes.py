"""evaluate and predict --task failure of volumes, from the command line."""

import json
import shutil

import nibabel
import numpy as np
import pytest
import torch

from anomseg.cli.main import run
from anomseg.data.volumes import WorkingGrid, load_cases
from anomseg.detectors.synthcp import Comparator, SPADEGenerator
from anomseg.detectors.synthcp.volumes import DirectVolume, SynthCPVolume, VolumeSetting, save_volume_detector

SIZE = (4, 16, 16)
AFFINE = np.diag([3.5, 3.5, 4.0, 1.0])


@pytest.fixture
def detectors(tmp_path, monkeypatch):
    """Two directories with detectors of random weights, in the folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    setting = VolumeSetting(("background", "organ", "tumour"), ("tumour",), WorkingGrid(SIZE))
    options = {"widths": (4, 4, 4, 4), "blocks": (1, 1, 1, 1), "hidden": 4, "stem": 3, "pool": False}
    both, image = (Comparator(3, 3, 2, SIZE[1:], branches, **options).eval() for branches in ("both", "image"))
    generator = SPADEGenerator(3, 1, 2, SIZE[1:], width=2, hidden=4, ups=2).eval()
    save_volume_detector(SynthCPVolume(setting, both, generator), tmp_path / "synth")
    save_volume_detector(DirectVolume(setting, image, None), tmp_path / "direct")
    return "synth,direct"


def put(path, values):
    nibabel.save(nibabel.Nifti1Image(values.transpose(2, 1, 0), AFFINE), path)


@pytest.fixture
def scan(tmp_path):
    """A phantom as NIfTI files: ``scan.nii.gz`` and ``mask.nii.gz``."""
    image, prediction, _ = load_cases("phantoms:count=1;size=[8,24,24]")[0].decode()
    put(tmp_path / "scan.nii.gz", image)
    put(tmp_path / "mask.nii.gz", prediction)
    return prediction


def test_evaluate(detectors, tmp_path, capsys):
    arguments = ["evaluate", "--task", "failure", "--benchmark", "phantoms:count=4;size=[8,24,24]"]
    arguments += ["--detector", detectors, "--out", "results"]
    assert run(arguments) == 0
    told = capsys.readouterr().out
    assert "Pearson [95 %]" in told
    assert "direct" in told
    card = json.loads((tmp_path / "results" / "synth" / "metrics.json").read_text())
    assert card["task"] == "failure"
    assert card["frames"] == 4
    assert (tmp_path / "results" / "synth" / "dice.png").is_file()
    assert (tmp_path / "results" / "direct" / "worst.png").is_file()
    assert run(arguments) == 0
    assert run([*arguments, "--seed", "1"]) == 2
    assert "choose another --out" in capsys.readouterr().err


def test_other_masks_are_another_run(detectors, scan, tmp_path, capsys):
    for folder, name in (("images", "scan"), ("predictions", "mask"), ("labels", "mask")):
        (tmp_path / "cases" / folder).mkdir(parents=True)
        shutil.copy(tmp_path / f"{name}.nii.gz", tmp_path / "cases" / folder / "a.nii.gz")
    arguments = ["evaluate", "--task", "failure", "--benchmark", "nifti:labels=1:organ+2:tumour", "--root", "cases"]
    arguments += ["--detector", "direct", "--out", "results", "--no-report"]
    assert run(arguments) == 0
    assert run(arguments) == 0
    put(tmp_path / "cases" / "predictions" / "a.nii.gz", np.where(scan == 2, 1, scan).astype(np.uint8))
    assert run(arguments) == 2
    assert "choose another --out" in capsys.readouterr().err


def test_predict(detectors, scan, tmp_path, capsys):
    assert run(["predict", "--task", "failure", "scan.nii.gz", "--mask", "mask.nii.gz", "--detector", "synth"]) == 0
    assert "scan: expected Dice of tumour 0." in capsys.readouterr().out
    folder = tmp_path / "anomseg-out"
    error = nibabel.load(folder / "scan_error.nii.gz")
    assert error.shape == nibabel.load(tmp_path / "scan.nii.gz").shape
    np.testing.assert_allclose(error.affine, AFFINE)
    assert json.loads((folder / "scan_failure.json").read_text())["expected"].keys() == {"tumour"}
    assert (folder / "scan_slices.png").is_file()


def test_masks_without_the_target(detectors, scan, tmp_path, capsys):
    put(tmp_path / "mask.nii.gz", np.zeros_like(scan))
    arguments = ["predict", "--task", "failure", "scan.nii.gz", "--mask", "mask.nii.gz", "--detector", detectors]
    assert run(arguments) == 0
    assert "holds no tumour; its Dice is 0 where the volume holds one, and undefined" in capsys.readouterr().out
    assert (tmp_path / "anomseg-out" / "direct" / "scan_failure.json").is_file()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["scan.nii.gz", "--mask", "mask.nii.gz"], "train"),
        (["scan.nii.gz", "--detector", "synth"], "give one volume and --mask"),
        (["scan.nii.gz", "--mask", "flat.nii.gz", "--detector", "synth"], "has shape"),
        (["scan.nii.gz", "--mask", "none.nii.gz", "--detector", "synth"], "does not exist"),
        (["scan.nii.gz", "--mask", "mask.nii.gz", "--detector", "nothing"], "holds no volume.json"),
        (
            ["scan.nii.gz", "--mask", "mask.nii.gz", "--detector", "synth", "--labels", "1:organ+3:tumour"],
            "known label",
        ),
        (["scan.nii.gz", "--mask", "mask.nii.gz", "--detector", "synth", "--labels", "1:a+2:b"], "name its labels"),
        (
            ["scan.nii.gz", "--mask", "mask.nii.gz", "--detector", "synth", "--threshold", "0"],
            "--threshold does not go",
        ),
        (["scan.nii.gz", "--mask", "mask.nii.gz", "--detector", "synth", "--calibrated"], "--calibrated does not go"),
        (["scan.nii.gz", "--mask", "mask.nii.gz", "--detector", "synth", "--format", "npy"], "--format does not go"),
    ],
)
def test_what_cannot_be_told(detectors, scan, tmp_path, capsys, more, told):
    put(tmp_path / "flat.nii.gz", scan[:3])
    assert run(["predict", "--task", "failure", *more]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--benchmark", "phantoms", "--detector", "synth"], "--task failure"),
        (["--task", "failure", "--benchmark", "phantoms"], "no default detector"),
        (["--task", "failure", "--benchmark", "phantoms", "--detector", "synth", "--root", "x"], "leave --root out"),
        (["--task", "failure", "--benchmark", "nifti", "--detector", "synth"], "give --root"),
        (["--task", "failure", "--benchmark", "phantoms", "--detector", "synth", "--band", "3"], "leave it out"),
        (["--task", "failure", "--benchmark", "phantoms", "--detector", "synth", "--protocol", "caos"], "leave it out"),
        (["--task", "failure", "--benchmark", "phantoms", "--detector", "synth", "--device", "cuda"], "the processor"),
        (["--benchmark", "road_anomaly", "--detector", "msp"], "missing: --root"),
    ],
)
def test_evaluations_that_make_no_sense(detectors, capsys, more, told):
    assert run(["evaluate", *more, "--out", "results"]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
