"""Tiny volumes whose masks are right or wrong, and detectors of their failures with random weights."""

import numpy as np
import torch

from anomseg.data.volumes import Case, WorkingGrid
from anomseg.detectors.synthcp import Comparator, SPADEGenerator
from anomseg.detectors.synthcp.volumes import (
    DirectVolume,
    ShapeVAE,
    ShapeVAEDetector,
    SynthCPVolume,
    VolumeSetting,
    VolumeUncertainty,
)

SIZE = (4, 8, 8)
CLASSES = ("background", "organ", "tumour")


def cubes(number: int, *, missing: float = 0.0, size=SIZE, soft: bool = False) -> Case:
    """A bright organ with a dark tumour; the share ``missing`` of the tumour's rows is not in the prediction."""
    rng = np.random.default_rng(number)
    truth = np.zeros(size, np.uint8)
    truth[:, 1:7, 1:7] = 1
    row = int(rng.integers(1, 3))
    truth[1:3, row : row + 4, 2:6] = 2
    prediction = truth.copy()
    gone = round(4 * missing)
    prediction[1:3, row : row + gone, 2:6] = 1
    image = np.choose(truth, (-150.0, 150.0, 0.0)) + rng.normal(0, 10, size)
    hot = np.stack([prediction == index for index in range(3)]).astype(np.float32)
    doubt = 0.3 * missing
    return Case(
        f"case-{number}",
        lambda: image.astype(np.float32),
        lambda: prediction,
        lambda: truth,
        (3.0, 2.0, 2.0),
        classes=CLASSES,
        soft=(lambda: hot * (1 - doubt) + doubt / 3) if soft else None,
    )


def setting(size=SIZE, targets=("tumour",), **more) -> VolumeSetting:
    return VolumeSetting(CLASSES, targets, WorkingGrid(size, **more))


def generator(dims: int) -> SPADEGenerator:
    return SPADEGenerator(3, 1, dims, SIZE[-dims:], width=2, hidden=4, ups=1).eval()


def comparator(dims: int, branches: str = "both", reach: int = 1) -> Comparator:
    channels = 1 if dims == 3 else 2 * reach + 1
    return Comparator(
        3,
        channels,
        dims,
        SIZE[-dims:],
        branches,
        (4, 4, 4, 4),
        (1, 1, 1, 1),
        hidden=4,
        stem=3,
        pool=False,
        norm="batch",
    ).eval()


def detectors() -> dict:
    """One of every kind, 2.5-D and 3-D, with weights of one seed."""
    torch.manual_seed(0)
    vae = ShapeVAE(1, SIZE, width=2, latent=4).eval()
    line = torch.tensor([[0.1, 0.8]])
    return {
        "synthcp-2": SynthCPVolume(setting(), comparator(2), generator(2)),
        "synthcp-3": SynthCPVolume(setting(), comparator(3), generator(3), against="difference"),
        "synthcp-2-of-3": SynthCPVolume(setting(), comparator(3), generator(2)),
        "direct-2": DirectVolume(setting(), comparator(2, "image", 2), None, reach=2),
        "direct-3": DirectVolume(setting(), comparator(3, "image"), None),
        "shape": ShapeVAEDetector(setting(), line, vae),
        "uncertainty": VolumeUncertainty(setting(), line),
    }
