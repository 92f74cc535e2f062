"""Draw the pictures of docs/dense_knn.md and docs/maskomaly.md from generated streets: illustrations, no results.

python benchmarks/pictures.py [--out docs/pictures]
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from anomseg import Detector, Segmenter, create_detector, generated_frames, load_segmenter, predict
from anomseg.files import write_bytes
from anomseg.types import Frame

LOW, HIGH = 2, 99.8
"""Percentiles of a map that are drawn darkest and brightest."""
WIDTH = 1200


def coloured(anomaly_map: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map over its own range, ``(H, W, 3)``."""
    low, high = np.percentile(anomaly_map, (LOW, HIGH))
    shade = np.clip((anomaly_map - low) / max(high - low, 1e-9), 0, 1)
    return np.asarray(colormaps["magma"](shade)[..., :3] * 255, np.uint8)


def sheet(frames: Sequence[Frame], segmenter: Segmenter, detectors: Sequence[Detector]) -> bytes:
    """A row a frame: the image, then the map of each detector. A JPEG."""
    rows = []
    for frame in frames:
        image = frame.image()
        maps = [np.asarray(predict(image, segmenter, one).anomaly_map, np.float32) for one in detectors]
        rows.append(np.concatenate([image, *map(coloured, maps)], 1))
    whole = Image.fromarray(np.concatenate(rows, 0))
    small = whole.resize((WIDTH, round(whole.height * WIDTH / whole.width)), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def main() -> None:
    """Draw both."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    options = parser.parse_args()
    frames = list(generated_frames(3, seed=3))[1:3]
    bundled, streets = load_segmenter("bundled"), generated_frames(8, seed=1, clean=True)
    near = {"feature": "stage16", "upsample": "bilinear"}
    banks = [create_detector(name, **near).fit(bundled, streets) for name in ("knn", "cdnp")]
    queries = [create_detector("max_logit"), create_detector("rba"), create_detector("maskomaly")]
    drawn = {
        "dense_knn": sheet(frames, bundled, [create_detector("energy"), *banks]),
        "maskomaly": sheet(frames, load_segmenter("bundled-mask"), queries),
    }
    for name, picture in drawn.items():
        write_bytes(options.out / f"{name}.jpg", picture)
        sys.stdout.write(f"{options.out / name}.jpg: {len(picture) / 1000:.0f} KB\n")


if __name__ == "__main__":
    main()
