"""Small NIfTI files and trees in the published layouts."""

from pathlib import Path

import nibabel
import numpy as np

from anomseg.files import write_json

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def ct(shape=(8, 9, 4), seed=0) -> np.ndarray:
    """Hounsfield units in NIfTI's order (x, y, z)."""
    return np.random.default_rng(seed).integers(-200, 300, shape).astype(np.int16)


def block(shape=(8, 9, 4), value=1) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[2:5, 3:6, 1:3] = value
    return mask


def write(path: Path, values: np.ndarray, affine=AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def pairs(root: Path, names=("a", "b")) -> Path:
    """A folder of images, predictions and labels."""
    for seed, name in enumerate(names):
        write(root / "images" / f"{name}.nii.gz", ct(seed=seed))
        write(root / "labels" / f"{name}.nii.gz", block())
        write(root / "predictions" / f"{name}.nii.gz", np.roll(block(), 1, 0))
    return root


def decathlon(root: Path, count=3) -> Path:
    """``Task07_Pancreas`` as published, with one case of the test section."""
    task = root / "Task07_Pancreas"
    listed = []
    for number in range(1, count + 1):
        name = f"pancreas_{number:03d}.nii.gz"
        labels = block(value=1)
        labels[3:5, 4:6, 1:2] = 2
        write(task / "imagesTr" / name, ct(seed=number))
        write(task / "labelsTr" / name, labels)
        (task / "imagesTr" / f"._{name}").write_bytes(b"macOS")
        listed.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    write(task / "imagesTs" / "pancreas_900.nii.gz", ct(seed=9))
    content = {
        "name": "Pancreas",
        "description": "Pancreas and cancer",
        "reference": "Memorial Sloan Kettering Cancer Center",
        "licence": "CC-BY-SA 4.0",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "pancreas", "2": "cancer"},
        "numTraining": count,
        "numTest": 1,
        "training": listed,
        "test": ["./imagesTs/pancreas_900.nii.gz"],
    }
    write_json(task / "dataset.json", content)
    return root
