"""What concerns networks rather than banks: transformer against convolution (K5), untouched logits (K6)."""

from __future__ import annotations

from pathlib import Path

import torch
from knn_choice import Choice
from knn_headline import state_path
from knn_measure import SAMPLES
from knn_plan import Network
from knn_study import Json, Study

from anomseg.detectors import anomaly_maps, create_detector
from anomseg.metrics import PerImage, paired_difference
from anomseg.segmenters import load_segmenter, make_scene

COMPARED = ("knn", "cdnp:energy", "energy", "max_logit", "mahalanobis")
FITTED, LOOKED_AT = 6, 4


def rival(key: str, folder: Path) -> Network:
    """A saved network of which all layers are tried."""
    layers = tuple(load_segmenter(folder).feature_info)
    note = f"`{key}`: trained for this comparison, saved directory `{folder.name}`; see its recipe."
    return Network(key, f"{key} ({folder.name})", note, str(folder), layers, swept=False)


def compare(first: Study, second: Study) -> Json:
    """First network less second, score by score, on the same frames of the test set."""
    test = first.network.test
    found: Json = {}
    for name in COMPARED:
        states = [PerImage.load(state_path(study, test, name)) for study in (first, second)]
        paired = paired_difference(states[0], states[1], SAMPLES)
        limits = paired.intervals.figures or {}
        found[name] = {
            key: {"value": value, "ci95": list(limits.get(key, ()))} for key, value in paired.difference.items()
        }
    return found


def untouched(study: Study, choice: Choice) -> Json:
    """Run the real detector, and count the frames whose logits stay the same to the last bit."""

    def make() -> Json:
        segmenter = study.cache.segmenter
        detector = create_detector("knn", feature=choice.layer, k=choice.k)
        detector.fit(segmenter, [one.frame for one in study.frames(study.network.bank)[:FITTED]])
        frames = study.frames(study.network.test)[:LOOKED_AT]
        equal = 0
        for one in frames:
            image = one.frame.image()
            with torch.inference_mode():
                plain = make_scene([image], [one.name], segmenter).output.logits.clone()
            scene = make_scene([image], [one.name], segmenter, features=detector.needs(segmenter).features)
            anomaly_maps(detector, scene)
            logits = scene.output.logits
            equal += bool(torch.equal(plain, logits) and torch.equal(plain.argmax(1), logits.argmax(1)))
        return {"frames": len(frames), "equal": equal}

    return study.once("untouched", make, choice=choice.as_json())
