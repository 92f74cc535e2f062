"""What the queries of a mask transformer do: how many say no object, and how well the best one covers anomalies.

    python benchmarks/mask_queries.py --segmenter bundled-mask --anomalies road_anomaly_21=RoadAnomaly21 \
        --clean camvid=CamVid@test

Maskomaly's profile ``+anomaly`` rests on queries that no class was taught and that cover anomalies all the same. Where
the best query's mean IoU stays below .25 (the bound of the published selection), that is not seen on this network.
"""

from __future__ import annotations

import argparse

import torch

from anomseg.cli.arguments import parse_data
from anomseg.data import load_frames
from anomseg.detectors import create_detector
from anomseg.detectors.fitting import FitLog
from anomseg.segmenters import Scene, Segmenter, load_segmenter
from anomseg.types import Frame


def no_object_share(segmenter: Segmenter, frames: list[Frame]) -> float:
    """Share of queries whose most probable class is no object, over frames, in [0, 1]."""
    shares: list[float] = []

    def use(_frame: Frame, scene: Scene) -> None:
        with torch.inference_mode():
            logits = scene.output.class_logits
        assert logits is not None
        shares.append((logits.argmax(-1) == logits.shape[-1] - 1).float().mean().item())

    FitLog("no-object").run(segmenter, frames, use)
    return sum(shares) / len(shares)


def main() -> None:
    """Print both for a network."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--segmenter", default="bundled-mask")
    parser.add_argument("--anomalies", required=True, help="NAME=ROOT[@SPLIT]")
    parser.add_argument("--clean", required=True, help="NAME=ROOT[@SPLIT]")
    options = parser.parse_args()
    segmenter = load_segmenter(options.segmenter)
    for text in (options.clean, options.anomalies):
        name, root, split = parse_data(text)
        frames = list(load_frames(name, root=root, split=split))
        share = no_object_share(segmenter, frames)
        print(f"{name} {split or ''}: {len(frames)} frames, {share:.1%} of queries say no object")
    detector = create_detector("maskomaly", profile="+anomaly", ground=[])
    detector.fit(segmenter, [], anomalies=frames)
    found = (detector.fitted_on or {})["anomaly"]
    best = found["best"]
    print(
        f"best query with anomalies of {name}: {best['query']}, mean IoU {best['iou']:.3f} over {found['images']} "
        f"frames, {best['share']:.0%} of its pixels anomalous; picked: {found['picked'] or 'none'}"
    )


if __name__ == "__main__":
    main()
