"""What can be decided on tiny networks built here: what PGAN attaches to, and what DiCNet does not call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mask_families import FAMILIES
from torch import nn

from anomseg.detectors import anomaly_maps
from anomseg.detectors.dicnet import DiCNet, target_from_norm
from anomseg.detectors.pgan import PGAN
from anomseg.detectors.pgan.extractor import PrototypeExtractor
from anomseg.detectors.pgan.levels import level_names
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import Segmenter, make_scene
from anomseg.segmenters.guarded import MissingExtraError
from anomseg.segmenters.student import Student

CLASSES = ("road", "sky", "car")
FEATURE = "bottleneck_linear"
SEGFORMER = {
    "model_type": "segformer", "depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1] * 4,
    "decoder_hidden_size": 16, "num_labels": 3,
}  # fmt: skip
BUILDERS: dict[str, dict[str, Any]] = {
    "erfnet": {"classes": CLASSES, "size": (64, 96)},
    "pyramid": {"classes": CLASSES, "size": (64, 96), "widths": (8, 16, 24, 32), "bottleneck": 16},
    "erfnet_pyramid": {"classes": CLASSES, "size": (64, 96), "bottleneck": 16},
    "pspnet": {"classes": CLASSES, "size": (64, 96), "width": 4, "bottleneck": 12},
    "deeplabv3plus": {"classes": CLASSES, "size": (64, 96), "width": 4},
    "ladder_densenet": {"classes": CLASSES, "size": (64, 96), "growth": 4, "ladder": (16, 12, 12, 8)},
    "smp": {"arch": "fpn", "encoder": "resnet18", "classes": CLASSES, "size": (64, 96), "random_weights": True},
}
"""Options of tiny instances; of ``hf`` there is one for each architecture."""
OTHERS = ("bundled", "bundled-mask", "hf", "module", "onnx", "timm", "student", "image_classifier")
"""Registered names of a kind that is built under another name, of networks given by the user, without classes, or with
one class for the whole image."""


def instances() -> dict[str, Callable[[], Segmenter]]:
    """A builder for every kind of network that segments, of random weights."""
    found: dict[str, Callable[[], Segmenter]] = {}
    for name, options in BUILDERS.items():
        found[name] = lambda name=name, options=options: SEGMENTERS.create(name, **options)
    for name, architecture in {"SegFormer": SEGFORMER, **FAMILIES}.items():
        found[f"hf {name}"] = lambda architecture=architecture: SEGMENTERS.create(
            "hf", architecture=architecture, random_weights=True
        )
    found["module"] = lambda: SEGMENTERS.create("module", network=_plain_network(), classes=CLASSES, divisor=2)
    return found


def _plain_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 6, 3, 1, 1), nn.ReLU(), nn.Conv2d(6, 3, 1))


def attaches(segmenter: Segmenter) -> bool:
    """Whether PGAN scores a network's own maps within [0, 1] and leaves its logits as they are, to the last bit."""
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    levels = level_names("auto", segmenter)
    channels = [segmenter.feature_info[name].channels for name in levels]
    torch.manual_seed(0)
    extractor = PrototypeExtractor(channels, classes=len(segmenter.classes), per_class=2, dimension=8)
    detector = PGAN(levels="+".join(levels), attached=True)
    detector.adopt(extractor, segmenter, None, {})
    plain = make_scene([picture], ["made"], segmenter)
    beside = make_scene([picture], ["made"], segmenter, features=detector.needs(segmenter).features)
    with torch.inference_mode():
        found = anomaly_maps(detector, beside)[0]
        same = torch.equal(plain.logits(), beside.logits())
    inside = bool(((found >= 0) & (found <= 1)).all()) and bool(found.max() > found.min())
    return same and inside and tuple(found.shape) == picture.shape[:2]


def hosts() -> dict[str, bool | None]:
    """By kind of network whether PGAN attaches to it; None where its library is not installed."""
    answers: dict[str, bool | None] = {}
    for name, build in instances().items():
        torch.manual_seed(0)
        try:
            answers[name] = attaches(build().eval())
        except MissingExtraError:
            answers[name] = None
    return answers


def headless() -> bool:
    """Whether DiCNet scores an image without a call of its teacher's classifiers, and a plain pass does call one."""
    torch.manual_seed(0)
    teacher = SEGMENTERS.create("erfnet_pyramid", classes=CLASSES, bottleneck=8).eval()
    norm = teacher.feature_norm(FEATURE)
    student = Student(8, None, "pyramid", width=4, branch=8).eval()
    detector = DiCNet.of(teacher, student, FEATURE, target_from_norm(norm, "standardized"))
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    calls: list[str] = []
    for name in ("classifier", "auxiliary"):
        getattr(teacher, name).register_forward_hook(lambda *_, name=name: calls.append(name))
    with torch.inference_mode():
        found = anomaly_maps(detector, make_scene([picture], ["made"], teacher))[0]
        alone = list(calls)
        _ = make_scene([picture], ["made"], teacher).output
    return not alone and "classifier" in calls and bool(torch.isfinite(found).all())
