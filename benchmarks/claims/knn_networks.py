"""What concerns networks rather than banks: transformer against convolution (K5), untouched logits (K6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from knn_cache import named
from knn_choice import Choice
from knn_headline import state_path
from knn_measure import SAMPLES
from knn_plan import HELD_OUT, TEST, TRAIN_DROP, VAL, Network
from knn_study import Json, Study

from anomseg.detectors import anomaly_maps, create_detector
from anomseg.metrics import PerImage, paired_difference
from anomseg.segmenters import load_segmenter, make_scene
from anomseg.types import FeatureInfo

COMPARED = ("knn", "cdnp:energy", "energy", "max_logit", "mahalanobis")
FITTED, LOOKED_AT = 6, 4
INSIDES = re.compile(r"(?P<stage>(?:stage\d+\.)?)block(?P<number>\d+)\.(?P<part>\w+)")
TRIED_PARTS = ("query", "key", "value", "output")


def rival(key: str, folder: Path) -> Network:
    """A saved network for K5; where it was not taught the held-out class, that is the anomaly.

    Its key then ends in ``-no-`` and the class, so that a pair of each kind goes beside the other.
    """
    segmenter = load_segmenter(folder)
    layers = tried(segmenter.feature_info)
    note = f"`{folder.name}`: trained for this comparison by the recipe that it is called after."
    title = f"{key} ({folder.name})"
    if HELD_OUT in segmenter.classes:
        return Network(key, title, note, str(folder), layers, swept=False)
    note += f" Images of CamVid train that show a {HELD_OUT} were dropped, in training and from the bank."
    sets = {"bank": TRAIN_DROP, "select": VAL, "test": TEST, "clean": ()}
    return Network(f"{key}-no-{HELD_OUT}", title, note, str(folder), layers, **sets, swept=False)  # type: ignore[arg-type]


def tried(info: Mapping[str, FeatureInfo]) -> tuple[str, ...]:
    """The maps that are tried, few enough for a choice among them to mean something.

    Maps at a stride of 8 or more and those of decoders; of transformer blocks the last one of each stage on the
    coarsest grid: its queries, keys, values and output.

    Example:
        >>> here = {f"block{n}.{part}": FeatureInfo(8, 16) for n in (0, 1) for part in ("key", "attention", "output")}
        >>> tried({"stage4": FeatureInfo(8, 4), "stage16": FeatureInfo(8, 16), **here})
        ('stage16', 'block1.key', 'block1.output')
    """
    insides = {name: match for name in info if (match := INSIDES.fullmatch(name))}
    last: dict[str, int] = {}
    for match in insides.values():
        last[match["stage"]] = max(last.get(match["stage"], 0), int(match["number"]))
    outputs = {stage: info[f"{stage}block{number}.output"].stride for stage, number in last.items()}
    coarsest = max(outputs.values(), default=0)

    def wanted(name: str) -> bool:
        match = insides.get(name)
        if match is None:
            return info[name].stride >= 8 or name.startswith("decoder")
        stage = match["stage"]
        return outputs[stage] == coarsest and int(match["number"]) == last[stage] and match["part"] in TRIED_PARTS

    return tuple(name for name in info if wanted(name))


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
        feature, stride = named(choice.layer)
        detector = create_detector("knn", feature=feature, stride=stride, k=choice.k)
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
