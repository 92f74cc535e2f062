"""Claims N3, R3, N4 and R5: counted passes of tiny networks, and commands for those who have the data."""

from __future__ import annotations

import numpy as np
import torch
from learned_answers import Answer, recipe_command

from anomseg.detectors.base import Detector
from anomseg.detectors.noisy_negatives import NoisyNegatives
from anomseg.detectors.synthetic_outliers import SyntheticOutliers
from anomseg.inference import predict
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import Segmenter

CLASSES = ("road", "sky", "car")


def tiny(**options: object) -> Segmenter:
    """A small network of random weights."""
    torch.manual_seed(0)
    return SEGMENTERS.create("erfnet_pyramid", classes=CLASSES, size=(64, 96), bottleneck=8, **options).eval()


def passes(detector: Detector, network: Segmenter) -> tuple[int, bool]:
    """How many passes of a network one call for one image takes, and whether it gives classes and anomaly.

    Args:
        detector: On that network.
        network: Its layers with weights count their calls.

    Returns:
        The most calls of any layer, and whether both maps came out at the image's size.
    """
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    calls: dict[str, int] = {}

    def count(name: str) -> None:
        calls[name] = calls.get(name, 0) + 1

    hooks = [
        layer.register_forward_hook(lambda *_, name=name: count(name))
        for name, layer in network.named_modules()
        if list(layer.parameters(recurse=False))
    ]
    try:
        found = predict(picture, network, detector)
    finally:
        for hook in hooks:
            hook.remove()
    maps = (found.anomaly_map, found.segmentation)
    both = all(one is not None and tuple(one.shape) == picture.shape[:2] for one in maps)
    return max(calls.values()), both


def exact() -> list[Answer]:
    """N3 and R3, which tiny networks decide."""
    two_heads, plain = tiny(outlier_layers=("bottleneck",)), tiny()
    subjects = (
        ("N3", "one network segments and detects", NoisyNegatives.of(two_heads), two_heads),
        (
            "R3",
            "adapts to segmentation and dense detection at once, one forward pass",
            SyntheticOutliers.of(plain),
            plain,
        ),
    )
    answers = []
    for claim, says, detector, network in subjects:
        count, both = passes(detector, network)
        word = "supported" if count == 1 and both else "not supported"
        why = f"counted here on a tiny network: one call gives class map and anomaly map: {'yes' if both else 'no'}; "
        answers.append(Answer(claim, says, word, f"{why}calls of its busiest layer: {count}"))
    return answers


STREETS = "street-hazards-noisy-negatives"
DRAWN = "street-hazards-synthetic-outliers"
_STREETS = (
    "anomseg evaluate --benchmark street_hazards --root DIR --detector {out} --protocol caos --device cuda --out OUT"
)
_FISHY = "anomseg evaluate --benchmark fishyscapes_lost_and_found --root DIR --detector {out} --device cuda --out OUT"
_PASCAL = (
    "anomseg data paste wilddash --root WILDDASH --split val --objects pascal_voc=VOC2007 --half all "
    "--recipe wd_pascal --out WD_PASCAL",
    "anomseg evaluate --benchmark pasted:base=wilddash --root WD_PASCAL --detector {out} --device cuda --out OUT",
)
PUBLISHED = (
    ("N4", "the results on StreetHazards", STREETS, (_STREETS,), "means over images"),
    (
        "N4",
        "the results on WildDash 1",
        STREETS,
        (
            "anomseg against --data wilddash=WILDDASH@val --negatives LSUN/bedroom --detector {out} --out OUT",
            *_PASCAL,
        ),
        "the recipe's classes are StreetHazards'; the publication trains on Cityscapes and Vistas. The rule for "
        "negative images (meta mIoU) is anomseg.metrics.NegativeImagesIoU, tested on made data: their labels are not "
        "public",
    ),
    (
        "N4",
        "the results on Fishyscapes",
        STREETS,
        (_FISHY,),
        "trained on Cityscapes and Vistas there; judged elsewhere",
    ),
    ("R5", "the results on StreetHazards", DRAWN, (_STREETS,), "means over images"),
    ("R5", "the results on WD-Pascal", DRAWN, _PASCAL, "trained on Vistas there"),
    ("R5", "the results on Fishyscapes", DRAWN, (_FISHY,), "trained on Cityscapes and Vistas there"),
    (
        "R5",
        "the results on Vistas-NP",
        DRAWN,
        ("anomseg evaluate --benchmark folder --root VISTAS_NP --detector {out} --device cuda --out OUT",),
        "Vistas less the images with people; its test images and anomaly labels as a folder",
    ),
)
"""Claim, what it says, the recipe that trains for it, what evaluates then, and a note."""


def published() -> list[Answer]:
    """What needs data that cannot be had: the commands for whoever has them."""
    answers = []
    for claim, says, recipe, then, note in PUBLISHED:
        out = f"runs/{recipe}"
        train = recipe_command(recipe).rpartition("--out ")[0]
        lines = [f"{train}--out {out}", *(one.format(out=out) for one in then)]
        answers.append(Answer(claim, says, "not tested here", f"{', then '.join(f'`{one}`' for one in lines)}; {note}"))
    return answers
