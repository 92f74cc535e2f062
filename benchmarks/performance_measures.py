"""What is measured, each in a process of its own so that its memory can be told."""

# ruff: noqa: PLC0415 - one engine's memory must not hold another's

from __future__ import annotations

import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from performance_engines import ENGINES, component_loop
from performance_maps import maps, speckled

Json = dict[str, Any]
POST_HOC = ("msp", "max_logit", "energy", "entropy")
SIZE = (512, 1024)
REPEATS = 3


@dataclass(frozen=True)
class Settings:
    """What all measurements are told.

    Attributes:
        data: Folder of RoadAnomaly; None where it is not at hand.
        segmenter: Whatever `anomseg.segmenters.load_segmenter` takes.
        frames: Frames of RoadAnomaly that `evaluation` runs over.
    """

    data: Path | None
    segmenter: str
    frames: int


class Watch:
    """Counts the seconds of pieces of work."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, work: Callable[[], Any]) -> Any:
        """Run and count."""
        started = time.perf_counter()
        result = work()
        self.seconds += time.perf_counter() - started
        return result


def peak_memory() -> int:
    """Most memory that this process has held, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if platform.system() == "Darwin" else most * 1024


def pixel_metrics(engine: str, pixels: int) -> Json:
    """AP, AUROC and FPR95 of made-up maps by one engine."""
    made = maps(pixels)
    first = next(made)
    before = peak_memory()

    def again() -> Any:
        yield first
        yield from made

    watch = Watch()
    figures = ENGINES[engine](again(), watch)
    return {
        "engine": engine,
        "pixels": pixels,
        "seconds": watch.seconds,
        "peak": peak_memory(),
        "grown": peak_memory() - before,
        "figures": figures,
    }


def components() -> Json:
    """The component metric against a plain loop, on one map."""
    from anomseg.metrics import ComponentScore

    score, label = speckled()
    least, threshold = 50, 1.0
    found = []
    for _ in range(REPEATS):
        state, watch = ComponentScore(min_prediction=least, min_anomaly=1, threshold=threshold), Watch()
        watch(lambda state=state: state.update(score, label, frame="0"))
        found.append(watch.seconds)
    result, watch = state.compute(), Watch()
    expected = watch(lambda: component_loop(score, label, threshold, least))
    if not np.isclose(result.siou, expected, rtol=0, atol=1e-12):
        raise SystemExit(f"sIoU differs: {result.siou} against {expected}")
    return {
        "seconds": statistics.median(found),
        "loop": watch.seconds,
        "components": [result.predicted_components, result.anomaly_components],
        "siou": result.siou,
        "size": list(score.shape),
    }


def evaluation(settings: Settings) -> Json:
    """``evaluate`` with four post-hoc detectors against the bare forward pass over the same frames, alternating."""
    import torch

    from anomseg.data import load_frames
    from anomseg.detectors import create_detector
    from anomseg.evaluation import evaluate
    from anomseg.segmenters import load_segmenter

    if settings.data is None:
        return {"missing": "give --data, the folder of RoadAnomaly"}
    segmenter = load_segmenter(settings.segmenter)
    frames = load_frames("road_anomaly", settings.data, limit=settings.frames)
    pictures = [segmenter.prepare(frame.image, SIZE)[None] for frame in frames]
    rows: Json = {"bare": [], "evaluate": [], "forward": []}
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        segmenter(pictures[0])
        for number in range(REPEATS):
            watch = Watch()
            for picture in pictures:
                watch(lambda picture=picture: segmenter(picture))
            rows["bare"].append(watch.seconds)
            watch = Watch()
            detectors = {name: create_detector(name) for name in POST_HOC}
            cards = watch(
                lambda detectors=detectors, number=number: evaluate(
                    "road_anomaly",
                    settings.data,
                    segmenter,
                    detectors,
                    Path(folder) / str(number),
                    size=SIZE,
                    limit=settings.frames,
                )
            )
            rows["evaluate"].append(watch.seconds)
            rows["forward"].append(next(card["seconds"]["forward"] for card in cards if card.get("seconds")))
    seconds = {name: statistics.median(values) for name, values in rows.items()}
    return {
        **seconds,
        "ratio": statistics.median(one / other for one, other in zip(rows["evaluate"], rows["bare"], strict=True)),
        "frames": len(frames),
        "size": list(SIZE),
        "threads": torch.get_num_threads(),
        "network": segmenter.registry_name,
        "classes": len(segmenter.classes),
    }


def memory_of_frames(settings: Settings, frames: int) -> Json:
    """Most memory of ``evaluate`` over so many frames."""
    from anomseg.detectors import create_detector
    from anomseg.evaluation import evaluate

    if settings.data is None:
        return {"missing": "give --data, the folder of RoadAnomaly"}
    with tempfile.TemporaryDirectory() as folder:
        detectors = {name: create_detector(name) for name in POST_HOC}
        evaluate("road_anomaly", settings.data, settings.segmenter, detectors, folder, size=SIZE, limit=frames)
    return {"frames": frames, "peak": peak_memory()}


def pytorch_ood() -> Json:
    """Scores and figures of pytorch-ood on the same logits."""
    try:
        from pytorch_ood.detector import EnergyBased, Entropy, MaxLogit, MaxSoftmax
        from pytorch_ood.metrics import OODSegmentationMetrics
    except ImportError as error:
        return {"missing": f"pytorch-ood cannot be imported ({error}); pip install pytorch-ood torchvision"}
    import torch

    from anomseg import scores
    from anomseg.metrics import PixelCurve

    torch.manual_seed(0)
    labels = [torch.from_numpy(label.astype(np.int64)) for _, label in maps(5 * 524_288)]
    logits = [3 * torch.randn(1, 19, *label.shape) * torch.where(label > 0, 0.7, 1.0)[None, None] for label in labels]
    peers = {"msp": MaxSoftmax, "max_logit": MaxLogit, "energy": EnergyBased, "entropy": Entropy}
    made: Json = {}
    with torch.inference_mode():
        for name, peer in peers.items():
            function = getattr(scores, name)
            times: Json = {"anomseg": [], "pytorch-ood": []}
            apart = 0.0
            for one in logits:
                watch, other = Watch(), Watch()
                own = watch(lambda one=one, function=function: function(one))
                theirs = other(lambda one=one, peer=peer: peer.score(one))
                times["anomseg"].append(watch.seconds)
                times["pytorch-ood"].append(other.seconds)
                apart = max(apart, float((own - theirs).abs().max()))
            made[name] = {**{key: statistics.median(values) for key, values in times.items()}, "apart": apart}
        curve, watch = PixelCurve(), Watch()
        theirs, other = OODSegmentationMetrics(device="cpu", void_label=255), Watch()
        for number, (one, label) in enumerate(zip(logits, labels, strict=True)):
            score = scores.max_logit(one)
            watch(lambda score=score, label=label, number=number: curve.update(score[0], label, str(number)))
            # There an outlier's label is negative.
            other(lambda score=score, label=label: theirs.update(score, torch.where(label > 0, -1, 0)[None]))
        result, found = watch(curve.compute), other(theirs.compute)
    return {
        "scores": made,
        "metrics": {
            "anomseg": [watch.seconds, result.ap, result.auroc, result.fpr95],
            "pytorch-ood": [other.seconds, *(float(found[key]) for key in ("AUPR-OUT", "AUROC", "FPR95TPR"))],
        },
        "pixels": sum(label.numel() for label in labels),
        "threads": torch.get_num_threads(),
    }


LARGE = 200_000_000
MEDIUM = 20_000_000
MEASURES: dict[str, Callable[[Settings], Json]] = {
    **{
        f"pixels-{engine}": lambda _, engine=engine: pixel_metrics(engine, MEDIUM)  # type: ignore[misc]
        for engine in ENGINES
    },
    "pixels-large": lambda _: pixel_metrics("anomseg", LARGE),
    "components": lambda _: components(),
    "evaluate": evaluation,
    "memory-10": lambda settings: memory_of_frames(settings, 10),
    "memory-60": lambda settings: memory_of_frames(settings, 60),
    "pytorch-ood": lambda _: pytorch_ood(),
}


def system() -> Json:
    """What it was measured with."""
    import sklearn
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "machine": platform.machine(),
        "system": sys.platform,
    }
